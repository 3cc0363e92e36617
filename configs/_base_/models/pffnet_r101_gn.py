# PFFNet (IEEE TIP 2021) = Cell R-CNN V3.
_base_ = './mask_rcnn_r101_gn.py'

norm_cfg = dict(type='GN', num_groups=32, requires_grad=True)
num_classes = 1

model = dict(
    type='PanopticCellRCNN',
    roi_head=dict(
        type='PanopticRoIHead',
        mask_head=dict(
            _delete_=True, type='DualModalMaskHead', num_classes=num_classes, norm_cfg=norm_cfg
        ),
        mask_quality_head=dict(type='MaskQualityHead', norm_cfg=norm_cfg),
    ),
    semantic_head=dict(
        type='GCNSemanticHead',
        in_channels=[256, 512, 1024, 2048],
        num_classes=num_classes,
        loss_weight=0.1,  # a1 of eq. 5
    ),
    instance_semantic_head=dict(
        type='RAFF',
        in_channels=256,
        num_classes=num_classes,
        mode='residual_attention',
        loss_weight=0.1,  # a1 of eq. 5
    ),
    loss_consistency=dict(type='SemanticConsistencyLoss', loss_weight=1.0),  # a2 of eq. 5
)
