# Cell R-CNN V2 as in its own paper (IJCAI 2019): no normalisation is trained, all weights are 1
# (eq. 4), masks replace semantic features (eq. 2).
_base_ = './cell_rcnn_r101.py'

num_classes = 1

model = dict(
    roi_head=dict(
        type='PanopticRoIHead',
        mask_head=dict(_delete_=True, type='DualModalMaskHead', num_classes=num_classes),
    ),
    instance_semantic_head=dict(
        type='RAFF',
        in_channels=256,
        num_classes=num_classes,
        mode='replacement',
        loss_weight=1.0,
    ),
)
