# Images as the keypoint papers show them to the network: resized to 512 x 512, whatever their
# shape, in training and in testing. Object-guided (IEEE TMI 2021) flips and crops; keypoint graph
# (MICCAI 2019) also expands and changes contrast and brightness. The papers name no strengths.
_base_ = './coco_cells.py'

crop_size = (512, 512)  # of the network's input
# A window of half to all of each side, so that objects are magnified up to twice.
crop = dict(
    type='RandomCrop',
    crop_type='relative_range',
    crop_size=(0.5, 0.5),
    allow_negative_crop=True,
    recompute_bbox=True,
)
resize = dict(type='Resize', scale=crop_size, keep_ratio=False)
flip = [
    # The crop, and shrinking, may leave an object without a pixel.
    dict(type='FilterAnnotations', by_box=False, by_mask=True, keep_empty=False),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
]
train_pipeline = [*_base_.load, crop, resize, *flip, *_base_.pack]
# Keypoint graph's: train_dataloader = dict(dataset=dict(pipeline={{_base_.expanding_pipeline}}))
expanding_pipeline = [
    *_base_.load,
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(1, 1),
        hue_delta=0,
    ),
    dict(type='Expand', mean=(0, 0, 0), to_rgb=False, ratio_range=(1, 2), prob=0.5),
    crop,
    resize,
    *flip,
    *_base_.pack,
]
test_pipeline = [
    dict(type='LoadCellImage'),
    resize,
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
