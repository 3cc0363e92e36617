# Panoptic FPN (CVPR 2019) with the backbone and group norm of PFFNet, as in its table VIII:
# semantics on the neck; predictions are those of the instance branch.
_base_ = './mask_rcnn_r101_gn.py'

num_classes = 1

model = dict(
    type='PanopticCellRCNN',
    semantic_head=dict(
        type='PanopticFPNSemanticHead',
        in_channels=256,
        inner_channels=128,
        num_classes=num_classes,
        norm_cfg=dict(type='GN', num_groups=32, requires_grad=True),
        loss_weight=0.5,  # MMDetection's panoptic-fpn_r50_fpn_1x_coco.py
    ),
)
