# Cell R-CNN V2 on Kumar as in PFFNet's paper (IEEE TIP 2021), table II.
# The settings of its own paper: cell_rcnn_v2_kumar.py.
_base_ = [
    '_base_/models/cell_rcnn_v2_r101_gn.py',
    '_base_/datasets/kumar.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]
