"""Pixel shuffle and its inverse, also for batches without an element.

PyTorch's own fail on an empty batch (the backward pass of ``pixel_shuffle`` returns a wrong shape,
``pixel_unshuffle`` leaves its input as it is), and an image without objects has no positive RoI.
"""

from torch import Tensor


def depth_to_space(x: Tensor, factor: int = 2) -> Tensor:
    """(B, C * factor^2, H, W) to (B, C, H * factor, W * factor), as ``F.pixel_shuffle``."""
    batch, channels, height, width = x.shape
    out = channels // factor**2
    x = x.view(batch, out, factor, factor, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, out, height * factor, width * factor)


def space_to_depth(x: Tensor, factor: int = 2) -> Tensor:
    """(B, C, H * factor, W * factor) to (B, C * factor^2, H, W), as ``F.pixel_unshuffle``."""
    batch, channels, height, width = x.shape
    height, width = height // factor, width // factor
    x = x.view(batch, channels, height, factor, width, factor).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, channels * factor**2, height, width)
