# Data Science Bowl 2018 as the keypoint papers show it to the network: resized to 512 x 512.
_base_ = './resized_512.py'

data_root = 'data/dsb2018/'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
# As in dsb2018.py: the test list is not public for all images.
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='annotations/val.json'))

# Average precision of boxes and masks is the papers'; AJI chooses the checkpoint.
scores = ['box_ap', 'ap', 'ap50', 'ap75', 'aji', 'dice', 'f1', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = val_evaluator
