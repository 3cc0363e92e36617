# Mask R-CNN with group norm everywhere (batches of one image), set up for dense images:
# MMDetection's gn/mask-rcnn_r101_fpn_gn-all, the Mask R-CNN of PFFNet's tables.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='GN', num_groups=32, requires_grad=True)
num_classes = 1
# The one place for limits of test images, from PFFNet's release: RoIs that are kept, proposals, and
# anchors per level. They must exceed the number of objects in an image by far; DensityGuardHook
# compares them with the data, and the evaluation reports where one was reached.
max_objects = 4000
max_proposals = 2 * max_objects
max_anchors = 30000
# Compares only boxes that meet: for thousands in an image, MMDetection's 'nms' takes long on a CPU.
nms = dict(type='dense_nms', iou_threshold=0.7)

model = dict(
    data_preprocessor=dict(
        type='CellDataPreprocessor',
        # Detectron's group-norm weights expect BGR in 0..255, centred, not scaled.
        mean=[103.530, 116.280, 123.675],
        std=[1.0, 1.0, 1.0],
        bgr_to_rgb=False,
        pad_seg=True,
    ),
    backbone=dict(
        depth=101,
        norm_cfg=norm_cfg,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://detectron/resnet101_gn'),
    ),
    neck=dict(norm_cfg=norm_cfg),
    # Objects of 10 to 500 px: anchors of 32 to 512 px on strides of 4 to 64 (PFFNet's release).
    roi_head=dict(
        type='RoiMasksRoIHead',
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead',
            conv_out_channels=256,
            norm_cfg=norm_cfg,
            num_classes=num_classes,
        ),
        mask_head=dict(norm_cfg=norm_cfg, num_classes=num_classes),
    ),
    train_cfg=dict(
        # Boxes that lie half inside an ignored object (iscrowd) are no background.
        rpn=dict(assigner=dict(type='IgnoringMaxIoUAssigner', ignore_iof_thr=0.5)),
        rcnn=dict(assigner=dict(type='IgnoringMaxIoUAssigner', ignore_iof_thr=0.5)),
        rpn_proposal=dict(nms=nms),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=max_anchors, max_per_img=max_proposals, nms=nms),
        rcnn=dict(
            score_thr=0.05,
            nms=dict(type='dense_nms', iou_threshold=0.3),
            max_per_img=max_objects,
        ),
    ),
)
