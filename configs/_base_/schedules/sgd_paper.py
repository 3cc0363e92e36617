# The schedule of PFFNet: SGD 0.003, batch 1, one step at 3/4 of 25,600 iterations.
# A longer or shorter run changes two places:
#   train_cfg = dict(max_iters=...)
#   param_scheduler = {{_base_.param_scheduler}} with [1].milestones at 3/4 of it.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=25600, val_interval=1600)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.003, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=False, milestones=[19200], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=1)
