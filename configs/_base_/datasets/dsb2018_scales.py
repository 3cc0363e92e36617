# DSB2018 at random scales: networks from scratch see its 397 images dozens of times.
_base_ = './dsb2018.py'

scales = [
    [dict(type='Resize', scale_factor=factor, keep_ratio=True)]
    for factor in (0.8, 1.0, 1.25, 1.5, 2.0)
]
at_one_scale = _base_.train_pipeline[len(_base_.load) :]
train_pipeline = [
    *_base_.load,
    dict(type='RandomChoice', transforms=scales[:-1]),
    *at_one_scale,
]
test_pipeline = [
    _base_.test_pipeline[0],
    # Chosen on training images among 1, 1.25 and 1.5, for PFFNet and Mask R-CNN alike.
    dict(type='Resize', scale_factor=1.25, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
