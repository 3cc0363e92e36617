import pytest
import torch

from mmcell.functional import mask_nms as module
from mmcell.functional.mask_nms import mask_nms, overlapping_mask_pairs


def random_masks(count, size, seed=0, largest=25):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, size, (count, 2), generator=generator)
    sides = torch.randint(1, largest, (count, 2), generator=generator)
    boxes = torch.cat([corner, corner + sides], dim=1)
    pixels = torch.rand(int(sides.prod(1).sum()), generator=generator) < 0.7
    return pixels, boxes, torch.rand(count, generator=generator)


def full_size(values, boxes):
    """(N, H, W) float masks."""
    masks = torch.zeros(len(boxes), *boxes[:, [3, 2]].amax(0).tolist())
    for mask, (x1, y1, x2, y2), pixels in zip(
        masks,
        boxes.tolist(),
        values.float().split((boxes[:, 2:] - boxes[:, :2]).prod(1).tolist()),
        strict=True,
    ):
        mask[y1:y2, x1:x2] = pixels.view(y2 - y1, x2 - x1)
    return masks


def nms_by_loop(masks, scores, threshold):
    kept = []
    for k in torch.argsort(scores, descending=True, stable=True).tolist():
        for better in kept:
            shared = float((masks[k] * masks[better]).sum())
            union = float((masks[k] + masks[better]).sum()) - shared
            if union > 0 and shared / union > threshold:
                break
        else:
            kept.append(k)
    return kept


@pytest.mark.parametrize('threshold', [0.0, 0.05, 0.2, 0.5])
@pytest.mark.parametrize('seed', range(4))
def test_equals_the_loop_over_full_size_masks(seed, threshold):
    pixels, boxes, scores = random_masks(80, 60, seed)
    expected = nms_by_loop(full_size(pixels, boxes), scores, threshold)
    assert mask_nms(pixels, boxes, scores, threshold).tolist() == expected


def test_fractions_share_their_product():
    values = torch.tensor([0.5, 1.0, 0.5, 0.25])
    boxes = torch.tensor([[0, 0, 2, 1], [1, 0, 3, 1]])
    pairs = overlapping_mask_pairs(values, boxes)
    # The shared pixel: 1 * 0.5; areas 1.5 and 0.75.
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [1])
    torch.testing.assert_close(pairs.iou, torch.tensor([0.5 / 1.75]))


def test_only_boxes_that_share_pixels_are_compared():
    boxes = torch.tensor([[0, 0, 4, 4], [4, 0, 8, 4], [3, 3, 6, 6], [0, 4, 4, 8], [9, 9, 9, 12]])
    pixels = torch.ones(16 + 16 + 9 + 16, dtype=torch.bool)
    pairs = overlapping_mask_pairs(pixels, boxes)
    found = {frozenset(p) for p in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}
    assert found == {frozenset(p) for p in ((0, 2), (1, 2), (2, 3))}


def test_a_mask_dropped_by_a_better_one_drops_no_other():
    # 0 hides 1, 1 would hide 2, 0 and 2 do not touch.
    boxes = torch.tensor([[0, 0, 4, 1], [2, 0, 6, 1], [4, 0, 8, 1]])
    kept = mask_nms(torch.ones(12), boxes, torch.tensor([0.9, 0.8, 0.7]), 0.3)
    assert kept.tolist() == [0, 2]


def test_of_equal_scores_the_earlier_mask_stays_and_the_threshold_itself_is_no_reason():
    boxes = torch.tensor([[0, 0, 2, 2]] * 2)
    pixels = torch.tensor([1, 1, 0, 0, 1, 1, 1, 1])  # IoU 1/2
    assert mask_nms(pixels, boxes, torch.tensor([0.5, 0.5]), 0.4).tolist() == [0]
    assert mask_nms(pixels, boxes, torch.tensor([0.5, 0.5]), 0.5).tolist() == [0, 1]


def test_no_masks_and_masks_without_pixels():
    empty = mask_nms(torch.zeros(0), torch.zeros(0, 4).long(), torch.zeros(0), 0.5)
    assert empty.tolist() == []
    boxes = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [3, 3, 3, 5]])
    assert mask_nms(torch.zeros(2), boxes, torch.tensor([0.1, 0.3, 0.2]), 0.5).tolist() == [1, 2, 0]


def test_batches_of_pairs_change_nothing(monkeypatch):
    pixels, boxes, scores = random_masks(80, 60)
    whole = overlapping_mask_pairs(pixels, boxes)
    monkeypatch.setattr(module, 'BATCH_PIXELS', 100)
    for a, b in zip(overlapping_mask_pairs(pixels, boxes), whole, strict=True):
        assert a.equal(b)


def test_2000_masks_in_one_image_equal_the_loop_over_sets_of_pixels():
    pixels, boxes, scores = random_masks(2000, 600, largest=20)
    lengths = (boxes[:, 2:] - boxes[:, :2]).prod(1).tolist()
    sets = []
    for (x1, y1, x2, y2), mask in zip(boxes.tolist(), pixels.split(lengths), strict=True):
        rows, columns = torch.nonzero(mask.view(y2 - y1, x2 - x1)).unbind(1)
        sets.append(set(((rows + y1) * 1000 + columns + x1).tolist()))
    expected = []
    for k in scores.argsort(descending=True).tolist():
        ious = (
            len(sets[k] & sets[n]) / len(sets[k] | sets[n])
            for n in expected
            if not sets[k].isdisjoint(sets[n])
        )
        if all(iou <= 0.1 for iou in ious):
            expected.append(k)
    assert len(expected) < 1900
    assert mask_nms(pixels, boxes, scores, 0.1).tolist() == expected


def test_sizes_that_do_not_fit_are_refused():
    pixels, boxes, scores = random_masks(3, 20)
    with pytest.raises(ValueError, match='3 boxes but 2 scores'):
        mask_nms(pixels, boxes, scores[:2], 0.5)
    with pytest.raises(ValueError, match='pixels, got'):
        mask_nms(pixels[1:], boxes, scores, 0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    case = random_masks(80, 60)
    on_gpu = mask_nms(*(tensor.cuda() for tensor in case), 0.2)
    assert on_gpu.tolist() == mask_nms(*case, 0.2).tolist()
