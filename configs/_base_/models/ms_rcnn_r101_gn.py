# Mask Scoring R-CNN (CVPR 2019) with group norm: MMDetection's ms-rcnn_r50-caffe_fpn_1x_coco.py on
# the Mask R-CNN for dense images.
_base_ = './mask_rcnn_r101_gn.py'

num_classes = 1

model = dict(
    type='MaskScoringRCNN',
    roi_head=dict(
        type='RoiMasksMaskScoringRoIHead',
        mask_iou_head=dict(type='MaskIoUHead', num_classes=num_classes),
    ),
    # The head compares logits with it: a probability of 0.5.
    train_cfg=dict(rcnn=dict(mask_thr_binary=0.0)),
)
