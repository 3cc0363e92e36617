# A small Mask Scoring R-CNN that trains from scratch on two CPU cores.
_base_ = './mask_rcnn_r18_tiny.py'

num_classes = 1
channels = 96

model = dict(
    roi_head=dict(
        type='RoiMasksMaskScoringRoIHead',
        mask_iou_head=dict(
            type='MaskIoUHead',
            in_channels=channels,
            conv_out_channels=64,
            fc_out_channels=128,
            num_classes=num_classes,
        ),
    ),
    # The head compares logits with it: a probability of 0.5.
    train_cfg=dict(rcnn=dict(mask_thr_binary=0.0)),
)
