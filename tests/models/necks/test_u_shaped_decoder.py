import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

from mmcell.models.necks.u_shaped_decoder import SkipCombination


def levels(channels, side=32):
    torch.manual_seed(0)
    return [torch.randn(2, c, side >> k, side >> k) for k, c in enumerate(channels)]


def test_combination_by_hand():
    """One channel: upsampled 1 becomes 9 inside by a 3 x 3 of ones; 2 * skip + 3 * 9 - 1."""
    combine = SkipCombination(1, 1)
    combine.up.conv.weight.data.fill_(1)
    combine.up.conv.bias.data.zero_()
    combine.join.conv.weight.data = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)
    combine.join.conv.bias.data.fill_(-1)
    skip = torch.arange(16.0).view(1, 1, 4, 4)
    found = combine(skip, torch.ones(1, 1, 2, 2))[0, 0]
    covered = torch.tensor([[4.0, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]])
    assert found.equal(2 * skip[0, 0] + 3 * covered - 1)


def test_upsampling_is_bilinear_with_half_pixel_centers():
    combine = SkipCombination(1, 1)
    combine.up.conv.weight.data.zero_()[0, 0, 1, 1] = 1
    combine.up.conv.bias.data.zero_()
    combine.join.conv.weight.data = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    combine.join.conv.bias.data.zero_()
    found = combine(torch.zeros(1, 1, 1, 4), torch.tensor([[[[0.0, 4.0]]]]))
    assert found.flatten().tolist() == [0, 1, 3, 4]


def test_decoded_levels_see_everything_coarser_and_raw_ones_are_untouched():
    decoder = MODELS.build(dict(type='UShapedDecoder', in_channels=[2, 3, 4, 5], num_raw_levels=1))
    features = levels([2, 3, 4, 5])
    found = decoder(features)
    assert len(found) == 3
    assert found[0] is features[0]
    third = decoder.combinations[1](features[2], features[3])
    assert found[2].equal(third)
    assert found[1].equal(decoder.combinations[0](features[1], third))


def test_sizes_that_do_not_halve_evenly():
    decoder = MODELS.build(dict(type='UShapedDecoder', in_channels=[2, 3, 4]))
    features = [torch.rand(1, 2, 25, 19), torch.rand(1, 3, 13, 10), torch.rand(1, 4, 7, 5)]
    assert [f.shape for f in decoder(features)] == [f.shape for f in features[:2]]


def test_norm_is_behind_every_convolution():
    decoder = MODELS.build(
        dict(type='UShapedDecoder', in_channels=[2, 3, 4], norm_cfg=dict(type='BN'))
    )
    kinds = [type(m).__name__ for m in decoder.modules() if not list(m.children())]
    assert kinds.count('Conv2d') == kinds.count('BatchNorm2d') == 4
    combine, (skip, below) = decoder.combinations[1], levels([3, 4])
    found = combine(skip, below)
    up = F.interpolate(below, scale_factor=2, mode='bilinear')
    up = F.batch_norm(combine.up.conv(up), None, None, training=True).relu()
    joined = combine.join.conv(torch.cat([skip, up], dim=1))
    expected = F.batch_norm(joined, None, None, training=True).relu()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('raw', [-1, 3])
def test_impossible_number_of_raw_levels_is_refused(raw):
    with pytest.raises(ValueError, match=f'num_raw_levels must be 0 to 2.*got {raw}'):
        MODELS.build(dict(type='UShapedDecoder', in_channels=[2, 3, 4], num_raw_levels=raw))
