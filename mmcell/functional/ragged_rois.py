"""Boxes of different size through one segmentation network, many at a time.

Boxes of similar size form a batch, padded at the bottom and right. One rule keeps padding from
leaking into results: values outside the true boxes are zero. Zeros are what a convolution expects
beyond a border; normalisation and resizing look at the true sizes. Every function here expects the
rule and restores it, so that a batch gives what its boxes give one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcell.functional.ragged import ragged_arange

# Bounds the memory of a batch: 16 MiB for a map of 64 channels.
BATCH_PIXELS = 1 << 16


class PaddedRois(NamedTuple):
    """Feature maps of n boxes, padded to one size.

    Attributes:
        values: (n, C, h, w), zero outside the true boxes.
        sizes: (n, 2) int64, true rows and columns.
    """

    values: Tensor
    sizes: Tensor

    def inside(self) -> Tensor:
        """(n, 1, h, w) bool, False on padding."""
        return _inside(self.sizes, self.values.shape[-2:])[:, None]


class RoiLevels(NamedTuple):
    """Where boxes lie on the levels of a feature pyramid, level l reduced by 2^l.

    Attributes:
        boxes: (N, L, 4), x1, y1, x2, y2 in pixels of the level.
        sizes: (N, L, 2) int64, rows and columns to crop; 0 on missing levels.
        counts: (N,) int64, how many levels a box has: the first ones, maybe none.
    """

    boxes: Tensor
    sizes: Tensor
    counts: Tensor


def enlarged_levels(boxes: Tensor, num_levels: int, enlarge: float = 1.1) -> RoiLevels:
    """Sample grids over enlarged boxes, for :func:`crop_samples`.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels of level 0.
        num_levels: L.
        enlarge: factor on both sides, around the center.

    Returns:
        Positions of the first and last samples; as many samples as there are whole pixels in a
        side. A box has levels up to the first with a side below 2.

    Source: Yi et al., IEEE TMI 2021, II-B; the factor is in the authors' program.
    """
    strides = 2.0 ** torch.arange(num_levels, device=boxes.device)
    scaled = boxes[:, None] / strides[:, None]
    sides = (scaled[..., 2:] - scaled[..., :2]) * enlarge
    centers = (scaled[..., 2:] + scaled[..., :2]) / 2
    ends = torch.cat([centers - sides / 2, centers + sides / 2], dim=2)
    return _usable_levels(ends, sides.flip(2).long())


def pixel_levels(
    boxes: Tensor, level_sizes: Sequence[tuple[int, int]], *, without_last_pixel: bool = False
) -> RoiLevels:
    """Whole-pixel boxes on every level, for :func:`crop_pixels`.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels of level 0.
        level_sizes: height and width of each of the L levels.
        without_last_pixel: as in the authors' program, boxes end before the last row and column of
            the map, although they are half-open.

    Returns:
        Half-open boxes, rounded half to even and cut off at the border. A box has levels up to the
        first with a side below 2.

    Source: Yi et al., MICCAI 2019, 2.2; the rounding is in the authors' program.
    """
    strides = 2.0 ** torch.arange(len(level_sizes), device=boxes.device)
    limits = boxes.new_tensor([[w, h, w, h] for h, w in level_sizes]) - int(without_last_pixel)
    ends = (boxes[:, None] / strides[:, None]).round().clamp(min=0).minimum(limits).long()
    return _usable_levels(ends, (ends[..., 2:] - ends[..., :2]).flip(2))


def _usable_levels(boxes: Tensor, sizes: Tensor) -> RoiLevels:
    usable = (sizes >= 2).all(2).cumprod(1)
    return RoiLevels(boxes, sizes * usable[..., None], usable.sum(1))


def similar_roi_batches(
    levels: RoiLevels, ratio: float = 1.25, max_pixels: int = BATCH_PIXELS
) -> list[Tensor]:
    """Group boxes of equally many levels whose height and width on level 0 both are similar.

    Args:
        levels: of N boxes.
        ratio: > 1, largest quotient of two heights or widths in a group; infinite sets no limit.
        max_pixels: split groups with more padded pixels than this on level 0, the largest boxes
            first; a single larger box still gets a group of its own.

    Returns:
        Indices of the boxes with at least one level, one int64 tensor per group.
    """
    present = torch.nonzero(levels.counts).flatten()
    sizes = levels.sizes[present, 0].cpu()
    steps = (sizes.double().log() / math.log(ratio)).floor().long()
    keys = torch.cat([levels.counts[present, None].cpu(), steps], dim=1)
    _, group = keys.unique(dim=0, return_inverse=True)
    batches: list[Tensor] = []
    for members in group.argsort(stable=True).split(torch.bincount(group).tolist()):
        # Neighbours in size share a batch where a group is split.
        members = members[sizes[members].prod(1).argsort(descending=True, stable=True)]
        lengths = _padded_runs(sizes[members].tolist(), max_pixels)
        batches += present[members.to(present.device)].split(lengths)
    return batches


def _padded_runs(sizes: list[list[int]], max_pixels: int) -> list[int]:
    """Cut a row of boxes into the longest runs that, padded, have at most ``max_pixels``."""
    runs: list[int] = []
    rows = columns = 0
    for height, width in sizes:
        rows, columns = max(rows, height), max(columns, width)
        if runs and (runs[-1] + 1) * rows * columns <= max_pixels:
            runs[-1] += 1
        else:
            runs.append(1)
            rows, columns = height, width
    return runs


def crop_samples(features: Tensor, boxes: Tensor, sizes: Tensor, batch_index: Tensor) -> PaddedRois:
    """Sample feature maps bilinearly on regular grids that include both ends of the boxes.

    Args:
        features: (B, C, H, W); zero beyond the border.
        boxes: (n, 4), positions of the first and last samples, x1, y1, x2, y2: whole numbers are
            pixel centers.
        sizes: (n, 2) int64, rows and columns of samples.
        batch_index: (n,) int64, image of each box.
    """
    x, y = _sample_positions(boxes, sizes)
    height, width = features.shape[-2:]
    along = (2 * x + 1) / width - 1
    down = (2 * y + 1) / height - 1
    size = (len(boxes), y.shape[1], x.shape[1])
    grid = torch.stack([along[:, None].expand(size), down[:, :, None].expand(size)], dim=3)
    # Padding is sampled far beyond the border, where zeros are: no pass to clear it.
    grid = grid.masked_fill(~_inside(sizes, size[1:])[..., None], -3.0)
    # The layout that convolutions on small maps are fastest in; all functions here keep it.
    values = features.new_empty(*size, features.shape[1]).permute(0, 3, 1, 2)
    for image in batch_index.unique().tolist():
        mine = torch.nonzero(batch_index == image).flatten()
        # All boxes of an image in one tall grid: no copy of the map per box.
        tall = grid[mine].flatten(0, 1)[None].to(features.dtype)
        sampled = F.grid_sample(features[image : image + 1], tall, align_corners=False)
        values[mine] = sampled[0].unflatten(1, (len(mine), -1)).transpose(0, 1)
    return PaddedRois(values, sizes)


def crop_pixels(features: Tensor, boxes: Tensor, sizes: Tensor, batch_index: Tensor) -> PaddedRois:
    """Cut whole pixels out of feature maps.

    Args:
        features: (B, C, H, W), copied unless in channels-last layout.
        boxes: (n, 4) int64, x1, y1, x2, y2 of boxes on the map.
        sizes: (n, 2) int64, rows and columns.
        batch_index: (n,) int64, image of each box.
    """
    rows, columns = _largest(sizes)
    height, width = features.shape[2:]
    y = (boxes[:, 1:2] + torch.arange(rows, device=boxes.device)).clamp(max=height - 1)
    x = (boxes[:, :1] + torch.arange(columns, device=boxes.device)).clamp(max=width - 1)
    row_starts = (batch_index[:, None] * height + y) * width
    pixels = (row_starts[:, :, None] + x[:, None]).flatten()
    # One row of channels per pixel: its gradient is a sum of rows, not of single numbers.
    values = features.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, pixels)
    values = values.view(len(boxes), rows, columns, features.shape[1]).permute(0, 3, 1, 2)
    return _without_padding(values, sizes)


def crop_objects(
    label_maps: Tensor, ids: Tensor, boxes: Tensor, sizes: Tensor, batch_index: Tensor
) -> PaddedRois:
    """Soft masks of single objects, sampled as in :func:`crop_samples`, never N x H x W.

    Args:
        label_maps: (B, H, W) integers.
        ids: (n,), the label of each box's object.
        boxes: (n, 4), see :func:`crop_samples`.
        sizes: (n, 2) int64.
        batch_index: (n,) int64.

    Returns:
        (n, 1, h, w) values in [0, 1].
    """
    height, width = label_maps.shape[-2:]
    x, y = _sample_positions(boxes, sizes)
    left, top = x.floor(), y.floor()
    values = boxes.new_zeros(len(boxes), y.shape[1], x.shape[1])
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
            on_map = ((row >= 0) & (row < height))[:, :, None]
            on_map = on_map & ((column >= 0) & (column < width))[:, None]
            labels = label_maps[
                batch_index[:, None, None],
                row.clamp(0, height - 1).long()[:, :, None],
                column.clamp(0, width - 1).long()[:, None],
            ]
            hit = (labels == ids[:, None, None]) & on_map
            values = values + hit * row_weight[:, :, None] * column_weight[:, None]
    return _without_padding(values[:, None], sizes)


def masked_conv2d(rois: PaddedRois, weight: Tensor, bias: Tensor | None = None) -> PaddedRois:
    """Convolution with stride 1 and zeros around the true box.

    Args:
        rois: n boxes of C channels.
        weight: (C', C, k, k'), k and k' odd.
        bias: (C',).
    """
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    values = F.conv2d(rois.values, weight, bias, padding=padding)
    if padding == (0, 0) and bias is None:
        return PaddedRois(values, rois.sizes)  # zeros stay zeros
    return _without_padding(values, rois.sizes)


def masked_instance_norm(
    rois: PaddedRois,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> PaddedRois:
    """Instance norm over the pixels of the true box, as ``F.instance_norm`` of the box alone.

    Args:
        rois: n boxes of C channels.
        weight: (C,) scale.
        bias: (C,) shift.
        eps: added to the variance.

    Returns:
        float32 for values of 16 bits: sums over a box need the precision.
    """
    inside, count = rois.inside(), rois.sizes.prod(1)[:, None, None, None]
    dtype = torch.promote_types(rois.values.dtype, torch.float32)
    wide = rois.values.to(dtype)
    mean = wide.sum((2, 3), keepdim=True) / count
    centered = (wide - mean) * inside
    variance = centered.square().sum((2, 3), keepdim=True) / count
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight[:, None, None]
    if bias is None:
        return PaddedRois(centered * scale, rois.sizes)
    values = torch.addcmul(bias[:, None, None], centered, scale)
    return PaddedRois(values * inside, rois.sizes)


def resize_rois(rois: PaddedRois, sizes: Tensor) -> PaddedRois:
    """Resize every box bilinearly, as ``F.interpolate`` (half-pixel centers) of the box alone.

    Args:
        rois: n boxes.
        sizes: (n, 2) int64, rows and columns wanted.
    """
    dtype = rois.values.dtype
    down = _resize_weights(rois.sizes[:, 0], sizes[:, 0], rois.values.shape[2], dtype)
    along = _resize_weights(rois.sizes[:, 1], sizes[:, 1], rois.values.shape[3], dtype)
    # Channels last, where both products are few and large.
    values = rois.values.permute(0, 2, 3, 1)
    tall = (down @ values.flatten(2)).unflatten(2, values.shape[2:])
    return PaddedRois((along[:, None] @ tall).permute(0, 3, 1, 2), sizes)


def unpad_rois(parts: Sequence[tuple[Tensor, PaddedRois]], num_rois: int) -> list[Tensor]:
    """The way back: every box of its own size, in the order of the boxes.

    Args:
        parts: indices of the boxes (n,) and their maps, for each batch.
        num_rois: N.

    Returns:
        N tensors (C, h_i, w_i); (C, 0, 0) for boxes that are in no part. They are views of one
        tensor. Without any part, C is 0.
    """
    if not parts:
        return [torch.zeros(0, 0, 0) for _ in range(num_rois)]
    members = torch.cat([indices for indices, _ in parts])
    part_sizes = torch.cat([rois.sizes for _, rois in parts])
    sizes = part_sizes.new_zeros(num_rois, 2).index_copy(0, members, part_sizes)
    flat = torch.cat(
        [rois.values.transpose(0, 1)[:, rois.inside()[:, 0]] for _, rois in parts], dim=1
    )
    lengths = part_sizes.prod(1)
    order = members.argsort()
    starts = (lengths.cumsum(0) - lengths)[order]
    owner, position = ragged_arange(lengths[order])
    flat = flat[:, starts[owner] + position]
    pieces = flat.split(sizes.prod(1).tolist(), dim=1)
    return [
        piece.view(len(flat), *size) for piece, size in zip(pieces, sizes.tolist(), strict=True)
    ]


def vote_into_pixels(rois: PaddedRois, boxes: Tensor) -> tuple[PaddedRois, Tensor]:
    """Share the values of sample grids between the four pixels around each sample.

    The sums are not normalised: where samples lie d > 1 pixels apart, ones become about 1 / d^2.

    Args:
        rois: n grids, as from :func:`crop_samples`.
        boxes: (n, 4), positions of the first and last samples.

    Returns:
        The votes on whole pixels, and the (n, 2) int64 pixel x, y of their upper left corners.

    Source: Yi et al., IEEE TMI 2021, II-B, last paragraph.
    """
    corners = boxes[:, :2].floor().long()
    ends = boxes[:, 2:].floor().long() + 2
    sizes = (ends - corners).flip(1)
    rows, columns = _largest(sizes)
    x, y = _sample_positions(boxes, rois.sizes)
    pixel_x = corners[:, :1] + torch.arange(columns, device=boxes.device)
    pixel_y = corners[:, 1:] + torch.arange(rows, device=boxes.device)
    # Padding is zero, so where its samples would lie does not matter.
    along = (1 - (x[:, :, None] - pixel_x[:, None]).abs()).clamp(min=0)
    down = (1 - (pixel_y[:, :, None] - y[:, None]).abs()).clamp(min=0)
    return _without_padding(down[:, None] @ rois.values @ along[:, None], sizes), corners


def _largest(sizes: Tensor) -> tuple[int, int]:
    rows, columns = sizes.amax(0).tolist() if len(sizes) else (0, 0)
    return rows, columns


def _inside(sizes: Tensor, padded: Sequence[int]) -> Tensor:
    """(n, h, w) bool, True in the first rows and columns."""
    rows, columns = (torch.arange(n, device=sizes.device) for n in padded)
    return (rows < sizes[:, :1])[:, :, None] & (columns < sizes[:, 1:])[:, None]


def _without_padding(values: Tensor, sizes: Tensor) -> PaddedRois:
    return PaddedRois(values * _inside(sizes, values.shape[-2:])[:, None], sizes)


def _sample_positions(boxes: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """(n, w) and (n, h) coordinates of samples that include both ends of the boxes."""
    rows, columns = _largest(sizes)
    intervals = (sizes - 1).clamp(min=1).flip(1)
    spacing = (boxes[:, 2:] - boxes[:, :2]) / intervals
    x, y = (
        boxes[:, axis, None] + torch.arange(n, device=boxes.device) * spacing[:, axis, None]
        for axis, n in ((0, columns), (1, rows))
    )
    return x, y


def _resize_weights(source: Tensor, target: Tensor, padded: int, dtype: torch.dtype) -> Tensor:
    """(n, largest target, padded) weights that resample one axis; rows of padding are zero."""
    cells = torch.arange(padded, device=source.device)
    wanted = torch.arange(int(target.max()) if len(target) else 0, device=source.device)
    # Positions in 16 bits would be off by whole pixels; weights may be rounded.
    ratio = (source.to(torch.promote_types(dtype, torch.float32)) / target)[:, None]
    positions = ((wanted + 0.5) * ratio - 0.5).clamp(min=0).minimum((source - 1)[:, None])
    weights = (1 - (positions[:, :, None] - cells).abs()).clamp(min=0)
    return (weights * (wanted < target[:, None])[:, :, None]).to(dtype)
