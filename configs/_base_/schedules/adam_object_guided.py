# The schedule of object-guided segmentation (IEEE TMI 2021): Adam, at first 1.25e-4, 100 epochs.
# How the rate falls is not said: on a cosine here. Nor is the batch: 4 images here. Iterations
# follow from the number of training images, in the config of a data set.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=10000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1.25e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, eta_min=1e-6),
]
auto_scale_lr = dict(enable=False, base_batch_size=4)
