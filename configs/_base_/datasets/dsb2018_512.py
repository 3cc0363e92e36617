# DSB2018 as in the keypoint papers: every image resized to 512 x 512.
_base_ = './resized_512.py'

data_root = 'data/dsb2018/'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
# As in dsb2018.py: without lists of your own, tests run on the validation list.
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='annotations/val.json'))

# The papers' scores, as in neural_cell.py; AJI chooses the checkpoint.
boxes = ['box_ap', 'box_ap50', 'box_ap70']
masks = ['ap', 'ap50', 'ap70', 'ap75', 'matched_iou50', 'matched_iou70']
scores = [*boxes, *masks, 'aji', 'dice', 'f1', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = val_evaluator
