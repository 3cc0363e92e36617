"""Mask generator that adds a fully connected view of the RoI to a convolutional one."""

from __future__ import annotations

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcell.functional.pixel_shuffle import depth_to_space
from mmcell.models.roi_heads.background_channel import BackgroundChannelMixin


@MODELS.register_module()
class DualModalMaskHead(BackgroundChannelMixin, BaseModule):
    """Dual-modal mask generator.

    Three shared convolutions; a fully connected path (conv, conv to half the channels, FC to one
    map, copied to every class) and an upscaling path (conv, conv to four times the channels, pixel
    shuffle, 1x1 conv); their sum are the logits, background first.

    Args:
        num_classes: object classes; logits have one channel more.
        in_channels: channels of the RoI features (the papers: 256).
        conv_channels: channels of the convolutions (256); 128 in the FC path and 1024 before the
            pixel shuffle follow from it.
        roi_feat_size: side of the RoI features (14); masks are twice as large (28).
        norm_cfg: normalisation of the convolutions (PFFNet: group norm, 32 groups).
        loss_mask: loss on the channel of the labelled class.
        init_cfg: MMEngine initialisation.

    Source: Cell R-CNN V2 (IJCAI 2019), table 1 and fig. 4.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 256,
        conv_channels: int = 256,
        roi_feat_size: int = 14,
        norm_cfg: dict | None = None,
        loss_mask: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_classes = num_classes
        self.class_agnostic = False
        self.mask_size = 2 * roi_feat_size
        loss_mask = loss_mask or dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0)
        self.loss_mask = MODELS.build(loss_mask)

        def conv(channels_in: int, channels_out: int) -> ConvModule:
            return ConvModule(channels_in, channels_out, 3, padding=1, norm_cfg=norm_cfg)

        width = conv_channels
        self.shared = nn.Sequential(
            conv(in_channels, width), conv(width, width), conv(width, width)
        )
        self.connected = nn.Sequential(
            conv(width, width),
            conv(width, width // 2),
            nn.Flatten(),
            nn.Linear(width // 2 * roi_feat_size**2, self.mask_size**2),
        )
        self.upscaled = nn.Sequential(conv(width, width), conv(width, 4 * width))
        self.upscaled_logits = nn.Conv2d(width, num_classes + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(P, in_channels, S, S) RoI features to (P, num_classes + 1, 2 S, 2 S) logits."""
        x = self.shared(x)
        connected = self.connected(x).view(-1, 1, self.mask_size, self.mask_size)
        return self.upscaled_logits(depth_to_space(self.upscaled(x))) + connected
