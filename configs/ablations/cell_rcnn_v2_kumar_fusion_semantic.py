# Cell R-CNN V2's table 3, Ab2: baseline + feature fusion + semantic branch.
_base_ = '../cell_rcnn_v2_kumar.py'

model = dict(
    roi_head=dict(
        mask_head=dict(
            _delete_=True,
            type='BackgroundFCNMaskHead',
            num_classes=1,
        ),
    ),
)
