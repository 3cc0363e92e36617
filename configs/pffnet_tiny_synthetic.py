# PFFNet on generated cells, a few minutes on two CPU cores: the demo. Small crops and few RoIs make
# a training step short.
_base_ = [
    '_base_/models/pffnet_r18_tiny.py',
    '_base_/datasets/synthetic.py',
    '_base_/schedules/adamw_tiny.py',
    '_base_/default_runtime.py',
]

model = dict(train_cfg=dict(rcnn=dict(sampler=dict(num=64))))

train_pipeline = [
    *_base_.load,
    dict(type='RandomCrop', crop_size=(128, 128), allow_negative_crop=True, recompute_bbox=True),
    *_base_.flip_and_turn,
    dict(type='PhotoMetricDistortion'),
    *_base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

train_cfg = dict(max_iters=600, val_interval=600)
