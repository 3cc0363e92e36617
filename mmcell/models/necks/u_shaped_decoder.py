"""Decoder that joins coarse features to finer ones, level by level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


class SkipCombination(nn.Module):
    """Module B of the paper: coarse features, upsampled, joined to a skip connection.

    Bilinear resizing, 3 x 3 convolution, norm, ReLU; concatenation behind the skip; 1 x 1
    convolution, norm, ReLU.

    Args:
        below_channels: channels of the coarse features.
        channels: channels of the skip connection and of the result.
        norm_cfg: normalisation; None leaves it out.

    Source: Yi et al., IEEE TMI 2021, fig. 1; the order of layers is the authors' program's.
    """

    def __init__(self, below_channels: int, channels: int, norm_cfg: dict | None = None) -> None:
        super().__init__()
        self.up = ConvModule(below_channels, channels, 3, padding=1, norm_cfg=norm_cfg)
        self.join = ConvModule(2 * channels, channels, 1, norm_cfg=norm_cfg)

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        """(B, channels, H, W) and (B, below_channels, h, w) to (B, channels, H, W)."""
        below = F.interpolate(below, skip.shape[2:], mode='bilinear', align_corners=False)
        return self.join(torch.cat([skip, self.up(below)], dim=1))


@MODELS.register_module()
class UShapedDecoder(BaseModule):
    """Joins every level of a backbone to the one below it, the coarsest first.

    The finest levels may be left as the backbone gives them: detection needs no contours.

    Args:
        in_channels: channels of the backbone's levels, finest first.
        num_raw_levels: how many of the finest levels pass through unchanged (the object-guided
            detector: 2, so that it detects at stride 4; keypoint graph: 0).
        norm_cfg: normalisation (object-guided: batch norm; keypoint graph: None).
        init_cfg: MMEngine initialisation.

    Source: Yi et al., IEEE TMI 2021, II-A; MICCAI 2019, fig. 2.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_raw_levels: int = 0,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not 0 <= num_raw_levels < len(in_channels):
            raise ValueError(
                f'num_raw_levels must be 0 to {len(in_channels) - 1}, one less than the levels, '
                f'got {num_raw_levels}'
            )
        self.num_raw_levels = num_raw_levels
        pairs = zip(in_channels[num_raw_levels:-1], in_channels[num_raw_levels + 1 :], strict=True)
        self.combinations = nn.ModuleList(
            SkipCombination(below, channels, norm_cfg) for channels, below in pairs
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Decode.

        Args:
            features: L levels (B, C_l, H_l, W_l), finest first.

        Returns:
            L - 1 levels of the same sizes, finest first: the raw ones, then the decoded ones.
        """
        below, decoded = features[-1], []
        skips = features[self.num_raw_levels : -1]
        for skip, combine in zip(skips[::-1], self.combinations[::-1], strict=True):
            below = combine(skip, below)
            decoded.append(below)
        return (*features[: self.num_raw_levels], *decoded[::-1])
