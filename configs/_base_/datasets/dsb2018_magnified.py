# DSB2018 for the small keypoint detectors, which need objects of many pixels: the papers magnify
# most of its images twice, to 512 x 512; here, as two cores allow, up to twice, and 1.5 in tests.
_base_ = './dsb2018_scales.py'

train_pipeline = [
    *_base_.load,
    dict(type='RandomChoice', transforms=_base_.scales[1:]),
    *_base_.at_one_scale,
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='Resize', scale_factor=1.5, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
