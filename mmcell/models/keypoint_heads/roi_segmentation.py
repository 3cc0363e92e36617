"""Coarse-to-fine segmentation of boxes at their own resolution, many boxes at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcell.functional.ragged_rois import (
    PaddedRois,
    RoiLevels,
    crop_samples,
    masked_conv2d,
    masked_instance_norm,
    resize_rois,
    similar_roi_batches,
)

# Features, boxes on them, rows and columns, image of each box: `crop_samples` or `crop_pixels`.
Crop = Callable[[Tensor, Tensor, Tensor, Tensor], PaddedRois]


# Largest quotient of two sides in a batch. Every batch of a backward pass makes gradients as large
# as whole feature maps, which costs more than the padding of any batch of bounded size.
RATIO, TRAINING_RATIO = 1.25, math.inf


class RoiPart(NamedTuple):
    """A batch of boxes of similar size, segmented.

    Attributes:
        members: (n,) int64, which boxes these are.
        logits: (n, 1, h, w) mask logits, float32.
        decoded: features at every level the boxes have, finest first; the last is as cropped.
    """

    members: Tensor
    logits: PaddedRois
    decoded: tuple[PaddedRois, ...]


class RoiCombination(nn.Module):
    """Module S of the paper: coarse features joined to a skip connection, within boxes.

    :class:`~mmcell.models.necks.u_shaped_decoder.SkipCombination` for boxes of different size.

    Args:
        below_channels: channels of the coarse features.
        channels: channels of the skip connection and of the result.
        instance_norm: normalise every box on its own, or not (the authors' keypoint graph).
        affine: instance norm with learned scale and shift (eq. 6); the authors' program has none.
    """

    def __init__(
        self, below_channels: int, channels: int, instance_norm: bool, affine: bool
    ) -> None:
        super().__init__()
        self.up = _RoiConv(below_channels, channels, 3, instance_norm, affine)
        self.join = _RoiConv(2 * channels, channels, 1, instance_norm, affine)

    def forward(self, skip: PaddedRois, below: PaddedRois) -> PaddedRois:
        """Both of the same n boxes."""
        below = self.up(resize_rois(below, skip.sizes))
        both = torch.cat([skip.values.to(below.values.dtype), below.values], dim=1)
        return self.join(PaddedRois(both, skip.sizes))


class RoiSegmentationBranch(BaseModule):
    """Crops boxes out of feature levels, joins their levels from coarse to fine, and segments.

    Args:
        in_channels: channels of the levels, finest first; level l is reduced by 2^l.
        head_channels: channels between the two convolutions that give the mask (64).
        instance_norm, affine: see :class:`RoiCombination`.
        init_cfg: MMEngine initialisation.

    Source: Yi et al., IEEE TMI 2021, II-B, and MICCAI 2019, 2.2.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        head_channels: int = 64,
        instance_norm: bool = False,
        affine: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        pairs = zip(in_channels[:-1], in_channels[1:], strict=True)
        self.combinations = nn.ModuleList(
            RoiCombination(below, channels, instance_norm, affine) for channels, below in pairs
        )
        self.hidden = nn.Conv2d(in_channels[0], head_channels, 3, padding=1)
        self.predict = nn.Conv2d(head_channels, 1, 3, padding=1)

    def forward(
        self,
        features: Sequence[Tensor],
        levels: RoiLevels,
        batch_index: Tensor,
        crop: Crop = crop_samples,
    ) -> Iterator[RoiPart]:
        """Segment boxes, batch by batch, equal to one box at a time.

        Args:
            features: (B, C_l, H_l, W_l) levels, finest first.
            levels: where N boxes lie on them.
            batch_index: (N,) int64, image of each box.
            crop: how values are taken out of a level.

        Yields:
            Boxes of similar size; boxes without any level are in no part.
        """
        ratio = TRAINING_RATIO if self.training else RATIO
        for members in similar_roi_batches(levels, ratio):
            rois = [
                crop(
                    features[level],
                    levels.boxes[members, level],
                    levels.sizes[members, level],
                    batch_index[members],
                )
                for level in range(int(levels.counts[members[0]]))
            ]
            decoded = self.decode(rois)
            yield RoiPart(members, self.segment(decoded[0]), decoded)

    def decode(self, rois: Sequence[PaddedRois]) -> tuple[PaddedRois, ...]:
        """Join the levels of n boxes, finest first in and out."""
        decoded = [rois[-1]]
        for skip, combine in zip(
            rois[-2::-1], self.combinations[: len(rois) - 1][::-1], strict=True
        ):
            decoded.append(combine(skip, decoded[-1]))
        return tuple(decoded[::-1])

    def segment(self, finest: PaddedRois) -> PaddedRois:
        """Mask logits (n, 1, h, w), float32 also under autocast, from features of level 0."""
        hidden = masked_conv2d(finest, self.hidden.weight, self.hidden.bias)
        hidden = PaddedRois(hidden.values.relu(), hidden.sizes)
        logits = masked_conv2d(hidden, self.predict.weight, self.predict.bias)
        return PaddedRois(logits.values.float(), logits.sizes)


class _RoiConv(nn.Module):
    """Convolution, instance norm, ReLU within boxes; zero outside them as before."""

    def __init__(
        self, in_channels: int, channels: int, kernel_size: int, instance_norm: bool, affine: bool
    ) -> None:
        super().__init__()
        # As before any norm that subtracts the mean, a bias would do nothing.
        self.conv = nn.Conv2d(
            in_channels, channels, kernel_size, padding=kernel_size // 2, bias=not instance_norm
        )
        self.norm = nn.InstanceNorm2d(channels, affine=affine) if instance_norm else None

    def forward(self, rois: PaddedRois) -> PaddedRois:
        rois = masked_conv2d(rois, self.conv.weight, self.conv.bias)
        if self.norm is not None:
            rois = masked_instance_norm(rois, self.norm.weight, self.norm.bias, self.norm.eps)
        return PaddedRois(rois.values.relu(), rois.sizes)


def roi_cross_entropy(logits: PaddedRois, targets: PaddedRois) -> Tensor:
    """Binary cross entropy of every box: the mean over its pixels.

    Args:
        logits: n boxes, (n, 1, h, w).
        targets: values in [0, 1] of the same boxes.

    Returns:
        (n,).

    Source: Yi et al., IEEE TMI 2021, eq. 7, which leaves open how boxes are averaged.
    """
    loss = F.binary_cross_entropy_with_logits(logits.values, targets.values, reduction='none')
    return (loss * logits.inside()).sum((1, 2, 3)) / logits.sizes.prod(1)
