# PointRend (CVPR 2020) with group norm: MMDetection's point-rend_r50-caffe_fpn_ms-1x_coco.py on the
# Mask R-CNN for dense images.
_base_ = './mask_rcnn_r101_gn.py'

norm_cfg = dict(type='GN', num_groups=32, requires_grad=True)
num_classes = 1

model = dict(
    type='PointRend',
    roi_head=dict(
        type='RoiMasksPointRendRoIHead',
        mask_roi_extractor=dict(
            type='GenericRoIExtractor',
            aggregation='concat',
            roi_layer=dict(_delete_=True, type='SimpleRoIAlign', output_size=14),
            featmap_strides=[4],
        ),
        mask_head=dict(
            _delete_=True,
            type='CoarseMaskHead',
            num_fcs=2,
            in_channels=256,
            conv_out_channels=256,
            fc_out_channels=1024,
            num_classes=num_classes,
            norm_cfg=norm_cfg,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
        ),
        point_head=dict(
            type='LabelMapPointHead',
            num_fcs=3,
            in_channels=256,
            fc_channels=256,
            num_classes=num_classes,
        ),
    ),
    train_cfg=dict(
        rcnn=dict(mask_size=7, num_points=14 * 14, oversample_ratio=3, importance_sample_ratio=0.75)
    ),
    # Masks of 112 x 112. A fifth step (224 x 224) is finer than the pixels of any object here, and
    # takes 800 MB for 4,000 of them.
    test_cfg=dict(rcnn=dict(subdivision_steps=4, subdivision_num_points=28 * 28, scale_factor=2)),
)
