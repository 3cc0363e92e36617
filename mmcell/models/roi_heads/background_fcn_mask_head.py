"""Mask R-CNN's mask head with a channel for the background."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor


@MODELS.register_module()
class BackgroundFCNMaskHead(FCNMaskHead):
    """``FCNMaskHead`` with one more channel, background first, so that its masks can be fused.

    The fusion of the instance branch takes a channel per semantic class. The background's channel
    has no mask loss; it learns through the fusion alone, as in :class:`DualModalMaskHead`.

    Args:
        num_classes: object classes; logits have one channel more.
        **kwargs: as in MMDetection's ``FCNMaskHead``.

    Raises:
        ValueError: If it is to be class-agnostic: the fusion needs a channel per class.
    """

    has_background_channel = True

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes + 1, **kwargs)
        if self.class_agnostic:
            raise ValueError('class_agnostic=True leaves the fusion without a channel per class')

    def loss_and_target(
        self,
        mask_preds: Tensor,
        sampling_results: list,
        batch_gt_instances: list[InstanceData],
        rcnn_train_cfg: ConfigDict,
    ) -> dict:
        """As in the parent, on the channel after the background's."""
        targets = self.get_targets(sampling_results, batch_gt_instances, rcnn_train_cfg)
        labels = torch.cat([result.pos_gt_labels for result in sampling_results])
        if len(mask_preds):
            loss = self.loss_mask(mask_preds, targets, labels + 1)
        else:
            loss = mask_preds.sum() * 0
        return dict(loss_mask=dict(loss_mask=loss), mask_targets=targets)
