# A small object-guided network that trains from scratch on two CPU cores.
_base_ = './object_guided_r50.py'

max_objects = 1000
channels = [16, 32, 32, 64, 128, 256]
norm_cfg = dict(type='GN', num_groups=8, requires_grad=True)

model = dict(
    backbone=dict(
        depth=18,
        base_channels=channels[1],
        image_channels=channels[0],
        norm_cfg=norm_cfg,
        init_cfg=None,
    ),
    neck=dict(in_channels=channels, norm_cfg=norm_cfg),
    bbox_head=dict(in_channels=channels[2], feat_channels=64),
    # Objects are drawn, so that a crowded image does not cost many times an ordinary one.
    mask_head=dict(in_channels=channels[:-1], head_channels=16, max_rois=24),
    point_head=dict(in_channels=channels[:2], feat_channels=32),
    test_cfg=dict(max_per_img=max_objects, score_thr=0.1),
)
