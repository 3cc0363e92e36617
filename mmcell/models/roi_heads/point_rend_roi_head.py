"""PointRend, with masks that stay in their boxes."""

from __future__ import annotations

import warnings

import torch
from mmcv.ops.point_sample import rel_roi_point_to_abs_img_point
from mmdet.models.roi_heads import PointRendRoIHead
from mmdet.models.roi_heads.mask_heads import MaskPointHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.models.roi_heads.roi_masks_roi_head import RoiMasksMixin

_POINT_BOX_PX = 0.5
"""Side of the boxes that read a mask at points: below a pixel, where RoIAlign takes one sample."""


@MODELS.register_module()
class RoiMasksPointRendRoIHead(RoiMasksMixin, PointRendRoIHead):
    """``PointRendRoIHead`` whose ``pred_instances.masks`` is a :class:`RoiMasks`.

    Masks are refined in their boxes, a batch of RoIs at a time, and stay on the refined grid of
    ``mask size * scale_factor ** subdivision_steps``. Unlike MMDetection's, it trains on images
    without objects and under autocast.

    Source: Kirillov et al., PointRend, CVPR 2020.
    """

    def _mask_forward(self, *args: Tensor, **kwargs: Tensor) -> dict[str, Tensor]:
        """As in the parent, in float32 under autocast: points are sampled from the results."""
        results = super()._mask_forward(*args, **kwargs)
        return {name: values.float() for name, values in results.items()}

    def _mask_point_loss(
        self,
        x: tuple[Tensor, ...],
        sampling_results: list,
        mask_preds: Tensor,
        batch_gt_instances: list[InstanceData],
    ) -> dict[str, Tensor]:
        """As in the parent; 0 without positives."""
        if len(mask_preds) == 0:
            return {'loss_point': sum(p.sum() for p in self.point_head.parameters()) * 0}
        with warnings.catch_warnings():
            # The parent reads its samples by a name that MMDetection has deprecated.
            warnings.filterwarnings('ignore', '.*pos_bboxes is deprecated')
            return super()._mask_point_loss(x, sampling_results, mask_preds, batch_gt_instances)

    def _predict_rois(
        self, x: tuple[Tensor, ...], rois: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Predictions for one batch of RoIs: refined ``mask_probs`` (n, M, M)."""
        mask_logits = self._mask_forward(x, rois)['mask_preds']
        if len(rois):
            mask_logits = self._mask_point_forward_test(x, rois, labels, mask_logits)
        return {'mask_probs': self.foreground_probs(mask_logits, labels)}


@MODELS.register_module()
class LabelMapPointHead(MaskPointHead):
    """``MaskPointHead`` that reads its targets from :class:`LabelMapMasks`.

    The parent makes one full-size bitmap per positive RoI. The targets are the same, bilinear
    values of the object's mask at the points, except in the half pixel along the image border,
    where an object goes on to the border instead of fading out.
    """

    def forward(self, fine_grained_feats: Tensor, coarse_feats: Tensor) -> Tensor:
        """As in the parent, in float32 under autocast: logits are written into coarse masks."""
        return super().forward(fine_grained_feats, coarse_feats).float()

    def _get_targets_single(
        self,
        rois: Tensor,
        rel_roi_points: Tensor,
        pos_assigned_gt_inds: Tensor,
        gt_instances: InstanceData,
        cfg: ConfigDict,
    ) -> Tensor:
        """(P, K) values in [0, 1] at the K points of each of P RoIs."""
        points = rel_roi_point_to_abs_img_point(rois, rel_roi_points)
        centres = points.flatten(0, 1)
        boxes = torch.cat([centres - _POINT_BOX_PX / 2, centres + _POINT_BOX_PX / 2], dim=1)
        indices = pos_assigned_gt_inds.repeat_interleave(points.shape[1])
        return gt_instances.masks.roi_targets(boxes, indices, (1, 1)).view(points.shape[:2])
