# Training patches as PFFNet (IEEE TIP 2021) cuts them for histology: drawn anew in every epoch, so
# many a training image; flips, quarter turns, blur, median blur, noise. Test images stay whole.
_base_ = './coco_cells.py'

crop_size = (256, 256)
train_pipeline = [
    *_base_.load,
    dict(type='RandomCrop', crop_size=crop_size, allow_negative_crop=True, recompute_bbox=True),
    *_base_.flip_and_turn,
    *_base_.blur_and_noise,
    *_base_.pack,
]

train_dataloader = dict(
    batch_size=1,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=1,  # patches of an image in an epoch
        dataset=dict(
            type='CellDataset',
            ann_file='annotations/train.json',
            data_prefix=dict(img='images/'),
            pipeline=train_pipeline,
        ),
    ),
)
