# CVPPP A1 (leaves), written by tools/dataset_converters/cvppp.py: 100 / 28 of the 128 annotated
# images of 530 x 500. As in the PFFNet paper they are trained at 512 x 512 and tested as they are.
# Its three folds: tools/cross_validate.py CONFIG --folds 3.
_base_ = './coco_cells.py'

data_root = 'data/cvppp/'
metainfo = dict(classes=('leaf',), palette=[(60, 179, 113)])
crop_size = (512, 512)  # of the training images
train_pipeline = [
    *_base_.load,
    dict(type='Resize', scale=crop_size, keep_ratio=False),
    *_base_.flip_and_turn,
    *_base_.blur_and_noise,
    *_base_.pack,
]

train_dataloader = dict(
    batch_size=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
# The official test images go without annotations: tests run on the 28.
test_dataloader = dict(
    dataset=dict(data_root=data_root, metainfo=metainfo, ann_file='annotations/val.json')
)

# SBD, Dice and PQ are the paper's, the differences in count the challenge's.
counts = ['count_difference', 'absolute_count_difference']
scores = ['sbd', 'dice', 'pq', 'sq', 'dq', *counts, 'aji', 'f1']
val_evaluator = [
    dict(type='CellMetric', scores=scores, min_visible={{_base_.min_visible}}),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = val_evaluator
