# Object-guided instance segmentation (IEEE TMI 2021): ResNet-50, batch norm in the detection
# branch, instance norm in the segmentation branch, auxiliary feature refinement.
num_classes = 1
# Of a test image; scores of images that reach it are warned about (the authors' program: 500).
max_objects = 500
channels = [64, 64, 256, 512, 1024, 2048]  # at strides 1 to 32; the last goes into the one before
norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    type='CenterKeypointDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='FullResolutionResNet',
        depth=50,
        image_channels=channels[0],
        norm_cfg=norm_cfg,
        norm_eval=False,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(type='UShapedDecoder', in_channels=channels, num_raw_levels=2, norm_cfg=norm_cfg),
    bbox_head=dict(
        type='CenterKeypointHead',
        in_channels=channels[2],
        feat_channels=256,
        num_classes=num_classes,
        loss_center_heatmap=dict(type='GaussianFocalLoss', alpha=2.0, gamma=4.0, loss_weight=1.0),
        loss_wh=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.1),
        loss_offset=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
    ),
    mask_head=dict(type='ObjectGuidedMaskHead', in_channels=channels[:-1], loss_weight=2.0),
    point_head=dict(
        type='PointRefineHead',
        in_channels=channels[:2],
        oversample=3,
        keep=0.75,
        pixels_per_point=8,
        loss_weight=1.0,
    ),
    train_cfg=None,
    # score_thr, mask_nms: the authors' program's.
    test_cfg=dict(max_per_img=max_objects, score_thr=0.3, mask_thr=0.5, mask_nms=0.2),
)
