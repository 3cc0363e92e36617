# A small PFFNet that trains from scratch on two CPU cores.
# Narrower heads would hardly save time (benchmarks/training_step.py).
_base_ = './mask_rcnn_r18_tiny.py'

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
            conv_channels=64,
            norm_cfg=norm_cfg,
        ),
        mask_quality_head=dict(
            type='MaskQualityHead',
            in_channels=channels,
            conv_channels=32,
            fc_channels=128,
            norm_cfg=norm_cfg,
        ),
    ),
    semantic_head=dict(
        type='GCNSemanticHead', in_channels=[64, 128, 256, 512], num_classes=num_classes
    ),
    instance_semantic_head=dict(type='RAFF', in_channels=channels, num_classes=num_classes),
    # A tenth of the paper's. From scratch, its 1 against the 0.1 of the semantic losses can hold
    # both predictions at the same constant, which is consistent, too.
    loss_consistency=dict(type='SemanticConsistencyLoss', loss_weight=0.1),
)
