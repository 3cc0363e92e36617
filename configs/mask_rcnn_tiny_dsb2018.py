# Mask R-CNN from scratch on two CPU cores, the baseline of pffnet_tiny_dsb2018.py.
_base_ = [
    '_base_/models/mask_rcnn_r18_tiny.py',
    '_base_/datasets/dsb2018_scales.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

# The time of pffnet_tiny_dsb2018.py's 13,100 on processors with bfloat16, where its steps are
# 1.06 times as long (benchmarks/training_step.py).
train_cfg = dict(max_iters=14000, val_interval=2000)
