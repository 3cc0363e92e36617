# Mask R-CNN from scratch on two CPU cores, the baseline of pffnet_tiny_dsb2018.py.
_base_ = [
    '_base_/models/mask_rcnn_r18_tiny.py',
    '_base_/datasets/dsb2018_scales.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

# A step is shorter than PFFNet's: in the same time there are more of them.
train_cfg = dict(max_iters=10400, val_interval=2000)
