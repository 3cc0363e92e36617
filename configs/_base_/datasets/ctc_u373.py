# PhC-C2DH-U373 of the Cell Tracking Challenge, written by tools/dataset_converters/ctc.py.
_base_ = './ctc.py'

data_root = 'data/ctc_u373/'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))

val_evaluator = [
    dict(type='CellMetric', scores={{_base_.scores}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
