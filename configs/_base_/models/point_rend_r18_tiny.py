# A small PointRend that trains from scratch on two CPU cores.
_base_ = './mask_rcnn_r18_tiny.py'

num_classes = 1
channels = 96
norm_cfg = dict(type='GN', num_groups=16, requires_grad=True)

model = dict(
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
            in_channels=channels,
            conv_out_channels=64,
            fc_out_channels=256,
            num_classes=num_classes,
            norm_cfg=norm_cfg,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
        ),
        point_head=dict(
            type='LabelMapPointHead',
            num_fcs=3,
            in_channels=channels,
            fc_channels=64,
            num_classes=num_classes,
        ),
    ),
    train_cfg=dict(
        rcnn=dict(mask_size=7, num_points=14 * 14, oversample_ratio=3, importance_sample_ratio=0.75)
    ),
    # Masks of 56 x 56.
    test_cfg=dict(rcnn=dict(subdivision_steps=3, subdivision_num_points=14 * 14, scale_factor=2)),
)
