import pytest
import torch

from mmcell.functional import suppression
from mmcell.functional.ragged import ragged_arange
from mmcell.functional.suppression import box_nms, overlapping_boxes, suppress


def random_boxes(count, side, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator) * side
    sides = size * (0.5 + torch.rand(count, 2, generator=generator))
    boxes = torch.cat([center - sides / 2, center + sides / 2], dim=1)
    return boxes, torch.randperm(count, generator=generator) / count


def iou_of_all(boxes):
    """(N, N), without regard for inverted boxes."""
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return (shared / (area[:, None] + area - shared)).nan_to_num(0)


def nms_by_loop(boxes, scores, threshold):
    iou = iou_of_all(boxes)
    kept = []
    for k in torch.argsort(scores, descending=True, stable=True).tolist():
        if all(iou[k, better] <= threshold for better in kept):
            kept.append(k)
    return kept


@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.7])
@pytest.mark.parametrize(('side', 'size'), [(1000, 120), (100, 10), (100, 60)])
def test_equals_the_loop_over_all_boxes(side, size, threshold):
    boxes, scores = random_boxes(300, side, size)
    expected = nms_by_loop(boxes, scores, threshold)
    assert 1 < len(expected) < 300
    assert box_nms(boxes, scores, threshold).tolist() == expected


@pytest.mark.parametrize('threshold', [0.0, 0.4])
def test_pairs_are_those_of_comparing_all_with_all(threshold):
    boxes, _ = random_boxes(200, 100, 15)
    iou = iou_of_all(boxes).triu(diagonal=1)
    pairs = overlapping_boxes(boxes, threshold)
    low, high = torch.minimum(pairs.first, pairs.second), torch.maximum(pairs.first, pairs.second)
    found = torch.zeros_like(iou)
    found[low, high] = pairs.iou
    assert len(low) == torch.count_nonzero(found)
    torch.testing.assert_close(found, iou.where(iou > threshold, 0))


def test_on_a_tall_image_as_few_candidates_are_looked_at_as_on_a_wide_one(monkeypatch):
    boxes, scores = random_boxes(500, 100, 10)
    wide = boxes * torch.tensor([40.0, 1, 40, 1])
    looked_at = []

    def recording(counts):
        looked_at.append(int(counts.sum()))
        return ragged_arange(counts)

    monkeypatch.setattr(suppression, 'ragged_arange', recording)
    kept = [box_nms(b, scores, 0.3) for b in (wide, wide[:, [1, 0, 3, 2]])]
    assert kept[0].equal(kept[1])
    assert looked_at[0] == looked_at[1]


def test_few_pairs_at_a_time_are_all_pairs(monkeypatch):
    boxes, scores = random_boxes(300, 100, 10)
    whole = box_nms(boxes, scores, 0.3)
    monkeypatch.setattr(suppression, 'BATCH_PAIRS', 50)
    assert box_nms(boxes, scores, 0.3).equal(whole)


def test_the_same_sides_and_an_iou_just_above_the_threshold():
    # Shifted to the right by 3/17 of their widths, boxes have an IoU of 0.7; by less, more.
    x = torch.tensor([1000.0, 1000.0 + 16 * 3 / 17 - 1e-3, 1000.0 + 32 * 3 / 17 + 1e-3])
    boxes = torch.stack([x, torch.zeros(3), x + 16, torch.full((3,), 16.0)], dim=1)
    pairs = overlapping_boxes(boxes, 0.7)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [1])


def test_whoever_is_dropped_drops_nobody():
    first, second = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3])  # a chain
    assert suppress(first, second, torch.tensor([0.9, 0.8, 0.7, 0.6])).tolist() == [0, 2]
    assert suppress(first, second, torch.tensor([0.6, 0.9, 0.7, 0.8])).tolist() == [1, 3]


def test_of_equal_scores_the_earlier_box_stays_and_the_threshold_itself_is_no_reason():
    boxes = torch.tensor([[0, 0, 2, 1], [0, 0, 2, 2]])  # IoU 1/2
    assert box_nms(boxes, torch.tensor([0.5, 0.5]), 0.4).tolist() == [0]
    assert box_nms(boxes, torch.tensor([0.5, 0.5]), 0.5).tolist() == [0, 1]


def test_no_boxes_and_boxes_without_an_area():
    assert box_nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    boxes = torch.tensor([[1.0, 1, 1, 3], [1, 1, 1, 3], [0, 0, 4, 4]])
    assert box_nms(boxes, torch.tensor([0.1, 0.3, 0.2]), 0.0).tolist() == [1, 2, 0]


def test_a_score_per_box():
    with pytest.raises(ValueError, match='2 boxes but 3 scores'):
        box_nms(torch.zeros(2, 4), torch.zeros(3), 0.5)
