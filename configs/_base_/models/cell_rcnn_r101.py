# Cell R-CNN (MICCAI 2018) as in Cell R-CNN V2's paper: no normalisation is trained.
_base_ = './mask_rcnn_r101.py'

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
