import pytest
import torch
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS

SMALL = dict(depth=18, base_channels=8, norm_cfg=dict(type='BN'))


def build(**changes):
    torch.manual_seed(0)
    config = dict(type='FullResolutionResNet', image_channels=6, **SMALL)
    model = MODELS.build({**config, **changes})
    model.eval()  # MMDetection's returns nothing
    return model


def test_levels_are_halved_from_the_size_of_the_image():
    levels = build()(torch.rand(2, 3, 64, 96))
    assert [tuple(level.shape) for level in levels] == [
        (2, 6, 64, 96),
        (2, 8, 32, 48),
        (2, 8, 16, 24),
        (2, 16, 8, 12),
        (2, 32, 4, 6),
        (2, 64, 2, 3),
    ]


def test_stages_are_those_of_mmdetections_resnet():
    ours, theirs = build(), ResNet(**SMALL)
    theirs.eval()
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert missing.missing_keys == []
    image = torch.rand(1, 3, 64, 64)
    for found, expected in zip(ours(image)[2:], theirs(image), strict=True):
        assert found.equal(expected)


def test_level_zero_is_two_convolutions_and_level_one_the_stem():
    model = build()
    image = torch.rand(1, 3, 32, 32)
    first, _, second, _ = model.image_convs
    full, stem = model(image)[:2]
    assert full.equal(second(first(image).relu()).relu())
    assert stem.equal(model.bn1(model.conv1(image)).relu())


def test_fewer_stages_give_fewer_levels():
    three = dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2))
    assert len(build(**three)(torch.rand(1, 3, 32, 32))) == 5


@pytest.mark.parametrize('level', range(5))
def test_pixel_of_a_level_lies_over_the_pixel_times_the_stride(level):
    """The receptive field of (x, y) on level l is centred at (2^l x, 2^l y)."""
    model = build()
    model.maxpool = torch.nn.AvgPool2d(3, 2, 1)  # passes gradients to all that a maximum sees
    for parameter in model.parameters():
        parameter.data.abs_()  # no cancellation
    image = torch.ones(1, 3, 320, 320, requires_grad=True)
    features = model(image)[level]
    middle = features.shape[2] // 2
    features[0, :, middle, middle].sum().backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.min() + rows.max()) == 2 * middle * 2**level
