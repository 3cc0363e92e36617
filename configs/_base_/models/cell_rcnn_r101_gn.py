# Cell R-CNN (MICCAI 2018) as PFFNet's paper runs it again, with group norm: Mask R-CNN and a
# semantic branch on one backbone, their losses summed.
_base_ = './mask_rcnn_r101_gn.py'

num_classes = 1

model = dict(
    type='PanopticCellRCNN',
    semantic_head=dict(
        type='GCNSemanticHead',
        in_channels=[256, 512, 1024, 2048],
        num_classes=num_classes,
        loss_weight=1.0,
    ),
)
