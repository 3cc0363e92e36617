"""Mask heads whose first channel is the background's."""

from __future__ import annotations

import torch
from mmdet.structures.mask import mask_target
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor


class BackgroundChannelMixin:
    """Mask loss on the channel after the background's.

    The fusion of the instance branch takes a channel per semantic class. The background's channel
    has no mask loss; it learns through the fusion alone.
    """

    has_background_channel = True

    def loss_and_target(
        self,
        mask_preds: Tensor,
        sampling_results: list,
        batch_gt_instances: list[InstanceData],
        rcnn_train_cfg: ConfigDict,
    ) -> dict:
        """Loss of the positive RoIs, in the form that MMDetection's RoI heads expect.

        Args:
            mask_preds: (P, num_classes + 1, M, M) logits.
            sampling_results: positives of each image.
            batch_gt_instances: annotations of each image, ``masks`` among them.
            rcnn_train_cfg: ``mask_size`` is the side of the targets.

        Returns:
            ``loss_mask``, a dict of losses, and ``mask_targets`` (P, M, M) of 0 and 1.
        """
        targets = mask_target(
            [result.pos_priors for result in sampling_results],
            [result.pos_assigned_gt_inds for result in sampling_results],
            [instances.masks for instances in batch_gt_instances],
            rcnn_train_cfg,
        )
        labels = torch.cat([result.pos_gt_labels for result in sampling_results])
        if len(mask_preds):
            loss = self.loss_mask(mask_preds, targets, labels + 1)
        else:
            loss = mask_preds.sum() * 0
        return dict(loss_mask=dict(loss_mask=loss), mask_targets=targets)
