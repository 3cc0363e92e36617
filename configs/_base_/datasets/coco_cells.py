# What the data sets share: cells in COCO json with RLE, as every converter writes them.
crop_size = (224, 224)
# Objects of which surer ones leave less are not scored, as in the code of PFFNet's authors.
min_visible = 0.3

# The parts of training pipelines; a data set puts them together with its own crop in between.
load = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]
flip_and_turn = [
    # A box may reach into the crop without its object.
    dict(type='FilterAnnotations', by_box=False, by_mask=True, keep_empty=False),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='RandomRotate90', prob=0.75),
]
# PFFNet's augmentation of histology and leaves; the paper names these three without strengths.
blur_and_noise = [
    dict(type='RandomGaussianBlur', sigma=(0.1, 2.0), prob=0.3),
    dict(type='RandomMedianBlur', kernel_sizes=(3, 5), prob=0.3),
    dict(type='RandomGaussianNoise', std=(2.0, 12.0), prob=0.3),
]
pack = [dict(type='SemanticFromInstances'), dict(type='PackDetInputs')]

train_pipeline = [
    *load,
    # Images smaller than the crop are kept whole.
    dict(type='RandomCrop', crop_size=crop_size, allow_negative_crop=True, recompute_bbox=True),
    *flip_and_turn,
    dict(type='PhotoMetricDistortion'),
    *pack,
]
test_pipeline = [
    dict(type='LoadCellImage'),
    # Sets the scale_factor that predictions are mapped back with; other factors magnify.
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),
    # After Resize: the ground truth stays at the size of the image file.
    dict(type='LoadCellAnnotations'),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'subset'),
    ),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    # Training counts iterations: this one goes on where a resumed run left off.
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CellDataset',
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CellDataset',
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CellDataset',
        ann_file='annotations/test.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
