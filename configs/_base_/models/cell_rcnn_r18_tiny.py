# A small Cell R-CNN that trains from scratch on two CPU cores.
_base_ = './mask_rcnn_r18_tiny.py'

num_classes = 1

model = dict(
    semantic_head=dict(
        type='GCNSemanticHead',
        in_channels=[64, 128, 256, 512],
        num_classes=num_classes,
        loss_weight=1.0,
    ),
)
