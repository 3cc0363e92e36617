"""Predict how good a mask is, to weigh its class score with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcell.functional.pixel_shuffle import space_to_depth


@MODELS.register_module()
class MaskQualityHead(BaseModule):
    """Mask quality sub-branch: one value in (0, 1) per RoI.

    The foreground mask is folded to the size of the RoI features (each 2 x 2 block becomes four
    channels) and concatenated to them; four convolutions, the last with stride 2, and three fully
    connected layers follow.

    Args:
        in_channels: channels of the RoI features (the paper: 256).
        conv_channels: channels of the convolutions (256).
        fc_channels: outputs of the hidden fully connected layers (1024).
        roi_feat_size: side of the RoI features (14).
        norm_cfg: normalisation of the convolutions.
        loss_weight: weight of the L2 loss (eq. 5: 1).
        init_cfg: MMEngine initialisation.

    Source: PFFNet (IEEE TIP 2021), section III-C, table I.
    """

    def __init__(
        self,
        in_channels: int = 256,
        conv_channels: int = 256,
        fc_channels: int = 1024,
        roi_feat_size: int = 14,
        norm_cfg: dict | None = None,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.loss_weight = loss_weight
        strides = (1, 1, 1, 2)
        channels = (in_channels + 4, *[conv_channels] * len(strides))
        self.convs = nn.Sequential(
            *(
                ConvModule(before, after, 3, stride=stride, padding=1, norm_cfg=norm_cfg)
                for before, after, stride in zip(channels[:-1], channels[1:], strides, strict=True)
            )
        )
        side = (roi_feat_size + 1) // 2
        self.fcs = nn.Sequential(
            nn.Flatten(),
            nn.Linear(conv_channels * side**2, fc_channels),
            nn.ReLU(inplace=True),
            nn.Linear(fc_channels, fc_channels),
            nn.ReLU(inplace=True),
            nn.Linear(fc_channels, 1),
        )

    def forward(self, mask_feats: Tensor, mask_probs: Tensor) -> Tensor:
        """(P, C, S, S) RoI features and (P, 2 S, 2 S) foreground probabilities to (P,) logits."""
        folded = space_to_depth(mask_probs[:, None]).to(mask_feats.dtype)
        return self.fcs(self.convs(torch.cat([mask_feats, folded], dim=1))).squeeze(1)

    def loss(self, quality_logits: Tensor, quality_targets: Tensor) -> dict[str, Tensor]:
        """L2 between the predicted and the true quality of the positive RoIs, (P,) each."""
        if len(quality_logits) == 0:
            return {'loss_mask_quality': quality_logits.sum() * 0}
        loss = F.mse_loss(quality_logits.float().sigmoid(), quality_targets)
        return {'loss_mask_quality': self.loss_weight * loss}


@torch.no_grad()
def mask_quality_targets(
    mask_probs: Tensor, mask_targets: Tensor, boxes: Tensor, object_areas: Tensor
) -> Tensor:
    """How good the predicted masks are: (Dice + IoU) / 2 against the whole objects.

    The part of an object outside the box counts as missed, so a perfect mask in a box that is too
    small does not score 1.

    Args:
        mask_probs: (P, M, M) foreground probabilities in the boxes, binarised at 0.5.
        mask_targets: (P, M, M) the object inside the box, 0 or 1.
        boxes: (P, 4), x1, y1, x2, y2 in pixels.
        object_areas: (P,) area of the whole object in pixels.

    Returns:
        (P,) values in [0, 1].

    Source: PFFNet (IEEE TIP 2021), eq. 3.
    """
    predicted = mask_probs >= 0.5
    cell_area = (boxes[:, 2:] - boxes[:, :2]).prod(1) / mask_probs.shape[1:].numel()
    intersection = (predicted & (mask_targets >= 0.5)).sum((1, 2)) * cell_area
    area = predicted.sum((1, 2)) * cell_area
    # The grid rounds: what is inside the box can come out a little larger than the whole.
    object_areas = object_areas.maximum(intersection)
    total = (area + object_areas).clamp(min=torch.finfo(area.dtype).tiny)
    union = (area + object_areas - intersection).clamp(min=torch.finfo(area.dtype).tiny)
    return (2 * intersection / total + intersection / union) / 2
