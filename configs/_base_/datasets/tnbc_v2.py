# TNBC as Cell R-CNN V2 (IJCAI 2019) trains on it: flips and quarter turns. The paper names no
# patches: whole images.
_base_ = './tnbc.py'

crop_size = (512, 512)  # of the images
train_pipeline = [*_base_.load, *_base_.flip_and_turn, *_base_.pack]

train_dataloader = dict(dataset=dict(times=1, dataset=dict(pipeline=train_pipeline)))
