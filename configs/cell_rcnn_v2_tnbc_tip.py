# Cell R-CNN V2 on TNBC as in PFFNet's paper (IEEE TIP 2021), table IV.
# The settings of its own paper: cell_rcnn_v2_tnbc.py.
_base_ = [
    '_base_/models/cell_rcnn_v2_r101_gn.py',
    '_base_/datasets/tnbc.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]
