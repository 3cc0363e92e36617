import math

import pytest
import torch
import torch.nn.functional as F

from mmcell.models.losses.semantic_cross_entropy import IGNORED_LABEL, semantic_cross_entropy


def test_mean_of_minus_log_probability_over_pixels():
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1).expand(1, 2, 1, 4)  # 1/4, 3/4
    semantic_map = torch.tensor([[[0, 0, 0, 1]]])
    expected = (3 * math.log(4) + math.log(4 / 3)) / 4
    assert semantic_cross_entropy(logits, semantic_map).item() == pytest.approx(expected)


def test_ignored_pixels_count_neither_above_nor_below_the_fraction_line():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    semantic_map = torch.randint(3, (2, 4, 5), generator=generator)
    semantic_map[0, :2] = IGNORED_LABEL
    semantic_map[1, 3, 4] = IGNORED_LABEL
    expected = F.cross_entropy(logits, semantic_map, ignore_index=IGNORED_LABEL)
    torch.testing.assert_close(semantic_cross_entropy(logits, semantic_map), expected)
    changed = logits.where((semantic_map != IGNORED_LABEL)[:, None], 1e4)
    torch.testing.assert_close(semantic_cross_entropy(changed, semantic_map), expected)


def test_images_of_a_batch_are_weighted_by_their_pixels():
    logits = torch.zeros(2, 2, 1, 3)
    logits[1, 0] = 50.0  # right everywhere
    semantic_map = torch.tensor([[[0, 255, 255]], [[0, 0, 0]]])
    assert semantic_cross_entropy(logits, semantic_map).item() == pytest.approx(math.log(2) / 4)


def test_nothing_to_learn_from_gives_zero_and_a_gradient_of_zero():
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = semantic_cross_entropy(logits, torch.full((1, 3, 3), IGNORED_LABEL))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.equal(torch.zeros_like(logits))


def test_half_precision_is_summed_in_float32():
    logits = torch.zeros(1, 2, 300, 300, dtype=torch.float16)  # the sum exceeds 65,504
    loss = semantic_cross_entropy(logits, torch.zeros(1, 300, 300, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)
