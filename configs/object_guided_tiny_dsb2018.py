# Object-guided segmentation from scratch on two CPU cores.
_base_ = [
    '_base_/models/object_guided_r18_tiny.py',
    '_base_/datasets/dsb2018_magnified.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

# Sizes of boxes are what it learns worst: its masks may reach beyond them.
model = dict(mask_head=dict(enlarge=1.3, jitter=0.15))

# Scores of centers are lower than those of boxes that were classified: 0.3 as in the full network.
scores = ['box_ap', 'ap', 'ap50', 'ap75', 'aji', 'dice', 'f1', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores, score_threshold=0.3),
    _base_.val_evaluator[1],
]
test_evaluator = val_evaluator

train_cfg = dict(max_iters=9000, val_interval=3000)
