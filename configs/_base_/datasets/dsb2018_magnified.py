# DSB2018 for small networks: half of its nuclei are less than 11 px wide, three cells of a feature
# map of stride 4, so that all images are magnified twice; in training 1.75 to 2.33 times.
_base_ = './dsb2018.py'

magnify = [
    dict(
        type='RandomChoice',
        transforms=[
            [
                dict(
                    type='RandomCrop',
                    crop_size=(side, side),
                    allow_negative_crop=True,
                    recompute_bbox=True,
                )
            ]
            for side in (96, 112, 128)
        ],
    ),
    dict(type='Resize', scale=_base_.crop_size, keep_ratio=True),
]
train_pipeline = [
    *_base_.load,
    *magnify,
    *_base_.flip_and_turn,
    dict(type='PhotoMetricDistortion'),
    *_base_.pack,
]
test_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='Resize', scale_factor=2.0, keep_ratio=True),
    # After Resize: the ground truth stays at the size of the image file.
    dict(type='LoadCellAnnotations'),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'subset'),
    ),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
