import math

import pytest
import torch
from mmdet.registry import MODELS

from mmcell.functional.ragged_rois import PaddedRois
from mmcell.models.keypoint_heads.object_guided_mask_head import SegmentedObjects
from mmcell.models.keypoint_heads.roi_segmentation import RoiPart


def build(**options):
    torch.manual_seed(0)
    head = dict(type='PointRefineHead', in_channels=(2, 3), feat_channels=4)
    return MODELS.build({**head, **options})


def objects(sizes, num_levels=2, seed=0):
    """Boxes of ``sizes``, with random features, logits and targets."""
    generator = torch.Generator().manual_seed(seed)

    def random(channels, level):
        shape = torch.tensor(sizes) // 2**level
        rows, columns = shape.amax(0).tolist()
        rois = PaddedRois(torch.zeros(len(sizes), channels, rows, columns), shape)
        values = torch.rand(rois.values.shape, generator=generator) * rois.inside()
        return PaddedRois(values.requires_grad_(), shape)

    decoded = tuple(random(channels, level) for level, channels in enumerate((2, 3)))
    part = RoiPart(torch.arange(len(sizes)), random(1, 0), decoded[:num_levels])
    return SegmentedObjects(part, random(1, 0))


def test_points_read_both_levels_and_pass_two_layers():
    head, (part, _) = build(), objects([[8, 16]])
    # The middle of a box lies between its four central samples, on both levels.
    found = head(part.decoded, torch.tensor([[[0.5, 0.5]]]))
    fine = part.decoded[0].values[0, :, 3:5, 7:9].mean((1, 2))
    coarse = part.decoded[1].values[0, :, 1:3, 3:5].mean((1, 2))
    first, _, second = head.layers
    hidden = (first.weight[:, :, 0] @ torch.cat([fine, coarse]) + first.bias).relu()
    torch.testing.assert_close(found[0], second.weight[:, :, 0] @ hidden + second.bias)


def test_loss_by_hand():
    """A head that says 0 everywhere is wrong by log 2, whatever the labels, boxes and points."""
    head = build(loss_weight=3.0)
    torch.nn.init.zeros_(head.layers[2].weight)
    torch.nn.init.zeros_(head.layers[2].bias)
    loss = head.loss([objects([[8, 16], [6, 9]]), objects([[20, 12]])])
    torch.testing.assert_close(loss['loss_point_refine'], torch.tensor(3 * math.log(2)))


def test_loss_is_a_mean_over_the_points_of_a_box_and_then_over_boxes():
    head = build()
    both, alone = objects([[8, 16]]), objects([[32, 32]], seed=1)
    torch.nn.init.zeros_(head.layers[2].weight)
    torch.nn.init.constant_(head.layers[2].bias, 2.0)
    for segmented, label in ((both, 1.0), (alone, 0.0)):
        segmented.targets.values.data.fill_(label)
    found = head.loss([both, alone])['loss_point_refine']
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 2
    torch.testing.assert_close(found, torch.tensor(expected))


def test_gradients_reach_features_and_layers_but_not_through_the_choice_of_points():
    head, segmented = build(), objects([[8, 16], [6, 9]])
    head.loss([segmented])['loss_point_refine'].backward()
    for tensor in (*head.parameters(), *(rois.values for rois in segmented.part.decoded)):
        assert tensor.grad.isfinite().all() and tensor.grad.abs().sum() > 0
    assert segmented.part.logits.values.grad is None


@pytest.mark.parametrize(
    'batch',
    [[], [objects([[2, 3]])], [objects([[8, 8]], num_levels=1)]],
    ids=['nothing', 'no point', 'one level'],
)
def test_nothing_to_learn_from_gives_zero_with_gradients(batch):
    head = build()
    loss = head.loss(batch)['loss_point_refine']
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


@pytest.mark.parametrize(
    ('oversample', 'keep', 'points'),
    [(1, 1, 16), (1, 0.5, 8), (3, 3, 48), (3, 2, 32), (3, 1, 16), (3, 0.75, 12), (10, 0.75, 12)],
)
def test_strategies_of_table_ii_use_keep_times_n_points(oversample, keep, points, monkeypatch):
    head, (part, targets) = build(oversample=oversample, keep=keep), objects([[8, 16]])
    seen = []
    monkeypatch.setattr(head, 'forward', lambda finest, p: seen.append(p) or p[..., 0] * 0)
    head.loss([SegmentedObjects(part, targets)])
    assert seen[0].shape == (1, points, 2)  # N = 8 * 16 / 8 = 16


def test_more_points_than_candidates_are_refused():
    with pytest.raises(ValueError, match='keep must be in .0, oversample = 1., got 2'):
        build(oversample=1, keep=2)
