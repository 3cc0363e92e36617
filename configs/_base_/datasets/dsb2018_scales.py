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
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
