"""Semantic segmentation from the instance branch, fused with its own masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmcell.functional.fusion import FUSION_MODES, fuse_instance_masks
from mmcell.models.losses.semantic_cross_entropy import semantic_cross_entropy


@MODELS.register_module()
class RAFF(BaseModule):
    """Residual attention feature fusion on the finest level of the neck (P2).

    P2 is brought to the size of the image and to one channel per class, the masks predicted for
    the positive RoIs are fused in at these, and two convolutions (3x3, 1x1; a leaky
    ReLU between) turn the result into scores. Their loss teaches semantics to the mask generator.
    Training only.

    Args:
        in_channels: channels of P2.
        num_classes: object classes; scores have one channel more, background first.
        mode: how masks are fused, see :func:`mmcell.functional.fusion.fuse_instance_masks`.
        detach: cut the gradient from the fused map to the masks (the authors' code does).
        per_object: the masks of all RoIs that belong to one object have the weight of one mask, so
            that where n objects overlap the map grows by 2^n at most. False: every RoI counts, as
            in Algorithm 1; with dozens of RoIs per object, in images of few objects, the map then
            grows by 2^dozens, which ends in infinite losses.
        loss_weight: a1 in PFFNet's eq. 5 (0.1); 1 in Cell R-CNN V2.
        init_cfg: MMEngine initialisation.

    Source: PFFNet (IEEE TIP 2021), section III-B and fig. 2. The figure upsamples P2 by nearest
    neighbours and then convolves; the convolution to class channels is 1x1 here, so it commutes
    with the upsampling and runs first, on 16 times fewer pixels.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        mode: str = 'residual_attention',
        detach: bool = False,
        per_object: bool = True,
        loss_weight: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if mode not in FUSION_MODES:
            raise ValueError(f'mode must be one of {FUSION_MODES}, got {mode!r}')
        channels = num_classes + 1
        self.mode, self.detach, self.loss_weight = mode, detach, loss_weight
        self.per_object = per_object
        self.to_classes = nn.Conv2d(in_channels, channels, 1)
        self.score = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            # Of two channels a ReLU's can both be 0 everywhere, and no gradient revives them.
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(
        self, finest: Tensor, instances: Sequence[InstanceData], image_size: tuple[int, int]
    ) -> Tensor:
        """Score every pixel.

        Args:
            finest: (B, in_channels, H / 4, W / 4), P2.
            instances: per image, ``bboxes`` (N, 4) in pixels and ``mask_logits``
                (N, num_classes + 1, M, M); with ``per_object`` also ``object_index`` (N,) int64,
                equal for RoIs of one object.
            image_size: height and width of the input batch in pixels.

        Returns:
            (B, num_classes + 1, H, W) logits.
        """
        semantic = F.interpolate(self.to_classes(finest), image_size, mode='nearest')
        fused = [
            fuse_instance_masks(
                *(logits, found.mask_logits, found.bboxes, self.mode, self.detach),
                weights=_shares(found.object_index) if self.per_object else None,
            )
            for logits, found in zip(semantic, instances, strict=True)
        ]
        return self.score(torch.stack(fused))

    def loss(self, logits: Tensor, semantic_map: Tensor) -> dict[str, Tensor]:
        """Cross entropy of (B, C, H, W) logits against (B, H, W) labels, 255 ignored."""
        loss = self.loss_weight * semantic_cross_entropy(logits, semantic_map)
        return {'loss_instance_semantic': loss}


def _shares(object_index: Tensor) -> Tensor:
    """(N,) weights: those of each object sum to 1."""
    return 1 / object_index.bincount()[object_index]
