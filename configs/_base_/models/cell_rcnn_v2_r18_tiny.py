# A small Cell R-CNN V2 that trains from scratch on two CPU cores.
_base_ = './cell_rcnn_r18_tiny.py'

num_classes = 1
channels = 96
norm_cfg = dict(type='GN', num_groups=8, requires_grad=True)

model = dict(
    roi_head=dict(
        type='PanopticRoIHead',
        mask_head=dict(
            _delete_=True,
            type='DualModalMaskHead',
            num_classes=num_classes,
            in_channels=channels,
            conv_channels=32,
            norm_cfg=norm_cfg,
        ),
    ),
    instance_semantic_head=dict(
        type='RAFF',
        in_channels=channels,
        num_classes=num_classes,
        mode='replacement',
        loss_weight=1.0,
    ),
)
