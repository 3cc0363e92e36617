# Object-guided segmentation from scratch on two CPU cores.
_base_ = [
    '_base_/models/object_guided_r18_tiny.py',
    '_base_/datasets/dsb2018_magnified.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

model = dict(
    # Sizes of boxes are what it learns worst: its masks may reach beyond them.
    mask_head=dict(enlarge=1.3, jitter=0.2),
    # Chosen on training images, as the threshold below.
    test_cfg=dict(mask_score_weight=0.9),
)

scores = ['box_ap', 'ap', 'ap50', 'ap75', 'aji', 'dice', 'f1', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores, score_threshold=0.65),
    _base_.val_evaluator[1],
]
test_evaluator = val_evaluator

train_cfg = dict(max_iters=9000, val_interval=3000)
