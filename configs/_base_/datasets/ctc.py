# A data set of the Cell Tracking Challenge, written by tools/dataset_converters/ctc.py, here
# Fluo-N2DL-HeLa. ctc_u373.py and ctc_psc.py are the two others of the object-guided paper.
#   train       silver annotation (computed, of all cells) of video 01: 92 frames
#   val         silver annotation of video 02: 92 frames
#   test        gold annotation (by hand, of some cells) of video 02: only SEG can be measured
#   all_train   silver annotation of both videos, the paper's 184 frames
#   gold_train, all_gold_train   gold annotation, silver where there is none, to finetune on
_base_ = './resized_512.py'

data_root = 'data/ctc_hela/'
metainfo = dict(classes=('cell',), palette=[(220, 20, 60)])

train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))

scores = ['op_csb', 'ctc_seg', 'ctc_det', 'aji', 'dice', 'f1', 'pq']
val_evaluator = [
    dict(type='CellMetric', scores=scores),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
# Cells without gold annotation are there all the same: finding them must not count as wrong.
test_evaluator = dict(type='CellMetric', scores=['ctc_seg'])
