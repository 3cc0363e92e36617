"""Mask R-CNN's mask head with a channel for the background."""

from __future__ import annotations

from typing import Any

from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS

from mmcell.models.roi_heads.background_channel import BackgroundChannelMixin


@MODELS.register_module()
class BackgroundFCNMaskHead(BackgroundChannelMixin, FCNMaskHead):
    """``FCNMaskHead`` with one more channel, background first, so that its masks can be fused.

    Args:
        num_classes: object classes; logits have one channel more.
        **kwargs: as in MMDetection's ``FCNMaskHead``.

    Raises:
        ValueError: If it is to be class-agnostic: the fusion needs a channel per class.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes + 1, **kwargs)
        if self.class_agnostic:
            raise ValueError('class_agnostic=True leaves the fusion without a channel per class')
