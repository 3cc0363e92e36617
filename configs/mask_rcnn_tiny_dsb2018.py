# Mask R-CNN from scratch on two CPU cores, the baseline of pffnet_tiny_dsb2018.py.
_base_ = [
    '_base_/models/mask_rcnn_r18_tiny.py',
    '_base_/datasets/dsb2018_magnified.py',
    '_base_/schedules/adamw_tiny_lr8e-4.py',
    '_base_/default_runtime.py',
]

# The time of pffnet_tiny_dsb2018.py's 8,000, whose steps are 1.03 times as long.
train_cfg = dict(max_iters=8240, val_interval=2000)
