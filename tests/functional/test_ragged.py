import pytest
import torch
import torch.nn.functional as F

from mmcell.functional.ragged import (
    pixel_boxes,
    ragged_arange,
    resample_into_boxes,
    similar_size_batches,
)


def test_ragged_arange_counts_within_each_range():
    owner, position = ragged_arange(torch.tensor([2, 0, 3]))
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert position.tolist() == [0, 1, 0, 1, 2]


def test_boxes_are_rounded_outward_and_cut_off_at_the_border():
    boxes = torch.tensor([[-1.5, 0.2, 3.1, 2.0], [8.0, 8.0, 12.0, 12.0], [4.0, 4.0, 2.0, 6.0]])
    whole, clipped = pixel_boxes(boxes, (6, 5))
    assert whole.tolist() == [[-2, 0, 4, 2], [8, 8, 12, 12], [4, 4, 2, 6]]
    assert clipped[0].tolist() == [0, 0, 4, 2]
    assert ((clipped[1:, 2:] - clipped[1:, :2]).prod(1) == 0).all()


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_boxes_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match='finite'):
        pixel_boxes(torch.tensor([[0.0, 0.0, bad, 1.0]]), (4, 4))


def test_every_box_with_pixels_is_in_exactly_one_batch_of_similar_sizes():
    sides = torch.randint(0, 60, (200, 2), generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([torch.zeros_like(sides), sides], dim=1)
    batches = similar_size_batches(boxes, ratio=1.5)
    expected = torch.nonzero(sides.amin(1) > 0).flatten()
    assert torch.cat(batches).sort().values.equal(expected)
    for batch in batches:
        longest = sides[batch].amax(1)
        assert longest.max() <= 1.5 * longest.min()


def test_batches_are_split_to_bound_their_padded_pixels():
    boxes = torch.tensor([[0, 0, 10, 10]] * 7)
    sizes = [len(batch) for batch in similar_size_batches(boxes, max_pixels=300)]
    assert sizes == [3, 3, 1]


def test_resampling_with_replicated_border_is_interpolate():
    values = torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[3, 1, 14, 5]])
    patches = resample_into_boxes(values, box, box, replicate=True)
    expected = F.interpolate(values, (4, 11), mode='bilinear')
    torch.testing.assert_close(patches.values, expected)
    assert patches.x.tolist() == [list(range(3, 14))]
    assert patches.y.tolist() == [list(range(1, 5))]
    assert patches.inside.all()


def test_resampling_with_zeros_around_is_grid_sample():
    values = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[2.3, 1.7, 9.9, 12.4]])
    pixels = torch.tensor([[1, 0, 12, 14]])  # beyond the box on all sides
    patches = resample_into_boxes(values, box, pixels, replicate=False)
    x = (torch.arange(1, 12) + 0.5 - 2.3) / (9.9 - 2.3) * 2 - 1
    y = (torch.arange(0, 14) + 0.5 - 1.7) / (12.4 - 1.7) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)[None]
    expected = F.grid_sample(values, grid, align_corners=False)
    torch.testing.assert_close(patches.values, expected, atol=1e-5, rtol=1e-5)
