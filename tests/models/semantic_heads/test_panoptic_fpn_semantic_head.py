import pytest
import torch
import torch.nn.functional as F

from mmcell.models.semantic_heads.panoptic_fpn_semantic_head import PanopticFPNSemanticHead


@pytest.fixture
def head():
    norm_cfg = dict(type='GN', num_groups=2)
    return PanopticFPNSemanticHead(
        num_classes=2, in_channels=4, inner_channels=8, norm_cfg=norm_cfg, loss_weight=0.25
    )


def test_scores_are_as_large_as_the_image(head):
    levels = [torch.randn(2, 4, 96 // s, 64 // s) for s in (4, 8, 16, 32, 64)]
    assert head(levels, (96, 64)).shape == (2, 3, 96, 64)


def test_loss_is_the_weighted_cross_entropy_with_padding_left_out(head):
    logits = torch.randn(1, 3, 4, 6)
    target = torch.randint(0, 3, (1, 4, 6))
    target[0, :, 4:] = 255
    expected = 0.25 * F.cross_entropy(logits[..., :4], target[..., :4])
    torch.testing.assert_close(head.loss(logits, target), {'loss_semantic': expected})


def test_detector_gives_it_the_levels_of_the_neck(tiny_model, losses_of, predictions_of):
    model = tiny_model('panoptic_fpn_r18_tiny')
    seen = []
    model.semantic_head.register_forward_pre_hook(lambda _, args: seen.append(args))
    losses = losses_of(model, counts=(2,))
    assert losses['loss_semantic'] > 0
    levels, image_size = seen[0]
    assert [level.shape[1] for level in levels] == [16] * 5
    assert image_size == (64, 64)
    (sample,) = predictions_of(model, counts=(2,), return_semantic=True)
    assert sample.pred_sem_seg.probs.shape == (2, 64, 64)
