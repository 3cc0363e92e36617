# A small Panoptic FPN that trains from scratch on two CPU cores.
_base_ = './mask_rcnn_r18_tiny.py'

num_classes = 1
channels = 96

model = dict(
    semantic_head=dict(
        type='PanopticFPNSemanticHead',
        in_channels=channels,
        inner_channels=64,
        num_classes=num_classes,
        norm_cfg=dict(type='GN', num_groups=16, requires_grad=True),
    ),
)
