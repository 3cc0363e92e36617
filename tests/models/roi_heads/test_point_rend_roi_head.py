import numpy as np
import pytest
import torch
from mmdet.models.roi_heads import PointRendRoIHead
from mmdet.models.roi_heads.mask_heads import MaskPointHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmcell.models.roi_heads.point_rend_roi_head import LabelMapPointHead
from mmcell.structures import LabelMapMasks, RoiMasks


@pytest.fixture
def pair(model_config, shrink):
    """PointRend of three classes with mmcell's and with MMDetection's heads, same weights."""
    models = []
    for roi_head, point_head in [
        ('RoiMasksPointRendRoIHead', 'LabelMapPointHead'),
        ('PointRendRoIHead', 'MaskPointHead'),
    ]:
        cfg = shrink(model_config('point_rend_r101_gn'), num_classes=3)
        cfg.roi_head.type, cfg.roi_head.point_head.type = roi_head, point_head
        torch.manual_seed(0)
        models.append(MODELS.build(cfg))
    ours, theirs = models
    assert type(theirs.roi_head) is PointRendRoIHead
    assert type(theirs.roi_head.point_head) is MaskPointHead
    ours.load_state_dict(theirs.state_dict())
    return models


def test_masks_are_those_that_mmdetection_pastes(pair, predictions_of):
    ours, theirs = (predictions_of(model, counts=(3, 1), scale_factor=2.0) for model in pair)
    for mine, reference in zip(ours, theirs, strict=True):
        mine, reference = mine.pred_instances, reference.pred_instances
        assert len(mine) > 10
        assert isinstance(mine.masks, RoiMasks)
        assert mine.masks.probs.shape[1:] == (112, 112)  # 7 pixels, doubled four times
        torch.testing.assert_close(mine.bboxes, reference.bboxes)
        differing = mine.masks.to_bitmaps() != reference.masks
        assert differing.sum() <= 0.001 * reference.masks.sum()


@pytest.mark.filterwarnings('ignore:.*pos_bboxes is deprecated')  # in MMDetection's own head
def test_losses_are_mmdetections(pair, losses_of):
    ours, theirs = (losses_of(model, num_classes=3) for model in pair)
    torch.testing.assert_close(ours, theirs)


def test_point_targets_are_bilinear_values_of_the_object():
    label_map = np.zeros((8, 10), dtype=np.int32)
    label_map[2:6, 3:7] = 1
    label_map[2:6, 7:9] = 2  # touches the first
    instances = InstanceData(masks=LabelMapMasks([label_map], [1, 2]))
    rois = torch.tensor([[0.0, 2, 1, 9, 7], [0, 0, 0, 10, 8]])
    points = torch.rand(2, 50, 2, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    arguments = (rois, points, torch.tensor([1, 0]), instances, ConfigDict(num_points=50))
    ours = LabelMapPointHead(num_classes=1)._get_targets_single(*arguments)
    theirs = MaskPointHead(num_classes=1)._get_targets_single(*arguments)
    torch.testing.assert_close(ours, theirs)
    assert 0 < ours.mean() < 1


def test_object_at_the_image_border_does_not_fade_out():
    instances = InstanceData(masks=LabelMapMasks([np.ones((4, 4), dtype=np.int32)], [1]))
    corner = torch.zeros(1, 1, 2)
    targets = LabelMapPointHead(num_classes=1)._get_targets_single(
        torch.tensor([[0.0, 0, 0, 4, 4]]), corner, torch.tensor([0]), instances, ConfigDict()
    )
    assert targets.tolist() == [[1.0]]


@pytest.mark.parametrize('counts', [(0,), (0, 2)])
def test_images_without_objects_train(tiny_model, losses_of, counts):
    model = tiny_model('point_rend_r18_tiny')
    losses = losses_of(model, counts=counts)
    total, log = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert (log['loss_point'] == 0) == (sum(counts) == 0)
    # Every process of a distributed training waits for the gradients of all parameters.
    assert all(p.grad is not None for p in model.roi_head.point_head.parameters())


def test_image_without_detections_has_no_masks(tiny_model, predictions_of):
    model = tiny_model('point_rend_r18_tiny', changes={'test_cfg.rcnn.score_thr': 1.1})
    (sample,) = predictions_of(model, counts=(2,))
    assert isinstance(sample.pred_instances.masks, RoiMasks)
    assert len(sample.pred_instances.masks) == 0
