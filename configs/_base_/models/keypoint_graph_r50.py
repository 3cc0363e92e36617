# Keypoint graph instance segmentation (MICCAI 2019): ResNet-50 to stride 16, four scales.
channels = [64, 64, 256, 512, 1024]  # c0 (two convolutions on the image), conv1 to conv4
max_objects = 1000  # per test image
max_keypoints = 10 * max_objects  # twice five of each, per scale

model = dict(
    type='KeypointGraphDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='FullResolutionResNet',
        image_channels=64,
        depth=50,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    # In the authors' program neither decoder nor branch is normalised; the branch is, here
    # (docs/keypoints.md).
    neck=dict(type='UShapedDecoder', in_channels=channels),
    bbox_head=dict(type='KeypointGraphHead', in_channels=channels[:-1]),
    mask_head=dict(type='KeypointGraphMaskHead', in_channels=channels, instance_norm=True),
    segment_from='branch',
    test_cfg=dict(
        peak_threshold=0.004,  # of votes; a perfect disc gives ten times as much
        nms_iou=0.5,
        max_keypoints=max_keypoints,
        max_per_img=max_objects,
    ),
)
