"""Consistency between the semantic predictions of the two branches."""

from __future__ import annotations

from mmdet.registry import MODELS
from torch import Tensor, nn

from mmcell.models.losses.semantic_cross_entropy import IGNORED_LABEL


@MODELS.register_module()
class SemanticConsistencyLoss(nn.Module):
    """Mean squared difference of two softmax maps.

    Args:
        loss_weight: a2 in eq. 5 (the paper: 1).

    Source: PFFNet (IEEE TIP 2021), eq. 4. N counts all activations, classes included; padding is
    left out.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, semantic: Tensor, instance: Tensor, semantic_map: Tensor) -> Tensor:
        """Compare (B, C, H, W) logits of both branches where the (B, H, W) map is not ignored."""
        difference = semantic.float().softmax(1) - instance.float().softmax(1)
        valid = (semantic_map != IGNORED_LABEL).unsqueeze(1)
        count = valid.sum().clamp(min=1) * semantic.shape[1]
        return self.loss_weight * (difference.square() * valid).sum() / count
