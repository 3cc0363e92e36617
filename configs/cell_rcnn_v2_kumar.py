# Cell R-CNN V2 on Kumar with the settings of its own paper (IJCAI 2019), tables 2 and 3.
_base_ = [
    '_base_/models/cell_rcnn_v2_r101.py',
    '_base_/datasets/kumar_v2.py',
    '_base_/schedules/sgd_v2.py',
    '_base_/default_runtime.py',
]
