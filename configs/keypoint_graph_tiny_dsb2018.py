# Keypoint graph from scratch on two CPU cores. Many nuclei of images that are magnified less than
# in the paper are too small for its 13 pixels.
_base_ = [
    '_base_/models/keypoint_graph_r18_tiny.py',
    '_base_/datasets/dsb2018_magnified.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

model = dict(
    bbox_head=dict(min_side_px=8),
    # The weight of masks is chosen on training images, as the threshold of scores below.
    test_cfg=dict(duplicate_radius_px=5, mask_score_weight=0.9),
)

val_evaluator = [
    dict(
        type='CellMetric',
        score_threshold=0.65,
        scores=['box_ap50', 'ap', 'ap50', 'ap70', 'aji', 'dice', 'f1', 'pq'],
    ),
    dict(type='CellCocoMetric', ann_file='data/dsb2018/annotations/val.json'),
]
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(max_iters=5500, val_interval=2000)
