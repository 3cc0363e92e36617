# Data Science Bowl 2018 (BBBC038), written by tools/dataset_converters/dsb2018.py.
_base_ = './coco_cells.py'

data_root = 'data/dsb2018/'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
# The test list is not public for all images: tests run on the validation list. With lists of your
# own, give annotations/test.json here and in the evaluator.
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='annotations/val.json'))

val_evaluator = [
    dict(type='CellMetric', min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = val_evaluator
