# Leaf segmentation challenge (CVPPP 2017), written by tools/dataset_converters/lsc.py: A1 to A4, of
# 128 / 31 / 27 / 624 annotated images, a fifth of each for validation. A1 to A4 are also scored on
# their own. The official test images (A1 to A5) are scored by the challenge's server after a
# training on all 810: train_dataloader.dataset.ann_file=annotations/all_train.json
_base_ = './resized_512.py'

data_root = 'data/lsc/'
metainfo = dict(classes=('leaf',), palette=[(60, 179, 113)])

train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = dict(
    dataset=dict(data_root=data_root, metainfo=metainfo, ann_file='annotations/val.json')
)

# The challenge's: BestDice, FgBgDice, DiffFG, AbsDiffFG. AJI chooses the checkpoint.
challenge = ['sbd', 'dice', 'count_difference', 'absolute_count_difference']
scores = [*challenge, 'aji', 'f1', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = val_evaluator
