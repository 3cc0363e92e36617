import math

import pytest
import torch
import torch.nn.functional as F

from mmcell.functional.ragged_rois import (
    PaddedRois,
    crop_pixels,
    crop_samples,
    enlarged_levels,
    pixel_levels,
    unpad_rois,
)
from mmcell.models.keypoint_heads.roi_segmentation import RoiSegmentationBranch, roi_cross_entropy
from mmcell.models.necks.u_shaped_decoder import SkipCombination

CHANNELS = (4, 5, 6)


def case(num_boxes=60):
    torch.manual_seed(0)
    features = [torch.randn(2, c, 96 >> k, 128 >> k) for k, c in enumerate(CHANNELS)]
    centers = torch.rand(num_boxes, 2) * torch.tensor([128, 96])
    half = torch.rand(num_boxes, 2) * 20
    boxes = torch.cat([centers - half, centers + half], dim=1)
    return features, boxes, torch.randint(0, 2, (num_boxes,))


def branch(**options):
    torch.manual_seed(1)
    return RoiSegmentationBranch(CHANNELS, head_channels=7, **options)


def dense_twin(roi, norm):
    """The same network for one box, out of the layers of the whole image."""
    combinations = []
    for (channels, below), ours in zip(
        zip(CHANNELS[:-1], CHANNELS[1:], strict=True), roi.combinations, strict=True
    ):
        twin = SkipCombination(below, channels, dict(type='IN', affine=True) if norm else None)
        for mine, theirs in ((twin.up, ours.up), (twin.join, ours.join)):
            mine.conv.load_state_dict(theirs.conv.state_dict())
            if norm:
                mine.norm.load_state_dict(theirs.norm.state_dict())
        combinations.append(twin)

    def segment(rois):
        below = rois[-1]
        for k in reversed(range(len(rois) - 1)):
            below = combinations[k](rois[k], below)
        return roi.predict(roi.hidden(below).relu())

    return segment


@pytest.mark.parametrize('norm', [True, False])
def test_batches_equal_the_dense_network_on_one_box_at_a_time(norm):
    features, boxes, images = case()
    roi = branch(instance_norm=norm)
    if norm:
        levels, crop = enlarged_levels(boxes, 3), crop_samples
        for module in roi.modules():
            if isinstance(module, torch.nn.InstanceNorm2d):
                torch.nn.init.normal_(module.weight)
                torch.nn.init.normal_(module.bias)
    else:
        levels, crop = pixel_levels(boxes, [f.shape[2:] for f in features]), crop_pixels
    parts = [(p.members, p.logits) for p in roi(features, levels, images, crop)]
    assert len(parts) < len(boxes)
    found = unpad_rois(parts, len(boxes))
    segment = dense_twin(roi, norm)
    for k, count in enumerate(levels.counts.tolist()):
        one = slice(k, k + 1)
        rois = [
            crop(features[i], levels.boxes[one, i], levels.sizes[one, i], images[one]).values
            for i in range(count)
        ]
        if count:
            torch.testing.assert_close(found[k][None], segment(rois), rtol=0, atol=1e-4)
    assert set(levels.counts.tolist()) >= {1, 2, 3}


def test_decoded_features_are_finest_first_and_in_the_boxes():
    features, boxes, images = case()
    levels = enlarged_levels(boxes, 3)
    for part in branch()(features, levels, images):
        count = int(levels.counts[part.members[0]])
        assert [rois.values.shape[1] for rois in part.decoded] == list(CHANNELS[:count])
        for level, rois in enumerate(part.decoded):
            assert rois.sizes.equal(levels.sizes[part.members, level])
            assert rois.values.masked_select(~rois.inside()).count_nonzero() == 0


def test_no_boxes_give_no_parts():
    features, _, _ = case()
    none = torch.zeros(0, dtype=torch.long)
    assert list(branch()(features, enlarged_levels(torch.zeros(0, 4), 3), none)) == []


def test_branch_without_affine_norm_learns_convolutions_only():
    def count(**options):
        return sum(p.numel() for p in branch(**options).parameters())

    norms = 2 * sum(CHANNELS[:2])  # two norms at each of two levels
    assert count(instance_norm=True) - count(instance_norm=True, affine=False) == 2 * norms


def test_under_autocast_logits_are_float32_and_close():
    features, boxes, images = case()
    roi, levels = branch(instance_norm=True), enlarged_levels(boxes, 3)
    exact = list(roi(features, levels, images))
    with torch.autocast('cpu', torch.bfloat16):
        rounded = list(roi(features, levels, images))
    for a, b in zip(exact, rounded, strict=True):
        assert b.logits.values.dtype == torch.float32
        difference = (a.logits.values - b.logits.values).abs()
        assert difference.max() < 0.1 * a.logits.values.abs().max()


def test_cross_entropy_is_a_mean_over_the_pixels_of_each_box():
    logits = torch.zeros(2, 1, 2, 3)
    logits[0, 0, 0, 0] = math.log(3)  # probability 3/4
    targets = torch.zeros(2, 1, 2, 3)
    targets[0, 0, 0, 0] = 1
    targets[1, 0, 0, 0] = 0.5
    logits[1, 0, 1:] = 100  # padding
    sizes = torch.tensor([[2, 3], [1, 2]])
    found = roi_cross_entropy(PaddedRois(logits, sizes), PaddedRois(targets, sizes))
    expected = [(5 * math.log(2) + math.log(4 / 3)) / 6, math.log(2)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_gradients_reach_every_parameter_and_level():
    features, boxes, images = case()
    features = [f.requires_grad_() for f in features]
    roi = branch(instance_norm=True)
    losses = [
        roi_cross_entropy(p.logits, PaddedRois(torch.rand_like(p.logits.values), p.logits.sizes))
        for p in roi(features, enlarged_levels(boxes, 3), images)
    ]
    torch.cat(losses).mean().backward()
    for tensor in (*features, *roi.parameters()):
        assert tensor.grad.isfinite().all() and tensor.grad.abs().sum() > 0


def test_bilinear_resize_in_bfloat16_stays_in_place():
    """Positions beyond 64 lose their fraction in bfloat16; the values must not."""
    from mmcell.functional.ragged_rois import resize_rois

    wave = (torch.arange(250.0) % 8 - 4).abs().expand(1, 1, 2, 250)  # exact in bfloat16
    rois = PaddedRois(wave.bfloat16(), torch.tensor([[2, 250]]))
    found = resize_rois(rois, torch.tensor([[4, 575]])).values.float()
    expected = F.interpolate(wave, (4, 575), mode='bilinear')
    assert (found - expected).abs().max() <= 0.1
