# Kumar (TCGA, 40x), written by tools/dataset_converters/kumar.py: 12 / 4 / 14 images, 1000 x 1000.
_base_ = './pffnet_patches.py'

data_root = 'data/kumar/'

train_dataloader = dict(dataset=dict(times=20, dataset=dict(data_root=data_root)))
val_dataloader = dict(dataset=dict(data_root=data_root))
# TCGA slides at 40x: images of other pixel sizes are resampled for the model (mmcell predict).
test_dataloader = dict(dataset=dict(data_root=data_root, metainfo=dict(mpp=0.25)))

val_evaluator = [
    dict(type='CellMetric', min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
# Images name their organ and whether training has seen it: each of these is scored on its own too.
test_evaluator = [
    dict(type='CellMetric', min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/test.json'),
]
