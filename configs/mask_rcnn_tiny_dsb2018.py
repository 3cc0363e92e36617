# Mask R-CNN from scratch on two CPU cores, the baseline of pffnet_tiny_dsb2018.py.
_base_ = [
    '_base_/models/mask_rcnn_r18_tiny.py',
    '_base_/datasets/dsb2018_scales.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

# The time of pffnet_tiny_dsb2018.py's 10,000 on processors with bfloat16, where its steps are
# 1.37 times as long (docs/results.md).
train_cfg = dict(max_iters=14000, val_interval=2000)
