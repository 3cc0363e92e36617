import pytest
import torch
import torch.nn.functional as F

from mmcell.functional.ragged_rois import PaddedRois
from mmcell.functional.uncertain_points import most_uncertain_points, sample_points

SIZES = [[9, 7], [4, 11], [8, 8]]


def random_probs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    alone = [torch.rand(1, h, w, generator=generator) for h, w in SIZES]
    padded = [F.pad(box, (0, 11 - box.shape[2], 0, 9 - box.shape[1])) for box in alone]
    return PaddedRois(torch.stack(padded), torch.tensor(SIZES)), alone


def test_the_corners_of_the_square_are_the_centers_of_the_corner_pixels():
    rois, alone = random_probs()
    corners = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]]).expand(3, 4, 2)
    for found, box in zip(sample_points(rois, corners), alone, strict=True):
        torch.testing.assert_close(found[0], box[0, [0, 0, -1, -1], [0, -1, 0, -1]])


def test_points_of_a_batch_equal_points_of_every_box():
    rois, alone = random_probs()
    candidates = torch.rand(3, 40, 2, generator=torch.Generator().manual_seed(1))
    found = most_uncertain_points(rois, candidates)
    for k, box in enumerate(alone):
        number = box[0].numel() // 8
        mine = candidates[k, : 3 * number]
        uncertainty = F.grid_sample(
            -(2 * box[None] - 1).abs(), 2 * mine[None, None] - 1, align_corners=True
        )[0, 0, 0]
        expected = mine[uncertainty.topk(int(0.75 * number)).indices]
        torch.testing.assert_close(found.points[k][found.valid[k]], expected)


def test_too_few_candidates_are_refused():
    rois, _ = random_probs()
    with pytest.raises(ValueError, match='needs 24 candidates, got 23'):
        most_uncertain_points(rois, torch.rand(3, 23, 2))


def test_no_boxes_and_boxes_too_small_for_a_point():
    empty = PaddedRois(torch.zeros(0, 1, 0, 0), torch.zeros(0, 2).long())
    assert most_uncertain_points(empty, torch.zeros(0, 5, 2)).points.shape == (0, 0, 2)
    tiny = PaddedRois(torch.rand(1, 1, 2, 2), torch.tensor([[2, 2]]))
    assert most_uncertain_points(tiny, torch.rand(1, 9, 2)).valid.sum() == 0


def test_gradients_of_sampled_values_are_right():
    rois, _ = random_probs()
    points = torch.rand(3, 6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = rois.values.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: sample_points(PaddedRois(v, rois.sizes), points), values, fast_mode=True
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    rois, _ = random_probs()
    candidates = torch.rand(3, 40, 2, generator=torch.Generator().manual_seed(1))
    on_gpu = most_uncertain_points(PaddedRois(*(t.cuda() for t in rois)), candidates.cuda())
    for a, b in zip(on_gpu, most_uncertain_points(rois, candidates), strict=True):
        torch.testing.assert_close(a.cpu(), b)
