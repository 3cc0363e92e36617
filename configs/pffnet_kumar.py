# PFFNet on Kumar, with the paper's schedule: 25,600 iterations of one 256 x 256 patch (IEEE TIP 2021).
_base_ = [
    '_base_/models/pffnet_r101_gn.py',
    '_base_/datasets/kumar.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]
