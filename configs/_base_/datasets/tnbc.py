# TNBC (40x), written by tools/dataset_converters/tnbc.py: 30 / 7 / 13 images of 512 x 512 from
# 6 / 2 / 3 patients. PFFNet has three folds by patient: tools/cross_validate.py CONFIG --folds 3.
_base_ = './pffnet_patches.py'

data_root = 'data/tnbc/'

train_dataloader = dict(dataset=dict(times=5, dataset=dict(data_root=data_root)))
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
