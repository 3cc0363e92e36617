"""Auxiliary refinement of features where a segmentation is unsure; in training only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcell.functional.ragged_rois import PaddedRois
from mmcell.functional.uncertain_points import most_uncertain_points, sample_points
from mmcell.models.keypoint_heads.object_guided_mask_head import SegmentedObjects, mean_loss


@MODELS.register_module()
class PointRefineHead(BaseModule):
    """Classifies points between pixels from the two finest levels of decoded features.

    What is learned are the features, which the mask head reads as well: nothing is refined in a
    prediction. Points lie where the predicted mask is least sure, their labels are interpolated.

    Of a box of H x W samples, N = H W / ``pixels_per_point``, ``oversample`` * N random points are
    looked at, and the ``keep`` * N least sure ones used. Table II's strategies:

    =================  ==========  =====
    strategy           oversample  keep
    =================  ==========  =====
    uniform small      1           1
    biased small       1           0.5
    uniform            3           3
    mildly biased      3           2
    slightly biased    3           1
    moderately biased  3           0.75   (the paper's choice)
    greatly biased     5           0.75
    heavily biased     10          0.75
    =================  ==========  =====

    Args:
        in_channels: channels of levels 0 and 1 (e1 and e2 of fig. 3).
        feat_channels: channels between the two 1 x 1 convolutions.
        oversample: k of the paper.
        keep: beta of the paper, at most ``oversample``.
        pixels_per_point: D of the paper.
        loss_weight: of the cross entropy (1).
        init_cfg: MMEngine initialisation.

    Raises:
        ValueError: If more points are to be kept than looked at.

    Source: Yi et al., IEEE TMI 2021, II-C, eq. 8 and 9, table II.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (64, 64),
        feat_channels: int = 64,
        oversample: int = 3,
        keep: float = 0.75,
        pixels_per_point: int = 8,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not 0 < keep <= oversample:
            raise ValueError(f'keep must be in (0, oversample = {oversample}], got {keep}')
        self.oversample, self.keep, self.pixels_per_point = oversample, keep, pixels_per_point
        self.loss_weight = loss_weight
        self.layers = nn.Sequential(
            nn.Conv1d(sum(in_channels), feat_channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv1d(feat_channels, 1, 1),
        )

    def forward(self, finest: Sequence[PaddedRois], points: Tensor) -> Tensor:
        """Logits (n, P), float32, at points (n, P, 2) of n boxes; the features of levels 0, 1."""
        features = torch.cat([sample_points(rois, points) for rois in finest], dim=1)
        return self.layers(features)[:, 0].float()

    def loss(self, objects: Sequence[SegmentedObjects]) -> dict[str, Tensor]:
        """``loss_point_refine``: cross entropy, mean over the points of each box, then over boxes.

        Boxes that have level 0 only, 2 or 3 pixels wide or high, take no part.
        """
        losses = [
            self._loss_of_boxes(part.logits, part.decoded[:2], targets)
            for part, targets in objects
            if len(part.decoded) > 1
        ]
        return {'loss_point_refine': self.loss_weight * mean_loss(losses, self)}

    def _loss_of_boxes(
        self, logits: PaddedRois, finest: Sequence[PaddedRois], targets: PaddedRois
    ) -> Tensor:
        """(m,), of those boxes that are large enough for a point."""
        probs = PaddedRois(logits.values.detach().sigmoid(), logits.sizes)
        largest = int(logits.sizes.prod(1).max()) // self.pixels_per_point
        candidates = torch.rand(
            len(logits.sizes), self.oversample * largest, 2, device=logits.values.device
        )
        if candidates.shape[1] == 0:  # not one box is large enough
            return logits.values.new_zeros(0)
        points, valid = most_uncertain_points(
            probs, candidates, self.oversample, self.keep, self.pixels_per_point
        )
        labels = sample_points(targets, points)[:, 0]
        loss = F.binary_cross_entropy_with_logits(self(finest, points), labels, reduction='none')
        count = valid.sum(1)
        return ((loss * valid).sum(1) / count.clamp(min=1))[count > 0]
