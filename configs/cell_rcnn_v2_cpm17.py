# Cell R-CNN V2 trained on CPM17 and tested on Kumar, as in PFFNet's paper (IEEE TIP 2021),
# table XII.
_base_ = [
    '_base_/models/cell_rcnn_v2_r101_gn.py',
    '_base_/datasets/cpm17.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]
