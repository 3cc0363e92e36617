import pytest
import torch
import torch.nn.functional as F

from mmcell.functional.pixel_shuffle import depth_to_space, space_to_depth


@pytest.mark.parametrize('factor', [1, 2, 3])
def test_equal_pytorchs_pixel_shuffle_and_unshuffle(factor):
    deep = torch.randn(2, 4 * factor**2, 5, 7, generator=torch.Generator().manual_seed(0))
    wide = F.pixel_shuffle(deep, factor)
    assert depth_to_space(deep, factor).equal(wide)
    assert space_to_depth(wide, factor).equal(deep)


def test_each_block_of_four_pixels_becomes_four_channels():
    picture = torch.arange(8.0).view(1, 1, 2, 4)
    assert space_to_depth(picture)[0, :, 0].tolist() == [[0, 2], [1, 3], [4, 6], [5, 7]]


def test_views_and_channels_last_are_legal():
    wide = torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    for x in (wide[:, 1:], wide.to(memory_format=torch.channels_last), wide.transpose(2, 3)):
        assert space_to_depth(x).equal(F.pixel_unshuffle(x, 2))
    deep = torch.randn(2, 5, 4, 8, generator=torch.Generator().manual_seed(0))
    for x in (deep[:, 1:], deep[:, 1:].contiguous(memory_format=torch.channels_last)):
        assert depth_to_space(x).equal(F.pixel_shuffle(x, 2))


@pytest.mark.parametrize('function', [depth_to_space, space_to_depth])
def test_gradient_is_right(function):
    x = torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)


@pytest.mark.parametrize(
    ('function', 'shape', 'expected'),
    [
        (depth_to_space, (0, 8, 7, 5), (0, 2, 14, 10)),
        (space_to_depth, (0, 2, 14, 10), (0, 8, 7, 5)),
    ],
)
def test_empty_batch_passes_forward_and_backward(function, shape, expected):
    x = torch.zeros(shape, requires_grad=True)
    y = function(x)
    assert y.shape == expected
    y.sum().backward()
    assert x.grad.shape == shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    x = torch.randn(2, 8, 6, 4)
    assert depth_to_space(x.cuda()).cpu().equal(depth_to_space(x))
    assert space_to_depth(x.cuda()).cpu().equal(space_to_depth(x))
