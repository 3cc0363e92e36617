import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmcell.models.roi_heads.mask_quality_head import MaskQualityHead, mask_quality_targets


def small_head(**kwargs):
    torch.manual_seed(0)
    sizes = dict(in_channels=3, conv_channels=4, fc_channels=5, roi_feat_size=4)
    return MaskQualityHead(**{**sizes, **kwargs})


def quality_of(predicted, inside, box, area):
    """Target of one RoI, from nested lists."""
    return mask_quality_targets(
        torch.tensor([predicted], dtype=torch.float32),
        torch.tensor([inside], dtype=torch.float32),
        torch.tensor([box], dtype=torch.float32),
        torch.tensor([area], dtype=torch.float32),
    ).item()


FULL, EMPTY = [1, 1, 1, 1], [0, 0, 0, 0]
UPPER = [FULL, FULL, EMPTY, EMPTY]
BOX = [3, 5, 7, 9]  # 4 x 4 pixels


def test_layers_have_the_shapes_of_the_papers_table_i():
    with torch.device('meta'):  # shapes without arithmetic
        head = MaskQualityHead(norm_cfg=dict(type='GN', num_groups=32))
        shapes = []
        head.convs.register_forward_pre_hook(lambda m, x: shapes.append(tuple(x[0].shape[1:])))
        for layer in (*head.convs, *head.fcs):
            if not isinstance(layer, torch.nn.ReLU):
                layer.register_forward_hook(lambda m, i, out: shapes.append(tuple(out.shape[1:])))
        output = head(torch.empty(3, 256, 14, 14), torch.empty(3, 28, 28))
    assert shapes == [
        (260, 14, 14),
        *[(256, 14, 14)] * 3,
        (256, 7, 7),
        (256 * 7 * 7,),
        (1024,),
        (1024,),
        (1,),
    ]
    assert output.shape == (3,)


def test_parameters_counted_by_hand():
    with torch.device('meta'):
        head = MaskQualityHead()
    conv = 256 * 256 * 9 + 256
    expected = (260 * 256 * 9 + 256) + 3 * conv
    expected += (256 * 7 * 7 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 + 1)
    assert expected == 16_266_241
    assert sum(p.numel() for p in head.parameters()) == expected


def test_mask_is_folded_behind_the_features():
    head, seen = small_head(), []
    head.convs.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    features, probs = torch.randn(2, 3, 4, 4), torch.rand(2, 8, 8)
    head(features, probs)
    assert seen[0][:, :3].equal(features)
    assert seen[0][:, 3:].equal(F.pixel_unshuffle(probs[:, None], 2))


def test_target_worked_by_hand():
    # Object in rows 0 and 1, prediction in rows 1 and 2: |P| = |T| = 8, 4 in common, union 12.
    predicted = [EMPTY, FULL, FULL, EMPTY]
    assert quality_of(predicted, UPPER, BOX, 8) == pytest.approx((2 * 4 / 16 + 4 / 12) / 2)


def test_part_of_the_object_outside_the_box_counts_as_missed():
    # All 8 pixels in the box are found, 8 more of the object lie outside.
    assert quality_of(UPPER, UPPER, BOX, 16) == pytest.approx((2 * 8 / 24 + 8 / 16) / 2)


def test_grid_cells_are_weighed_with_their_pixels():
    # Same grids; the box is 8 x 12 pixels, a cell 2 x 3 = 6: 48 predicted, 24 in common, 60 true.
    predicted, box = [EMPTY, FULL, FULL, EMPTY], [0, 0, 8, 12]
    expected = (2 * 24 / (48 + 60) + 24 / (48 + 60 - 24)) / 2
    assert quality_of(predicted, UPPER, box, 60) == pytest.approx(expected)


def test_perfect_prediction_of_the_whole_object_is_1():
    assert quality_of(UPPER, UPPER, BOX, 8) == 1


def test_empty_prediction_is_0():
    assert quality_of([EMPTY] * 4, UPPER, BOX, 8) == 0


def test_prediction_beside_the_object_is_0():
    assert quality_of(UPPER[::-1], UPPER, BOX, 8) == 0


@pytest.mark.parametrize('area', [0, 5])
def test_object_that_the_grid_missed_is_0(area):
    assert quality_of([EMPTY] * 4, [EMPTY] * 4, BOX, area) == 0


def test_rounding_of_the_grid_does_not_lift_the_target_above_1():
    assert quality_of(UPPER, UPPER, BOX, 7) == 1


def test_box_without_extent_is_0():
    assert quality_of(UPPER, UPPER, [3, 5, 3, 9], 8) == 0


def test_pixels_at_one_half_are_foreground():
    half = [[0.5] * 4, [0.5] * 4, [0.49] * 4, EMPTY]
    assert quality_of(half, UPPER, BOX, 8) == 1


def test_equals_counting_the_pixels_of_the_image():
    """Boxes on whole pixels, one grid cell per pixel: eq. 3 on full-size masks."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 12, (20, 2))
    boxes = np.concatenate([corners, corners + 8], axis=1)
    objects = rng.random((20, 24, 24)) < 0.4
    probs = rng.random((20, 8, 8))
    inside, expected = [], []
    for box, whole, prob in zip(boxes, objects, probs, strict=True):
        x1, y1, x2, y2 = box
        predicted = np.zeros_like(whole)
        predicted[y1:y2, x1:x2] = prob >= 0.5
        inside.append(whole[y1:y2, x1:x2])
        common = (predicted & whole).sum()
        dice = 2 * common / (predicted.sum() + whole.sum())
        expected.append((dice + common / (predicted | whole).sum()) / 2)
    targets = mask_quality_targets(
        torch.from_numpy(probs).float(),
        torch.from_numpy(np.stack(inside)).float(),
        torch.from_numpy(boxes).float(),
        torch.from_numpy(objects.sum((1, 2))).float(),
    )
    torch.testing.assert_close(targets, torch.tensor(expected).float())


def test_targets_have_no_gradient():
    probs = torch.rand(1, 4, 4, requires_grad=True)
    targets = mask_quality_targets(
        probs, torch.ones(1, 4, 4), torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([16.0])
    )
    assert not targets.requires_grad


def test_loss_is_the_mean_squared_error_of_the_sigmoid():
    losses = small_head(loss_weight=2.0).loss(torch.zeros(2), torch.tensor([1.0, 0.25]))
    expected = 2 * (0.5**2 + 0.25**2) / 2
    torch.testing.assert_close(losses, {'loss_mask_quality': torch.tensor(expected)})


def test_empty_batch_passes_forward_and_backward():
    head = small_head(norm_cfg=dict(type='GN', num_groups=2))
    logits = head(torch.zeros(0, 3, 4, 4), torch.zeros(0, 8, 8))
    assert logits.shape == (0,)
    loss = head.loss(logits, torch.zeros(0))['loss_mask_quality']
    loss.backward()
    assert loss.item() == 0
    # Distributed training waits for the gradient of every parameter.
    assert all(p.grad.equal(torch.zeros_like(p)) for p in head.parameters())


def test_empty_batch_has_empty_targets():
    empty = torch.zeros(0, 8, 8)
    assert mask_quality_targets(empty, empty, torch.zeros(0, 4), torch.zeros(0)).shape == (0,)


def test_gradient_is_right_for_features_and_masks():
    head = small_head(roi_feat_size=3).double()  # an odd side, too
    features = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    probs = torch.rand(2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head, (features, probs))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    head, features, probs = small_head(), torch.randn(2, 3, 4, 4), torch.rand(2, 8, 8)
    expected = head(features, probs)
    result = head.cuda()(features.cuda(), probs.cuda()).cpu()
    torch.testing.assert_close(result, expected, rtol=2e-2, atol=2e-2)
