# Panoptic FPN from scratch on two CPU cores, trained as pffnet_tiny_dsb2018.py.
_base_ = [
    '_base_/models/panoptic_fpn_r18_tiny.py',
    '_base_/datasets/dsb2018_scales.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

train_cfg = dict(max_iters=13100, val_interval=2000)
