"""A ResNet whose features begin at the resolution of the image."""

from __future__ import annotations

from typing import Any

from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class FullResolutionResNet(ResNet):
    """MMDetection's ResNet with two levels before its stages, for thin structures.

    ======  ========  ==================================================================
    level   stride    what it is
    ======  ========  ==================================================================
    c0      1         two 3 x 3 convolutions on the image, without normalisation
    c1      2         the network's first convolution (with its norm), before max-pooling
    c2 ...  4 ...     the stages of ``out_indices``
    ======  ========  ==================================================================

    A pixel (x, y) of level l lies over pixel (2^l x, 2^l y) of the image: convolutions with stride
    do not shift by half a pixel.

    Args:
        image_channels: channels of c0 (the authors' programs: 64).
        **kwargs: as in MMDetection's ``ResNet``.

    Source: Yi et al., IEEE TMI 2021, fig. 1, and MICCAI 2019; what c0 is, the authors' programs.
    """

    def __init__(self, image_channels: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        in_channels = kwargs.get('in_channels', 3)
        self.image_convs = nn.Sequential(
            nn.Conv2d(in_channels, image_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(image_channels, image_channels, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) images to levels c0, c1 and the stages."""
        stem = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        levels = [self.image_convs(x), stem]
        x = self.maxpool(stem)
        for index, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                levels.append(x)
        return tuple(levels)
