# As Cell R-CNN V2's table 3, Ab2: without the dual-modal mask generator.
_base_ = '../cell_rcnn_v2_tiny_dsb2018.py'

model = dict(
    roi_head=dict(
        mask_head=dict(
            _delete_=True,
            type='BackgroundFCNMaskHead',
            num_classes=1,
            num_convs=2,
            in_channels=96,
            conv_out_channels=96,
            norm_cfg=_base_.norm_cfg,
        ),
    ),
)
