# Kumar as Cell R-CNN V2 (IJCAI 2019) trains on it: four patches of 512 x 512 an image; blur, noise,
# emboss, sharpening and channel shuffle, which the paper names without their strengths.
_base_ = './kumar.py'

crop_size = (512, 512)
train_pipeline = [
    *_base_.load,
    dict(type='RandomCrop', crop_size=crop_size, allow_negative_crop=True, recompute_bbox=True),
    *_base_.flip_and_turn,
    *_base_.blur_and_noise,
    dict(type='RandomEmboss', strength=(0.2, 0.7), prob=0.3),
    dict(type='RandomSharpen', amount=(0.2, 1.0), prob=0.3),
    dict(type='RandomChannelShuffle', prob=0.3),
    *_base_.pack,
]

train_dataloader = dict(dataset=dict(times=4, dataset=dict(pipeline=train_pipeline)))
