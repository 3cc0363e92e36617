"""Mask Scoring R-CNN, with masks that stay in their boxes."""

from __future__ import annotations

import torch
from mmdet.models.roi_heads import MaskScoringRoIHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.models.roi_heads.roi_masks_roi_head import RoiMasksMixin


@MODELS.register_module()
class RoiMasksMaskScoringRoIHead(RoiMasksMixin, MaskScoringRoIHead):
    """``MaskScoringRoIHead`` whose ``pred_instances.masks`` is a :class:`RoiMasks`.

    The class score times the predicted IoU is ``mask_scores``, as with PFFNet's quality head;
    MMDetection's head overwrites ``scores`` with it.

    MMDetection's ``MaskIoUHead`` compares mask logits, not probabilities, with
    ``train_cfg.rcnn.mask_thr_binary``: 0.0 there is a probability of 0.5.

    Source: Huang et al., Mask Scoring R-CNN, CVPR 2019.
    """

    def _predict_rois(
        self, x: tuple[Tensor, ...], rois: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Predictions for one batch of RoIs: ``mask_probs`` (n, M, M), ``mask_iou`` (n,)."""
        results = self._mask_forward(x, rois)
        mask_logits = results['mask_preds']
        rows = torch.arange(len(labels), device=labels.device)
        channels = torch.zeros_like(labels) if self.mask_head.class_agnostic else labels
        mask_iou = self.mask_iou_head(results['mask_feats'], mask_logits[rows, channels])
        return {
            'mask_probs': self.foreground_probs(mask_logits, labels),
            # The head regresses without a bound.
            'mask_iou': mask_iou[rows, labels].float().clamp(0, 1),
        }

    def _add_predictions(
        self,
        results: InstanceData,
        mask_boxes: Tensor,
        image_size: tuple[int, int],
        mask_probs: Tensor,
        mask_iou: Tensor,
    ) -> None:
        """Store masks and ``mask_scores``."""
        super()._add_predictions(results, mask_boxes, image_size, mask_probs)
        results.mask_scores = results.scores * mask_iou
