# Cell R-CNN V2 on TNBC with the settings of its own paper (IJCAI 2019), table 4: 60 epochs, /10 at
# the end of the 30th and the 45th.
_base_ = [
    '_base_/models/cell_rcnn_v2_r101.py',
    '_base_/datasets/tnbc_v2.py',
    '_base_/schedules/sgd_v2.py',
    '_base_/default_runtime.py',
]

epoch = 30 * _base_.orientations
train_cfg = dict(max_iters=60 * epoch, val_interval=5 * epoch)
optim_wrapper = dict(optimizer=dict(lr=0.00075))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='MultiStepLR', by_epoch=False, milestones=[30 * epoch, 45 * epoch], gamma=0.1),
]
