# Cell R-CNN V2 as in its own paper (IJCAI 2019): no normalisation is trained.
_base_ = './mask_rcnn_r101.py'

num_classes = 1

model = dict(
    type='PanopticCellRCNN',
    roi_head=dict(
        type='PanopticRoIHead',
        mask_head=dict(_delete_=True, type='DualModalMaskHead', num_classes=num_classes),
    ),
    semantic_head=dict(
        type='GCNSemanticHead',
        in_channels=[256, 512, 1024, 2048],
        num_classes=num_classes,
        loss_weight=1.0,
    ),
    instance_semantic_head=dict(
        type='RAFF',
        in_channels=256,
        num_classes=num_classes,
        mode='replacement',
        loss_weight=1.0,
    ),
)
