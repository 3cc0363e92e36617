# Mask R-CNN as in Cell R-CNN V2 (IJCAI 2019), where no normalisation is trained: the backbone's
# batch norm is frozen, as in maskrcnn-benchmark, which that paper's Mask R-CNN comes from.
_base_ = './mask_rcnn_r101_gn.py'

num_classes = 1

model = dict(
    backbone=dict(
        norm_cfg=dict(_delete_=True, type='BN', requires_grad=False),
        style='caffe',
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet101_caffe'),
    ),
    neck=dict(norm_cfg=None),
    roi_head=dict(
        bbox_head=dict(
            _delete_=True,
            type='Shared2FCBBoxHead',
            in_channels=256,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=num_classes,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0),
        ),
        mask_head=dict(norm_cfg=None),
    ),
)
