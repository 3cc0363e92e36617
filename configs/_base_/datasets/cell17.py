# Cell17 (MICCAI 2017 nuclei segmentation challenge), written by tools/dataset_converters/cell17.py:
# 28 / 4 / 32 images of 500 x 500 or 600 x 600. As in Cell R-CNN V2 (IJCAI 2019): flips and quarter
# turns. The paper names no patches: whole images.
_base_ = './coco_cells.py'

data_root = 'data/cell17/'
crop_size = (600, 600)  # of the largest images
train_pipeline = [*_base_.load, *_base_.flip_and_turn, *_base_.pack]

train_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))

# F1, object Dice and object Hausdorff are the paper's.
scores = ['f1', 'object_dice', 'object_hausdorff', 'aji', 'aji_plus', 'dice', 'dq', 'sq', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores, min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = [
    dict(type='CellMetric', scores=scores, min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/test.json'),
]
