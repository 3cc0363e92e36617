import pytest
from mmengine.config import ConfigDict
from torch import nn

from mmcell.inference.limits import raised_limits


def test_limits_are_raised_once_each_and_only_inside_the_block():
    module, head = nn.Module(), nn.Module()
    module.test_cfg = ConfigDict(rpn=dict(nms_pre=10, max_per_img=-1), rcnn=dict(max_per_img=5))
    head.test_cfg = module.test_cfg.rpn  # as a detector hands it on
    module.rpn_head = head
    with pytest.raises(KeyError), raised_limits(module, 3):
        assert head.test_cfg == dict(nms_pre=30, max_per_img=-1)
        assert module.test_cfg.rcnn == dict(max_per_img=15)
        raise KeyError
    assert module.test_cfg == dict(rpn=dict(nms_pre=10, max_per_img=-1), rcnn=dict(max_per_img=5))


def test_keypoints_are_raised_too():
    module = nn.Module()
    module.test_cfg = ConfigDict(max_keypoints=20, max_per_img=4, nms_iou=0.5)
    with raised_limits(module, 3):
        assert module.test_cfg == dict(max_keypoints=60, max_per_img=12, nms_iou=0.5)
