import math

import pytest
import torch

from mmcell.models.losses.semantic_consistency import SemanticConsistencyLoss
from mmcell.models.losses.semantic_cross_entropy import IGNORED_LABEL


def logits_of(probs):
    """(1, C, 1, W) logits of W pixels from their class probabilities."""
    return torch.tensor(probs).log().T[None, :, None]


def test_squared_difference_over_all_activations():
    semantic = logits_of([[0.25, 0.75], [0.5, 0.5]])
    instance = logits_of([[0.75, 0.25], [0.5, 0.5]])
    loss = SemanticConsistencyLoss()(semantic, instance, torch.zeros(1, 1, 2, dtype=torch.int64))
    # 2 of the N = 4 activations differ, by 1/2.
    assert loss.item() == pytest.approx(2 * 0.25 / 4)


def test_equals_the_mean_squared_error_of_softmax_maps():
    generator = torch.Generator().manual_seed(0)
    semantic, instance = torch.randn(2, 3, 4, 5, 6, generator=generator)
    expected = torch.nn.functional.mse_loss(semantic.softmax(1), instance.softmax(1))
    loss = SemanticConsistencyLoss()(semantic, instance, torch.zeros(3, 5, 6, dtype=torch.int64))
    torch.testing.assert_close(loss, expected)


def test_ignored_pixels_are_left_out():
    semantic = logits_of([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]])
    instance = logits_of([[0.75, 0.25], [0.1, 0.9], [0.5, 0.5]])
    semantic_map = torch.tensor([[[0, IGNORED_LABEL, 1]]])
    loss = SemanticConsistencyLoss(loss_weight=10.0)(semantic, instance, semantic_map)
    assert loss.item() == pytest.approx(10 * 2 * 0.25 / 4)


def test_logits_apart_by_a_constant_agree():
    semantic = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    loss = SemanticConsistencyLoss()(semantic, semantic + 7, torch.zeros(1, 4, 4))
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_nothing_valid_gives_zero_and_gradients_of_zero():
    maps = [torch.randn(1, 2, 3, 3, requires_grad=True) for _ in range(2)]
    loss = SemanticConsistencyLoss()(*maps, torch.full((1, 3, 3), IGNORED_LABEL))
    loss.backward()
    assert loss.item() == 0
    for logits in maps:
        assert logits.grad.equal(torch.zeros_like(logits))


def test_both_branches_learn_from_it_and_gradients_are_right():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 1, 2, 2, 3, generator=generator, dtype=torch.float64)
    maps = [logits.requires_grad_() for logits in maps]
    semantic_map = torch.tensor([[[0, 1, 255], [1, 0, 0]]])

    def loss(semantic, instance):  # computed in float32, hence the wide step and tolerance
        return SemanticConsistencyLoss()(semantic, instance, semantic_map).double()

    assert torch.autograd.gradcheck(loss, maps, eps=1e-2, atol=1e-4)
    assert all(grad.abs().sum() > 0 for grad in torch.autograd.grad(loss(*maps), maps))


def test_half_precision_is_compared_in_float32():
    semantic = torch.full((1, 2, 300, 300), math.log(3), dtype=torch.float16)
    semantic[:, 0] = 0
    loss = SemanticConsistencyLoss()(
        semantic, -semantic, torch.zeros(1, 300, 300, dtype=torch.int64)
    )
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.25, rel=1e-3)
