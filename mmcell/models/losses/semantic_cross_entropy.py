"""Pixel-wise cross entropy that survives images with nothing to learn from."""

import torch.nn.functional as F
from torch import Tensor

IGNORED_LABEL = 255
"""Label of pixels that take no part: padding, and regions annotated as ignored."""


def semantic_cross_entropy(logits: Tensor, semantic_map: Tensor) -> Tensor:
    """Mean cross entropy over the pixels that are not ignored; 0 if there are none.

    Args:
        logits: (B, C, H, W), background first.
        semantic_map: (B, H, W) int64 labels, ``IGNORED_LABEL`` left out.

    Returns:
        Scalar, in float32 whatever the dtype of ``logits``.
    """
    total = F.cross_entropy(
        logits.float(), semantic_map, ignore_index=IGNORED_LABEL, reduction='sum'
    )
    return total / (semantic_map != IGNORED_LABEL).sum().clamp(min=1)
