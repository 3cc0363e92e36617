# CPM17, written by tools/dataset_converters/cpm17.py, for the generalisation study of the PFFNet
# paper: trained on its 32 training images, validated on its own 32 test images, tested on the 14 of
# Kumar.
_base_ = './pffnet_patches.py'

data_root = 'data/cpm17/'
kumar_root = 'data/kumar/'

train_dataloader = dict(dataset=dict(times=10, dataset=dict(data_root=data_root)))
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file='annotations/test.json'))
test_dataloader = dict(dataset=dict(data_root=kumar_root))

val_evaluator = [
    dict(type='CellMetric', min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/test.json'),
]
test_evaluator = [
    dict(type='CellMetric', min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=kumar_root + 'annotations/test.json'),
]
