"""Semantic branch of the panoptic Cell R-CNN family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcell.models.losses.semantic_cross_entropy import semantic_cross_entropy


class GlobalConvolution(nn.Module):
    """A k x k receptive field from two pairs of one-dimensional convolutions."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        column, row = (kernel_size, 1), (1, kernel_size)
        self.column_row = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, column, padding='same'),
            nn.Conv2d(out_channels, out_channels, row, padding='same'),
        )
        self.row_column = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, row, padding='same'),
            nn.Conv2d(out_channels, out_channels, column, padding='same'),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W): the sum of both pairs."""
        # With so few channels calls and passes over x cost more than products: both first layers
        # are one convolution, and so are both second layers and their sum, by kernels of zeros
        # around a column or row.
        (column, after_column), (row, after_row) = self.column_row, self.row_column
        reach = row.weight.shape[-1] // 2
        first = torch.cat([_square(column.weight), _square(row.weight)])
        second = torch.cat([_square(after_column.weight), _square(after_row.weight)], dim=1)
        between = F.conv2d(x, first, torch.cat([column.bias, row.bias]), padding=reach)
        return F.conv2d(between, second, after_column.bias + after_row.bias, padding=reach)


class BoundaryRefinement(nn.Module):
    """Residual block that sharpens score maps along boundaries."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W), refined."""
        return x + self.residual(x)


@MODELS.register_module()
class GCNSemanticHead(BaseModule):
    """Decoder of the global convolutional network on the backbone's features.

    Each level passes through a global convolution and a boundary refinement; coarse scores are
    upsampled bilinearly and added to the next finer level, refined after every addition, and at
    last upsampled in two steps of two to the size of the image.

    Args:
        in_channels: channels of the backbone's levels, finest (C2) first.
        num_classes: object classes; scores have one channel more, background first.
        kernel_size: odd size of the simulated large kernel (the papers: 5).
        loss_weight: a1 in PFFNet's eq. 5 (0.1); 1 in Cell R-CNN V2.
        init_cfg: MMEngine initialisation.

    Source: Peng et al., Large Kernel Matters, CVPR 2017; used as in PFFNet (IEEE TIP 2021, fig. 3)
    and Cell R-CNN V2 (IJCAI 2019, section 3.2).
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        kernel_size: int = 5,
        loss_weight: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, got {kernel_size}')
        channels = num_classes + 1
        self.loss_weight = loss_weight
        self.lateral = nn.ModuleList(
            nn.Sequential(GlobalConvolution(c, channels, kernel_size), BoundaryRefinement(channels))
            for c in in_channels
        )
        # One refinement per addition, and one after each of the two last upsamplings.
        self.refine = nn.ModuleList(BoundaryRefinement(channels) for _ in in_channels[1:])
        self.refine_half = BoundaryRefinement(channels)
        self.refine_full = BoundaryRefinement(channels)

    def forward(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Score every pixel.

        Args:
            features: backbone levels, (B, C_i, H / s_i, W / s_i), finest first.
            image_size: height and width of the input batch in pixels.

        Returns:
            (B, num_classes + 1, H, W) logits.
        """
        scores = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        merged = scores[-1]
        for finer, refine in zip(scores[-2::-1], self.refine, strict=True):
            merged = refine(finer + _upsample(merged, finer.shape[-2:]))
        half = tuple((side + 1) // 2 for side in image_size)
        merged = self.refine_half(_upsample(merged, half))
        return self.refine_full(_upsample(merged, image_size))

    def loss(self, logits: Tensor, semantic_map: Tensor) -> dict[str, Tensor]:
        """Cross entropy of (B, C, H, W) logits against (B, H, W) labels, 255 ignored."""
        return {'loss_semantic': self.loss_weight * semantic_cross_entropy(logits, semantic_map)}


def _square(weight: Tensor) -> Tensor:
    """(O, I, k, 1) or (O, I, 1, k) weights in the middle of (O, I, k, k) zeros."""
    height, width = weight.shape[-2:]
    reach = max(height, width) // 2
    return F.pad(weight, [reach - width // 2] * 2 + [reach - height // 2] * 2)


def _upsample(scores: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(scores, tuple(size), mode='bilinear', align_corners=False)
