# A small keypoint graph that trains from scratch on two CPU cores: a narrow ResNet-18, 3 x 3 heads.
_base_ = './keypoint_graph_r50.py'

channels = [16, 32, 32, 64, 128]

model = dict(
    backbone=dict(image_channels=16, depth=18, base_channels=32, init_cfg=None),
    neck=dict(in_channels=channels, norm_cfg=dict(type='BN')),
    bbox_head=dict(
        in_channels=channels[:-1],
        feat_channels=16,
        kernel_size=3,
        # Discs are a thirtieth of the pixels: heatmaps would learn last.
        heatmap_weight=5.0,
        mid_weight=0.25,
    ),
    mask_head=dict(in_channels=channels, head_channels=16),
)
