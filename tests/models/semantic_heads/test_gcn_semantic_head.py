import pytest
import torch

from mmcell.models.semantic_heads.gcn_semantic_head import (
    BoundaryRefinement,
    GCNSemanticHead,
    GlobalConvolution,
)

CHANNELS = [4, 6, 8, 10]


def backbone_levels(image_size, batch=1, seed=0):
    """C2..C5 as a ResNet makes them: every halving rounds up."""
    generator = torch.Generator().manual_seed(seed)
    levels, sides = [], [-(-side // 2) for side in image_size]
    for channels in CHANNELS:
        sides = [-(-side // 2) for side in sides]
        levels.append(torch.randn(batch, channels, *sides, generator=generator))
    return levels


@pytest.mark.parametrize('image_size', [(64, 64), (96, 64), (65, 97), (1, 1), (33, 40)])
@pytest.mark.parametrize('num_classes', [1, 3])
def test_scores_are_as_large_as_the_image(image_size, num_classes):
    head = GCNSemanticHead(CHANNELS, num_classes)
    logits = head(backbone_levels(image_size, batch=2), image_size)
    assert logits.shape == (2, num_classes + 1, *image_size)


@pytest.mark.parametrize('kernel_size', [1, 3, 5, 7])
def test_impulse_spreads_over_exactly_k_by_k_pixels(kernel_size):
    layer = GlobalConvolution(1, 1, kernel_size)
    torch.nn.init.ones_(layer.column_row[0].weight)
    for parameter in layer.parameters():
        torch.nn.init.constant_(parameter, 1.0 if parameter.ndim > 1 else 0.0)
    impulse = torch.zeros(1, 1, 21, 15)
    impulse[0, 0, 10, 7] = 1
    reach = kernel_size // 2
    expected = torch.zeros(21, 15)
    expected[10 - reach : 11 + reach, 7 - reach : 8 + reach] = 2  # one from either order
    assert layer(impulse)[0, 0].equal(expected)


def test_column_and_row_are_convolved_in_both_orders():
    layer = GlobalConvolution(2, 3, 5)
    shapes = [tuple(conv.weight.shape) for conv in (*layer.column_row, *layer.row_column)]
    assert shapes == [(3, 2, 5, 1), (3, 3, 1, 5), (3, 2, 1, 5), (3, 3, 5, 1)]


@pytest.mark.parametrize('kernel_size', [1, 3, 5])
@pytest.mark.parametrize('size', [(7, 5), (2, 9), (1, 1)])
def test_one_pass_is_the_sum_of_both_orders(kernel_size, size):
    torch.manual_seed(0)
    layer = GlobalConvolution(3, 2, kernel_size).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    both = layer.column_row(x) + layer.row_column(x)
    torch.testing.assert_close(layer(x), both)
    inputs = (x, *layer.parameters())
    weights = torch.randn_like(both)
    torch.testing.assert_close(
        torch.autograd.grad((layer(x) * weights).sum(), inputs),
        torch.autograd.grad((both * weights).sum(), inputs),
    )


def test_boundary_refinement_without_weights_changes_nothing():
    block = BoundaryRefinement(3)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 3, 5, 5)
    assert block(x).equal(x)


def test_refined_after_every_addition_and_both_last_upsamplings():
    head = GCNSemanticHead(CHANNELS, 1)
    refinements = [m for m in head.modules() if isinstance(m, BoundaryRefinement)]
    assert len(refinements) == 4 + 3 + 2


def test_parameters_counted_by_hand():
    head = GCNSemanticHead([4], num_classes=1, kernel_size=3)
    # Two classes: column 4*2*3 + 2 and row 2*2*3 + 2 in both orders; refinements 2 * (2*2*9 + 2).
    assert sum(p.numel() for p in head.parameters()) == 2 * (26 + 14) + 3 * 76


def test_without_refinement_scores_are_upsampled_and_added():
    head = GCNSemanticHead([1, 1], num_classes=1, kernel_size=1)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    for number, lateral in enumerate(head.lateral):  # 1x1 layers that multiply by 1 and by 10
        for conv in lateral[0].column_row:
            torch.nn.init.constant_(
                conv.weight, 1.0 if number == 0 or conv.in_channels == 1 else 5.0
            )
    fine, coarse = torch.full((1, 1, 4, 4), 0.5), torch.ones(1, 1, 2, 2)
    # Channels (in -> 2 -> 2): fine 0.5 * 1 * (1 + 1), coarse 1 * 1 * (5 + 5).
    assert head([fine, coarse], (16, 16)).equal(torch.full((1, 2, 16, 16), 11.0))


@pytest.mark.parametrize('kernel_size', [0, 2, 4])
def test_even_kernel_is_refused(kernel_size):
    with pytest.raises(ValueError, match=f'kernel_size must be odd, got {kernel_size}'):
        GCNSemanticHead(CHANNELS, 1, kernel_size=kernel_size)


def test_missing_level_is_refused():
    with pytest.raises(ValueError, match='shorter'):
        GCNSemanticHead(CHANNELS, 1)(backbone_levels((64, 64))[:3], (64, 64))


def test_every_parameter_and_level_gets_a_gradient():
    torch.manual_seed(0)
    head = GCNSemanticHead(CHANNELS, 2)
    levels = [level.requires_grad_() for level in backbone_levels((40, 48))]
    target = torch.randint(3, (1, 40, 48))
    head.loss(head(levels, (40, 48)), target)['loss_semantic'].backward()
    for tensor in (*levels, *head.parameters()):
        assert tensor.grad.abs().sum() > 0


def test_gradient_is_right():
    torch.manual_seed(0)
    head = GCNSemanticHead([2, 2], num_classes=1, kernel_size=3).double()
    levels = [torch.randn(1, 2, s, s, dtype=torch.float64, requires_grad=True) for s in (2, 1)]
    assert torch.autograd.gradcheck(lambda *x: head(x, (5, 6)), levels)


def test_loss_is_weighted_cross_entropy():
    head = GCNSemanticHead(CHANNELS, 1, loss_weight=0.1)
    losses = head.loss(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.int64))
    torch.testing.assert_close(losses, {'loss_semantic': torch.tensor(0.1 * 0.6931472)})


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    torch.manual_seed(0)
    head, levels = GCNSemanticHead(CHANNELS, 1), backbone_levels((64, 65))
    expected = head(levels, (64, 65))
    result = head.cuda()([level.cuda() for level in levels], (64, 65)).cpu()
    torch.testing.assert_close(result, expected, rtol=2e-2, atol=2e-2)
