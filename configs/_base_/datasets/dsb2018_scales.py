# DSB2018 at random scales: networks from scratch see its 397 images dozens of times.
_base_ = './dsb2018.py'

train_pipeline = [
    *_base_.load,
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='Resize', scale_factor=factor, keep_ratio=True)]
            for factor in (0.8, 1.0, 1.25, 1.5)
        ],
    ),
    dict(
        type='RandomCrop',
        crop_size=_base_.crop_size,
        allow_negative_crop=True,
        recompute_bbox=True,
    ),
    *_base_.flip_and_turn,
    dict(type='PhotoMetricDistortion'),
    *_base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
