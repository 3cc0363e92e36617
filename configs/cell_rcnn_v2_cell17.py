# Cell R-CNN V2 on Cell17 with the settings of its own paper (IJCAI 2019), table 5: 100 epochs, /10
# at the end of the 50th and the 75th.
_base_ = [
    '_base_/models/cell_rcnn_v2_r101.py',
    '_base_/datasets/cell17.py',
    '_base_/schedules/sgd_v2.py',
    '_base_/default_runtime.py',
]

epoch = 28 * _base_.orientations
train_cfg = dict(max_iters=100 * epoch, val_interval=5 * epoch)
optim_wrapper = dict(optimizer=dict(lr=0.001))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='MultiStepLR', by_epoch=False, milestones=[50 * epoch, 75 * epoch], gamma=0.1),
]
