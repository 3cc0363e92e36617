import pytest
import torch
from mmdet.models.roi_heads import MaskScoringRoIHead
from mmdet.registry import MODELS

from mmcell.structures import RoiMasks


@pytest.fixture
def pair(model_config, shrink):
    """Mask Scoring R-CNN of three classes with either RoI head, same weights."""
    models = []
    for roi_head in ('RoiMasksMaskScoringRoIHead', 'MaskScoringRoIHead'):
        cfg = shrink(model_config('ms_rcnn_r101_gn'), num_classes=3)
        cfg.roi_head.type = roi_head
        torch.manual_seed(0)
        models.append(MODELS.build(cfg))
    ours, theirs = models
    assert type(theirs.roi_head) is MaskScoringRoIHead
    theirs.roi_head.mask_iou_head.fc_mask_iou.bias.data.fill_(0.5)  # inside 0..1, as if trained
    ours.load_state_dict(theirs.state_dict())
    return models


def test_masks_and_scores_are_mmdetections(pair, predictions_of):
    ours, theirs = (predictions_of(model, counts=(3, 1), scale_factor=2.0) for model in pair)
    for mine, reference in zip(ours, theirs, strict=True):
        mine, reference = mine.pred_instances, reference.pred_instances
        assert len(mine) > 10
        assert isinstance(mine.masks, RoiMasks)
        # MMDetection's head writes the product over the class scores.
        torch.testing.assert_close(mine.mask_scores, reference.scores)
        assert (mine.mask_scores < mine.scores).all()
        differing = mine.masks.to_bitmaps() != reference.masks
        assert differing.sum() <= 0.001 * reference.masks.sum()


def test_losses_are_mmdetections(pair, losses_of):
    ours, theirs = (losses_of(model, num_classes=3) for model in pair)
    assert ours['loss_mask_iou'] > 0
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(('bias', 'quality'), [(-3.0, 0.0), (3.0, 1.0)])
def test_predicted_iou_is_kept_in_its_range(tiny_model, predictions_of, bias, quality):
    model = tiny_model('ms_rcnn_r18_tiny')
    model.roi_head.mask_iou_head.fc_mask_iou.bias.data.fill_(bias)
    found = predictions_of(model, counts=(2,))[0].pred_instances
    torch.testing.assert_close(found.mask_scores, quality * found.scores)


@pytest.mark.parametrize('name', ['ms_rcnn_r101_gn', 'ms_rcnn_r18_tiny'])
def test_target_counts_pixels_of_probability_one_half(tiny_model, losses_of, monkeypatch, name):
    """Logits of +0.1 inside the object are a perfect mask, and -0.1 everywhere none at all."""
    model = tiny_model(name)
    head = model.roi_head
    seen = []
    original = head.mask_iou_head.get_targets

    def get_targets(mask_preds, mask_targets, **kwargs):
        for logits in (0.2 * mask_targets - 0.1, torch.full_like(mask_targets, -0.1)):
            seen.append(original(mask_preds=logits, mask_targets=mask_targets, **kwargs))
        return seen[0]

    monkeypatch.setattr(head.mask_iou_head, 'get_targets', get_targets)
    losses_of(model, counts=(3,))
    perfect, none = seen
    assert perfect.max() == pytest.approx(1, abs=1e-3)
    assert (none == 0).all()


@pytest.mark.parametrize('counts', [(0,), (0, 2)])
def test_images_without_objects_train(tiny_model, losses_of, counts):
    model = tiny_model('ms_rcnn_r18_tiny')
    total, _ = model.parse_losses(losses_of(model, counts=counts))
    total.backward()
    assert total.isfinite()
    assert all(p.grad is not None for p in model.roi_head.mask_iou_head.parameters())
