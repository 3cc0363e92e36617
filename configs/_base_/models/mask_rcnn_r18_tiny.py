# A small Mask R-CNN that trains from scratch on two CPU cores: ResNet-18, 96 channels, few RoIs.
_base_ = './mask_rcnn_r101_gn.py'

num_classes = 1
channels = 96
norm_cfg = dict(type='GN', num_groups=16, requires_grad=True)
max_objects = 1000  # per test image, as in mask_rcnn_r101_gn.py
max_proposals = 2 * max_objects
max_anchors = 4 * max_proposals

model = dict(
    # Without semantic heads this is Mask R-CNN, whose backbone, neck and RPN begin with the weights
    # that those of PFFNet begin with.
    type='PanopticCellRCNN',
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(depth=18, norm_cfg=norm_cfg, norm_eval=False, frozen_stages=-1, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=channels, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4]),  # nuclei start at about 10 px
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        bbox_head=dict(
            _delete_=True,
            type='Shared2FCBBoxHead',
            in_channels=channels,
            fc_out_channels=256,
            roi_feat_size=7,
            num_classes=num_classes,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
        ),
        mask_roi_extractor=dict(out_channels=channels),
        mask_head=dict(
            num_convs=2, in_channels=channels, conv_out_channels=channels, norm_cfg=norm_cfg
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(sampler=dict(num=96, pos_fraction=0.33)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=max_anchors, max_per_img=max_proposals),
        # Enlarged: chosen on training images among 1, 1.05, 1.1 and 1.2, for Mask R-CNN and PFFNet.
        rcnn=dict(max_per_img=max_objects, mask_enlarge=1.05),
    ),
)
