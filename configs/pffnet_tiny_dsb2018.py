# PFFNet from scratch on two CPU cores.
_base_ = [
    '_base_/models/pffnet_r18_tiny.py',
    '_base_/datasets/dsb2018_scales.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

train_cfg = dict(max_iters=13100, val_interval=2000)
