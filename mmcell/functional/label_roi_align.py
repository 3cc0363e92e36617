"""RoIAlign of object masks read straight from label layers, without one full-size mask per box."""

from __future__ import annotations

import torch
from torch import Tensor

# Sampling points handled at once: bounds the memory where a few boxes are very large.
_POINTS_PER_CHUNK = 4_000_000


def label_roi_align(
    layers: Tensor, layer_index: Tensor, ids: Tensor, boxes: Tensor, out_shape: tuple[int, int]
) -> Tensor:
    """What average RoIAlign gives on the binary mask of one object per box.

    Equal to ``mmcv.ops.roi_align(mask, box, out_shape, 1.0, 0, 'avg', aligned=True)``: each bin is
    the mean of ``ceil(box side / bins)`` bilinear samples per axis, pixel centres lie at halves,
    samples more than a pixel outside the image count as background. Time and memory follow the
    number of samples (about four reads per box pixel, at least four per bin), not P x H x W.

    Args:
        layers: (L, H, W) integer label layers, 0 = background.
        layer_index: (P,) int64, the layer on which the object of a box lies.
        ids: (P,) integer, the value of that object on its layer, > 0.
        boxes: (P, 4) float, x1, y1, x2, y2 in pixels with x2 >= x1 and y2 >= y1.
        out_shape: height and width of the result in bins.

    Returns:
        (P, *out_shape) of the boxes' dtype, in [0, 1]: the fraction of each bin that the object
        covers. A box without extent gives 0.
    """
    num_boxes = len(boxes)
    covered = boxes.new_zeros((num_boxes, *out_shape))
    sides = boxes[:, [3, 2]] - boxes[:, [1, 0]]
    samples_per_bin = torch.ceil(sides / sides.new_tensor(out_shape)).long()
    # Boxes of about the same size share their number of samples, hence one dense grid.
    grids, group = torch.unique(samples_per_bin, dim=0, return_inverse=True)
    for number, (grid_h, grid_w) in enumerate(grids.tolist()):
        if grid_h < 1 or grid_w < 1:
            continue
        points = out_shape[0] * grid_h * out_shape[1] * grid_w
        members = torch.nonzero(group == number).squeeze(1)
        for chunk in members.split(max(_POINTS_PER_CHUNK // points, 1)):
            covered[chunk] = _sample(
                layers, layer_index[chunk], ids[chunk], boxes[chunk], out_shape, (grid_h, grid_w)
            )
    return covered


def _sample(
    layers: Tensor,
    layer_index: Tensor,
    ids: Tensor,
    boxes: Tensor,
    out_shape: tuple[int, int],
    grid: tuple[int, int],
) -> Tensor:
    """`label_roi_align` for boxes that share the number of samples per bin, ``grid``."""
    (rows, rows_w), (cols, cols_w) = (
        _axis_samples(boxes[:, 1], boxes[:, 3], out_shape[0], grid[0], layers.shape[1]),
        _axis_samples(boxes[:, 0], boxes[:, 2], out_shape[1], grid[1], layers.shape[2]),
    )
    layer_index, ids = layer_index[:, None, None], ids[:, None, None]
    value = boxes.new_zeros(len(boxes), rows.shape[2], cols.shape[2])
    for row, row_w in zip(rows, rows_w, strict=True):
        for col, col_w in zip(cols, cols_w, strict=True):
            inside = layers[layer_index, row[:, :, None], col[:, None, :]] == ids
            value += row_w[:, :, None] * col_w[:, None, :] * inside
    bins = value.view(len(boxes), out_shape[0], grid[0], out_shape[1], grid[1])
    return bins.sum(dim=(2, 4)) / (grid[0] * grid[1])


def _axis_samples(
    start: Tensor, stop: Tensor, bins: int, per_bin: int, length: int
) -> tuple[Tensor, Tensor]:
    """Sampling points of all boxes along one axis.

    Returns:
        The two pixels on either side of a point, (2, P, bins * per_bin) int64, and their bilinear
        weights, the same shape; both weights are 0 for points off the image.
    """
    start, stop = start - 0.5, stop - 0.5  # pixel i has its centre at i + 0.5
    bin_size = ((stop - start) / bins)[:, None, None]
    bin_number = torch.arange(bins, device=start.device)[None, :, None]
    within_bin = torch.arange(per_bin, device=start.device)[None, None, :] + 0.5
    # Written as mmcv's operator writes it, so that ties at one half fall the same way.
    point = start[:, None, None] + bin_number * bin_size + within_bin * bin_size / per_bin
    point = point.flatten(1)
    on_image = ((point >= -1) & (point <= length)).to(point.dtype)
    point = point.clamp(0, length - 1)
    low = point.floor()
    weight_high = point - low
    low = low.long()
    pixels = torch.stack([low, (low + 1).clamp(max=length - 1)])
    return pixels, torch.stack([1 - weight_high, weight_high]) * on_image
