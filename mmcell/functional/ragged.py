"""Resample many masks to boxes of different size at once, without a loop over boxes.

Fusion, label maps and run lengths all stand on this. Boxes of similar size form a batch, padded to
the largest of them; bilinear resampling is separable and linear, so two batched matrix products
resample a batch, forward and backward, without a gather or a scatter. The work and the memory
follow the area of the boxes, never N x H x W.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class PlacedPatches(NamedTuple):
    """A batch of n patches in an image, padded to one size.

    Attributes:
        values: (n, C, h, w).
        x: (n, w) int64, image column of each patch column.
        y: (n, h) int64, image row of each patch row.
        inside: (n, h, w) bool, False on padding.
    """

    values: Tensor
    x: Tensor
    y: Tensor
    inside: Tensor


def ragged_arange(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate ``arange(n)`` for every n in ``lengths``.

    Args:
        lengths: (N,) int64, >= 0.

    Returns:
        ``owner`` (T,) int64, which of the N ranges an entry belongs to, and ``position`` (T,)
        int64, its place within that range; T is the sum of ``lengths``.
    """
    index = torch.arange(len(lengths), device=lengths.device)
    owner = torch.repeat_interleave(index, lengths, output_size=int(lengths.sum()))
    starts = lengths.cumsum(0) - lengths
    return owner, torch.arange(len(owner), device=lengths.device) - starts[owner]


def pixel_boxes(boxes: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Whole-pixel boxes that contain ``boxes``, and their part inside the image.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels.
        image_size: height and width in pixels.

    Returns:
        Two (N, 4) int64 tensors of half-open boxes: rounded outward, and then cut off at the image
        border. A box that lies outside the image, or is inverted, becomes empty in the second.

    Raises:
        ValueError: If a coordinate is NaN or infinite.
    """
    if not torch.isfinite(boxes).all():
        raise ValueError('boxes must be finite, got NaN or infinite coordinates')
    whole = torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], dim=1).long()
    limit = whole.new_tensor([image_size[1], image_size[0]])
    low = whole[:, :2].clamp(min=0).minimum(limit)
    return whole, torch.cat([low, whole[:, 2:].minimum(limit).maximum(low)], dim=1)


def similar_size_batches(
    boxes: Tensor, ratio: float = 1.5, max_pixels: int | None = None
) -> list[Tensor]:
    """Group boxes so that the longer sides within a group differ by less than ``ratio``.

    Args:
        boxes: (N, 4) int64, x1, y1, x2, y2, half-open.
        ratio: > 1; a smaller one pads less, a larger one makes fewer groups.
        max_pixels: split groups whose padded patches have more pixels than this, to bound memory;
            a single larger box still gets a group of its own.

    Returns:
        Indices of the non-empty boxes, one int64 tensor per group.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.amax(1).where(sides.amin(1) > 0, 0).cpu()
    group = longest.clamp(min=1).double().log().div(math.log(ratio)).floor()
    batches = []
    for number in group[longest > 0].unique():
        members = torch.nonzero((group == number) & (longest > 0)).flatten()
        padded = int(longest[members].max()) ** 2
        size = len(members) if max_pixels is None else max(1, max_pixels // padded)
        batches += members.to(boxes.device).split(size)
    return batches


def resample_into_boxes(
    values: Tensor, boxes: Tensor, clipped: Tensor, *, replicate: bool
) -> PlacedPatches:
    """Resample grids bilinearly, with half-pixel centres, at the pixel centres of their boxes.

    Args:
        values: (n, C, g, g'), the grids.
        boxes: (n, 4), x1, y1, x2, y2 in pixels that the grids span.
        clipped: (n, 4) int64, the pixels to sample, half-open, none empty.
        replicate: continue the border cells outward, as ``F.interpolate`` does; otherwise the grid
            is surrounded by zeros, as in ``F.grid_sample``.

    Returns:
        Patches of the largest clipped height and width.
    """
    num_boxes, num_channels, grid_rows, grid_columns = values.shape
    x, along_x = _axis(boxes[:, 0::2], clipped[:, 0::2], grid_columns, values.dtype, replicate)
    y, along_y = _axis(boxes[:, 1::2], clipped[:, 1::2], grid_rows, values.dtype, replicate)
    # Half precision would move outlines.
    with torch.autocast(values.device.type, enabled=False):
        wide = values.flatten(1, 2) @ along_x.transpose(1, 2)
        wide = wide.reshape(num_boxes, num_channels, grid_rows, -1).transpose(1, 2).flatten(2)
        patches = along_y @ wide
    patches = patches.reshape(num_boxes, y.shape[1], num_channels, x.shape[1])
    inside = (y < clipped[:, 3:])[:, :, None] & (x < clipped[:, 2:3])[:, None, :]
    return PlacedPatches(patches.transpose(1, 2), x, y, inside)


def _axis(
    spans: Tensor, clipped: Tensor, grid: int, dtype: torch.dtype, replicate: bool
) -> tuple[Tensor, Tensor]:
    """Pixels of n boxes along one axis, and the weights that resample ``grid`` cells to them.

    Args:
        spans: (n, 2), start and end of each box.
        clipped: (n, 2) int64, start and end of the pixels to sample.
        grid: cells along this axis.
        dtype: of the weights.
        replicate: continue the border cells outward.

    Returns:
        (n, L) int64 pixel coordinates, L the largest clipped extent, and (n, L, grid) weights.
    """
    start, end = spans.to(dtype).unbind(1)
    longest = int((clipped[:, 1] - clipped[:, 0]).max())
    pixels = clipped[:, :1] + torch.arange(longest, device=spans.device)
    positions = (pixels + 0.5 - start[:, None]) * (grid / (end - start))[:, None] - 0.5
    if replicate:
        positions = positions.clamp(0, grid - 1)
    cells = torch.arange(grid, device=spans.device, dtype=dtype)
    return pixels, (1 - (positions[:, :, None] - cells).abs()).clamp(min=0)
