# Neural cells (rat CNS stem cells, phase contrast), written by
# tools/dataset_converters/neural_cell.py: 386 / 129 / 129 gray images of 512 x 640.
_base_ = './resized_512.py'

data_root = 'data/neural_cell/'
metainfo = dict(classes=('cell',), palette=[(220, 20, 60)])

train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))

# Average precision of boxes and masks (object-guided: the mean, 0.5 and 0.75; keypoint graph: 0.5
# and 0.7) and the IoU of what was found are the papers'; AJI chooses the checkpoint.
boxes = ['box_ap', 'box_ap50', 'box_ap70']
masks = ['ap', 'ap50', 'ap70', 'ap75', 'matched_iou50', 'matched_iou70']
scores = [*boxes, *masks, 'aji', 'dice', 'f1', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = [
    dict(type='CellMetric', scores=scores),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/test.json'),
]
