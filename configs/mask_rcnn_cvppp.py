# Mask R-CNN on CVPPP A1 as in PFFNet's paper (IEEE TIP 2021), table VI.
_base_ = [
    '_base_/models/mask_rcnn_r101_gn.py',
    '_base_/datasets/cvppp.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]
