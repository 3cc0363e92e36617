# Generated cells, written by tools/dataset_converters/synthetic.py.
_base_ = './coco_cells.py'

data_root = 'data/synthetic/'

train_dataloader = dict(dataset=dict(data_root=data_root))
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
