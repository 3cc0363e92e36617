# Mask R-CNN from scratch on two CPU cores, the baseline of pffnet_tiny_dsb2018.py.
_base_ = [
    '_base_/models/mask_rcnn_r18_tiny.py',
    '_base_/datasets/dsb2018_scales.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

# The time of pffnet_tiny_dsb2018.py's 10,000 on processors with bfloat16, where its steps are 1.24
# times as long (1.03 to 1.1 times without, benchmarks/training_step.py).
train_cfg = dict(max_iters=12400, val_interval=2000)
