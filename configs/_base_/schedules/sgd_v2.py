# The schedule of Cell R-CNN V2 (IJCAI 2019) on Kumar: SGD 0.0025, /10 at 8,640 and 12,960 of 17,280
# iterations. These are 60 epochs of 48 patches (four an image) in six copies: as they are, flipped
# in two ways, turned in three. The paper's other schedules are in epochs, hence its epoch:
orientations = 6  # copies of each training patch in an epoch
epoch = 12 * 4 * orientations

train_cfg = dict(type='IterBasedTrainLoop', max_iters=60 * epoch, val_interval=5 * epoch)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.0025, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=False, milestones=[30 * epoch, 45 * epoch], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=1)
