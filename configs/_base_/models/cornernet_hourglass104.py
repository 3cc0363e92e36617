# CornerNet (ECCV 2018), MMDetection's own, with its settings for COCO but for the limits, which are
# too low for cells. Boxes only, no masks.
num_classes = 1
max_objects = 500  # per test image

model = dict(
    type='CornerNet',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='HourglassNet',
        downsample_times=5,
        num_stacks=2,
        stage_channels=[256, 256, 384, 384, 384, 512],
        stage_blocks=[2, 2, 2, 2, 2, 4],
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
    neck=None,
    bbox_head=dict(
        type='CornerHead',
        num_classes=num_classes,
        in_channels=256,
        num_feat_levels=2,
        corner_emb_channels=1,
        loss_heatmap=dict(type='GaussianFocalLoss', alpha=2.0, gamma=4.0, loss_weight=1),
        loss_embedding=dict(type='AssociativeEmbeddingLoss', pull_weight=0.10, push_weight=0.10),
        loss_offset=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1),
    ),
    train_cfg=None,
    test_cfg=dict(
        corner_topk=max_objects,
        local_maximum_kernel=3,
        distance_threshold=0.5,
        score_thr=0.05,
        max_per_img=max_objects,
        nms=dict(type='soft_nms', iou_threshold=0.5, method='gaussian'),
    ),
)
