"""Semantic branch of Panoptic FPN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmdet.models.seg_heads import PanopticFPNHead
from mmdet.registry import MODELS
from torch import Tensor

from mmcell.models.losses.semantic_cross_entropy import semantic_cross_entropy


@MODELS.register_module()
class PanopticFPNSemanticHead(PanopticFPNHead):
    """MMDetection's ``PanopticFPNHead`` on the neck, as a semantic head of a PanopticCellRCNN.

    Its classes are background and the object classes. As in the paper, scores are upsampled to the
    size of the image before the loss; MMDetection shrinks the target instead.

    Args:
        num_classes: object classes; scores have one channel more, background first.
        loss_weight: weight of the cross entropy (the paper's lambda_s; MMDetection's config: 0.5).
        **kwargs: as in MMDetection's ``PanopticFPNHead``.

    Source: Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019, section 3.
    """

    on_neck = True

    def __init__(self, num_classes: int, loss_weight: float = 0.5, **kwargs: Any) -> None:
        super().__init__(
            num_things_classes=0,
            num_stuff_classes=num_classes,
            loss_seg=dict(type='CrossEntropyLoss'),  # never called: `loss` has its own
            **kwargs,
        )
        self.loss_weight = loss_weight

    def forward(self, levels: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Score every pixel.

        Args:
            levels: of the neck, (B, in_channels, H / s_i, W / s_i), finest first.
            image_size: height and width of the input batch in pixels.

        Returns:
            (B, num_classes + 1, H, W) logits.
        """
        logits = super().forward(levels)['seg_preds']
        return F.interpolate(logits, image_size, mode='bilinear', align_corners=False)

    def loss(self, logits: Tensor, semantic_map: Tensor) -> dict[str, Tensor]:
        """Cross entropy of (B, C, H, W) logits against (B, H, W) labels, 255 ignored."""
        return {'loss_semantic': self.loss_weight * semantic_cross_entropy(logits, semantic_map)}
