# PFFNet on Kumar with the schedule of the paper (IEEE TIP 2021): 25,600 iterations of one patch.
_base_ = [
    '_base_/models/pffnet_r101_gn.py',
    '_base_/datasets/kumar.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]
