# Kumar (TCGA, 40x): 12 / 4 / 14 images of 1000 x 1000. As in the PFFNet paper: 20 patches of each
# training image make an epoch; flips, quarter turns, blur, median blur, noise; test images whole.
_base_ = './coco_cells.py'

data_root = 'data/kumar/'
crop_size = (256, 256)

train_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations'),
    dict(type='RandomCrop', crop_size=crop_size, allow_negative_crop=True, recompute_bbox=True),
    # A box may reach into the crop without its object.
    dict(type='FilterAnnotations', by_box=False, by_mask=True, keep_empty=False),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='RandomRotate90', prob=0.75),
    # The paper names these three without their strengths.
    dict(type='RandomGaussianBlur', sigma=(0.1, 2.0), prob=0.3),
    dict(type='RandomMedianBlur', kernel_sizes=(3, 5), prob=0.3),
    dict(type='RandomGaussianNoise', std=(2.0, 12.0), prob=0.3),
    dict(type='SemanticFromInstances'),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(
    batch_size=1,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=20,
        dataset=dict(
            type='CellDataset',
            data_root=data_root,
            ann_file='annotations/train.json',
            data_prefix=dict(img='images/'),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))

val_evaluator = [
    dict(type='CellMetric'),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/val.json'),
]
test_evaluator = [
    dict(type='CellMetric'),
    dict(type='CellCocoMetric', ann_file=data_root + 'annotations/test.json'),
]
