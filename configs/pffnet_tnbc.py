# PFFNet on TNBC as in PFFNet's paper (IEEE TIP 2021), table IV.
_base_ = [
    '_base_/models/pffnet_r101_gn.py',
    '_base_/datasets/tnbc.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]
