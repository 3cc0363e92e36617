import math

import pytest
import torch
import torch.nn.functional as F

from mmcell.functional.fusion import FUSION_MODES, fuse_instance_masks


def fuse_one_by_one(semantic_logits, masks, boxes, mode, weights=None):
    """The plain loop over boxes."""
    fused = semantic_logits.clone()
    weights = torch.ones(len(boxes)) if weights is None else weights
    height, width = fused.shape[-2:]
    for mask, (x1, y1, x2, y2), weight in zip(masks, boxes.tolist(), weights, strict=True):
        x1, y1, x2, y2 = math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)
        top, left, bottom, right = max(y1, 0), max(x1, 0), min(y2, height), min(x2, width)
        if top >= bottom or left >= right:
            continue
        values = mask if mode in ('replacement', 'summation') else mask.sigmoid()
        patch = F.interpolate(values[None], (y2 - y1, x2 - x1), mode='bilinear')[0]
        patch = patch[:, top - y1 : bottom - y1, left - x1 : right - x1]
        below = fused[:, top:bottom, left:right].clone()
        fused[:, top:bottom, left:right] = {
            'replacement': patch,
            'summation': below + weight * patch,
            'attention': below * patch**weight,
            'residual_attention': below * (1 + patch) ** weight,
        }[mode]
    return fused


def random_case(num_boxes=40, channels=2, size=(50, 70), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(channels, *size, generator=generator)
    masks = 3 * torch.randn(num_boxes, channels, 14, 14, generator=generator)
    corner = torch.rand(num_boxes, 2, generator=generator) * 70 - 8
    extent = torch.rand(num_boxes, 2, generator=generator) * 30
    return logits, masks, torch.cat([corner, corner + extent], dim=1)


def test_wide_box_changes_exactly_its_rows_and_columns():
    box = torch.tensor([[2.0, 3.0, 10.0, 6.0]])  # 8 wide, 3 tall: swapped sides cannot pass
    fused = fuse_instance_masks(torch.ones(1, 9, 12), torch.zeros(1, 1, 4, 4), box)
    expected = torch.ones(1, 9, 12)
    expected[:, 3:6, 2:10] = 1.5  # 1 + sigmoid(0)
    torch.testing.assert_close(fused, expected)


@pytest.mark.parametrize(
    ('mode', 'expected'),
    [
        ('replacement', 0.0),
        ('summation', 2.0),
        ('attention', 1.0),
        ('residual_attention', 3.0),
    ],
)
def test_each_mode_on_a_flat_mask(mode, expected):
    fused = fuse_instance_masks(
        torch.full((1, 4, 4), 2.0), torch.zeros(1, 1, 2, 2), torch.tensor([[0.0, 0, 4, 4]]), mode
    )
    torch.testing.assert_close(fused, torch.full((1, 4, 4), expected))


@pytest.mark.parametrize('mode', FUSION_MODES)
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('weighted', [False, True])
def test_equals_the_loop_over_boxes_forward_and_backward(mode, seed, weighted):
    logits, masks, boxes = random_case(seed=seed)
    generator = torch.Generator().manual_seed(9)
    gradient = torch.randn(logits.shape, generator=generator)
    weights = torch.rand(len(boxes), generator=generator) if weighted else None
    results = []
    for fuse in (fuse_instance_masks, fuse_one_by_one):
        leaves = [logits.clone().requires_grad_(), masks.clone().requires_grad_()]
        fused = fuse(*leaves, boxes, mode, weights=weights)
        fused.backward(gradient)
        results.append((fused.detach(), *(leaf.grad for leaf in leaves)))
    for ragged, loop in zip(*results, strict=True):
        scale = loop.abs().max()
        torch.testing.assert_close(ragged / scale, loop / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize('mode', FUSION_MODES)
def test_gradients_are_right(mode):
    logits, masks, boxes = random_case(num_boxes=3, size=(5, 6), seed=1)
    logits, masks = logits.double().requires_grad_(), masks[..., :3, :3].double().requires_grad_()
    boxes = torch.tensor([[0.0, 0, 3.5, 3], [2.0, 1, 5, 4.2], [-1.0, 2, 3, 9]])
    assert torch.autograd.gradcheck(
        lambda a, b: fuse_instance_masks(a, b, boxes, mode), (logits, masks)
    )


def test_input_is_not_modified():
    logits, masks, boxes = random_case()
    before = logits.clone()
    fuse_instance_masks(logits, masks, boxes)
    assert logits.equal(before)


@pytest.mark.parametrize('mode', FUSION_MODES)
def test_without_instances_the_logits_come_back_as_they_are(mode):
    logits = torch.randn(3, 5, 6)
    fused = fuse_instance_masks(logits, torch.zeros(0, 3, 28, 28), torch.zeros(0, 4), mode)
    assert fused.equal(logits)
    assert fused.data_ptr() != logits.data_ptr()


def test_boxes_outside_the_image_change_nothing():
    logits, masks, _ = random_case(num_boxes=2)
    boxes = torch.tensor([[-20.0, -20, -5, -5], [30.0, 20, 25, 30]])
    assert fuse_instance_masks(logits, masks, boxes).equal(logits)


def test_later_box_wins_a_replaced_pixel():
    masks = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    boxes = torch.tensor([[0.0, 0, 3, 3], [1.0, 1, 2, 2]])
    fused = fuse_instance_masks(torch.zeros(1, 3, 3), masks, boxes, 'replacement')
    assert fused[0].tolist() == [[1, 1, 1], [1, 2, 1], [1, 1, 1]]
    fused = fuse_instance_masks(torch.zeros(1, 3, 3), masks.flip(0), boxes.flip(0), 'replacement')
    assert fused[0].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1]]


def test_saturated_attention_gives_zero_and_finite_gradients():
    masks = torch.full((1, 1, 2, 2), -200.0, requires_grad=True)  # sigmoid underflows
    fused = fuse_instance_masks(
        torch.ones(1, 2, 2), masks, torch.tensor([[0.0, 0, 2, 2]]), 'attention'
    )
    fused.sum().backward()
    torch.testing.assert_close(fused, torch.zeros(1, 2, 2))
    assert torch.isfinite(masks.grad).all()


def test_detach_cuts_the_gradient_to_the_masks_only():
    logits, masks, boxes = random_case()
    logits.requires_grad_()
    masks.requires_grad_()
    fuse_instance_masks(logits, masks, boxes, detach=True).sum().backward()
    assert masks.grad is None
    assert logits.grad is not None


def test_half_precision_is_fused_in_float32():
    logits, masks, boxes = random_case()
    fused = fuse_instance_masks(logits.bfloat16(), masks.bfloat16(), boxes)
    assert fused.dtype == torch.float32
    reference = fuse_one_by_one(
        logits.bfloat16().float(), masks.bfloat16().float(), boxes, 'residual_attention'
    )
    torch.testing.assert_close(fused, reference, rtol=1e-4, atol=1e-4)


def test_unknown_mode_and_wrong_shapes_are_refused():
    logits, masks, boxes = random_case()
    with pytest.raises(ValueError, match="got 'replace'"):
        fuse_instance_masks(logits, masks, boxes, 'replace')
    with pytest.raises(ValueError, match='C = 2'):
        fuse_instance_masks(logits, masks[:, :1], boxes)
    with pytest.raises(ValueError, match=r'weights must be \(40,\), got \(3,\)'):
        fuse_instance_masks(logits, masks, boxes, weights=torch.ones(3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('mode', FUSION_MODES)
def test_cuda_equals_cpu(mode):
    case = random_case()
    on_gpu = fuse_instance_masks(*(tensor.cuda() for tensor in case), mode).cpu()
    torch.testing.assert_close(on_gpu, fuse_instance_masks(*case, mode), rtol=1e-4, atol=1e-4)
