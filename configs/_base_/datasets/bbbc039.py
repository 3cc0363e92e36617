# BBBC039 (fluorescence), written by tools/dataset_converters/bbbc039.py: 100 / 50 / 50 images of
# 520 x 696, the official split. As in the PFFNet paper: flips and quarter turns only.
_base_ = './pffnet_patches.py'

data_root = 'data/bbbc039/'
train_pipeline = [
    *_base_.load,
    dict(
        type='RandomCrop', crop_size=_base_.crop_size, allow_negative_crop=True, recompute_bbox=True
    ),
    *_base_.flip_and_turn,
    *_base_.pack,
]

train_dataloader = dict(
    dataset=dict(times=10, dataset=dict(data_root=data_root, pipeline=train_pipeline))
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))

val_evaluator = [
    dict(type='CellMetric', min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = [
    dict(type='CellMetric', min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/test.json'),
]
