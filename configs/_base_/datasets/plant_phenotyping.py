# Plant phenotyping (leaves; Minervini et al., 2016), written by
# tools/dataset_converters/plant_phenotyping.py: 284 / 95 / 94 images of many sizes.
_base_ = './resized_512.py'

data_root = 'data/plant_phenotyping/'
metainfo = dict(classes=('leaf',), palette=[(60, 179, 113)])

train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))

# Average precision of boxes and masks is the paper's; AJI chooses the checkpoint.
scores = ['box_ap', 'ap', 'ap50', 'ap75', 'aji', 'sbd', 'dice', 'f1', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = [
    dict(type='CellMetric', scores=scores),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/test.json'),
]
