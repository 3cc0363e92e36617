# Cell R-CNN V2 (IJCAI 2019) as PFFNet's paper runs it again, with group norm: all weights are 1
# (eq. 4), masks replace semantic features (eq. 2), neither mask quality nor consistency.
_base_ = './cell_rcnn_r101_gn.py'

norm_cfg = dict(type='GN', num_groups=32, requires_grad=True)
num_classes = 1

model = dict(
    roi_head=dict(
        type='PanopticRoIHead',
        mask_head=dict(
            _delete_=True, type='DualModalMaskHead', num_classes=num_classes, norm_cfg=norm_cfg
        ),
    ),
    instance_semantic_head=dict(
        type='RAFF',
        in_channels=256,
        num_classes=num_classes,
        mode='replacement',
        loss_weight=1.0,
    ),
)
