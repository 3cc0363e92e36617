# Cell R-CNN V2's table 3, baseline: Mask R-CNN.
_base_ = [
    '../_base_/models/mask_rcnn_r101.py',
    '../_base_/datasets/kumar_v2.py',
    '../_base_/schedules/sgd_v2.py',
    '../_base_/default_runtime.py',
]
