# PFFNet on generated cells, a few minutes on two CPU cores: the demo.
_base_ = [
    '_base_/models/pffnet_r18_tiny.py',
    '_base_/datasets/synthetic.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

train_cfg = dict(max_iters=800, val_interval=800)
