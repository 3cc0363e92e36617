# Mask R-CNN on Cell17, trained as cell_rcnn_v2_cell17.py. That paper's table 5 takes its figures
# from Cell R-CNN's.
_base_ = [
    '_base_/models/mask_rcnn_r101.py',
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
