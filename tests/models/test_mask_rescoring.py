import pytest
import torch
from mmengine.structures import InstanceData

from mmcell.models.mask_rescoring import rescore_by_masks
from mmcell.structures import RoiMasks


def found(**scores):
    """Three detections whose masks have expected IoUs of 0.6, 1 and 0.8."""
    probs = [[[0.6, 0.6]], [[1.0, 1.0]], [[0.8, 0.8]]]
    boxes = torch.tensor([[0.0, 0, 4, 2], [10, 0, 14, 2], [20, 0, 24, 2]])
    return InstanceData(
        bboxes=boxes,
        masks=RoiMasks(boxes, torch.tensor(probs), (20, 30)),
        **{name: torch.tensor(values) for name, values in scores.items()},
    )


def test_scores_and_mask_scores_follow_the_masks_each_on_its_own():
    result = rescore_by_masks(found(scores=[0.9, 0.5, 0.7], mask_scores=[0.4, 0.2, 0.9]), 0.5)
    order = [2, 0, 1]  # of 0.54, 0.5 and 0.56
    quality = torch.tensor([0.6, 1.0, 0.8])
    torch.testing.assert_close(
        result.scores, (torch.tensor([0.9, 0.5, 0.7]) * quality).sqrt()[order]
    )
    torch.testing.assert_close(
        result.mask_scores, (torch.tensor([0.4, 0.2, 0.9]) * quality).sqrt()[order]
    )
    assert result.bboxes[:, 0].tolist() == result.masks.boxes[:, 0].tolist() == [20, 0, 10]


def test_nothing_changes_without_weight_and_nothing_is_made_up():
    detections = found(scores=[0.5, 0.9, 0.7])
    assert rescore_by_masks(detections, 0) is detections
    assert 'mask_scores' not in rescore_by_masks(detections, 1.0)


def test_no_detections_are_legal():
    empty = found(scores=[0.5, 0.9, 0.7])[:0]
    assert len(rescore_by_masks(empty, 0.5)) == 0


@pytest.mark.parametrize('weight', [-0.1, 1.1])
def test_the_weight_is_a_fraction(weight):
    with pytest.raises(ValueError, match=rf'mask_score_weight must be in \[0, 1\], got {weight}'):
        rescore_by_masks(found(scores=[0.5, 0.9, 0.7]), weight)
