# Object-guided segmentation from scratch on two CPU cores.
_base_ = [
    '_base_/models/object_guided_r18_tiny.py',
    '_base_/datasets/dsb2018.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]
