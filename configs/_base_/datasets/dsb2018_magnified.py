# DSB2018 magnified in training and in tests: small objects become larger, and networks from scratch
# learn one scale sooner than many.
_base_ = './dsb2018.py'

magnify = dict(type='Resize', scale_factor=1.25, keep_ratio=True)
train_pipeline = [
    *_base_.load,
    magnify,
    *_base_.train_pipeline[len(_base_.load) :],
]
test_pipeline = [
    _base_.test_pipeline[0],
    magnify,
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
