# A small PFFNet that trains from scratch on two CPU cores.
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
            conv_channels=32,
            norm_cfg=norm_cfg,
        ),
        mask_quality_head=dict(
            type='MaskQualityHead',
            in_channels=channels,
            conv_channels=16,
            fc_channels=128,
            norm_cfg=norm_cfg,
        ),
    ),
    semantic_head=dict(
        type='GCNSemanticHead',
        in_channels=[64, 128, 256, 512],
        num_classes=num_classes,
        loss_weight=1.0,
    ),
    # Cell R-CNN V2's weight of the semantic losses, ten times PFFNet's: networks from scratch learn
    # more by them (docs/results.md), and beside a tenth of them the paper's weight of the
    # consistency could hold both predictions at the same constant.
    instance_semantic_head=dict(
        type='RAFF', in_channels=channels, num_classes=num_classes, loss_weight=1.0
    ),
    loss_consistency=dict(type='SemanticConsistencyLoss', loss_weight=1.0),
    # Where a step is half a second, semantic losses take a tenth of it.
    semantic_interval=4,
)
find_unused_parameters = True  # three of four times no gradient reaches the semantic heads
