# Object-guided segmentation from scratch on two CPU cores.
_base_ = [
    '_base_/models/object_guided_r18_tiny.py',
    '_base_/datasets/dsb2018_magnified.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

# Scores of centers are lower than those of boxes that were classified: 0.3 as in the full network.
scores = ['box_ap', 'ap', 'ap50', 'ap75', 'aji', 'dice', 'f1', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores, score_threshold=0.3),
    _base_.val_evaluator[1],
]
test_evaluator = val_evaluator
