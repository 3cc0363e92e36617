# Panoptic FPN on BBBC039 as in PFFNet's paper (IEEE TIP 2021), table VIII.
_base_ = [
    '_base_/models/panoptic_fpn_r101_gn.py',
    '_base_/datasets/bbbc039.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]
