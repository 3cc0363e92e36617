"""Objects as center keypoints: heatmap targets, peaks, and boxes decoded from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcell.functional.ragged import ragged_arange


class CenterTargets(NamedTuple):
    """What a center keypoint head should have predicted, for a batch of images.

    Attributes:
        heatmap: (B, C, H, W), 1 at centers, Gaussian blobs around them, 0 elsewhere.
        sizes: (M, 2), width and height in pixels of the heatmap.
        offsets: (M, 2), x and y of the center less its ``cells``, in [0, 1).
        cells: (M, 2) int64, column x and row y of the center on the heatmap.
        batch_index: (M,) int64, image of each center.
        box_index: (M,) int64, which of the given boxes each center belongs to.
    """

    heatmap: Tensor
    sizes: Tensor
    offsets: Tensor
    cells: Tensor
    batch_index: Tensor
    box_index: Tensor


class CenterDetections(NamedTuple):
    """Decoded boxes of a batch: by image, and the best first within an image.

    Attributes:
        boxes: (M, 4), x1, y1, x2, y2 in image pixels; not clipped.
        scores: (M,), the heatmap at the center.
        labels: (M,) int64, the heatmap's channel.
        batch_index: (M,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    batch_index: Tensor


def gaussian_radius(
    heights: Tensor, widths: Tensor, min_overlap: float = 0.7, *, published: bool = False
) -> Tensor:
    """How far a box's corners may move for its IoU with the true box to stay at ``min_overlap``.

    Args:
        heights: (N,) of the true boxes.
        widths: (N,) of the true boxes.
        min_overlap: in (0, 1).
        published: solve the three quadratics as the authors' program does, without the leading
            coefficient: 2.8 times the radius at an overlap of 0.7.

    Returns:
        (N,) radii in the unit of the sides, the smallest over both corners moved the same way,
        inward, and outward.

    Source: Law & Deng, CornerNet, ECCV 2018, whose radius Yi et al. (IEEE TMI 2021) adopt.
    """
    around, area = heights + widths, heights * widths
    alike = (1.0, -around, area * (1 - min_overlap) / (1 + min_overlap))
    inward = (4.0, -2 * around, area * (1 - min_overlap))
    outward = (4 * min_overlap, 2 * min_overlap * around, -area * (1 - min_overlap))
    roots = []
    for (a, b, c), sign in ((alike, -1), (inward, -1), (outward, 1)):
        discriminant = (b.square() - 4 * a * c).sqrt()
        roots.append((discriminant - b) / 2 if published else (sign * discriminant - b) / (2 * a))
    return torch.stack(roots).amin(0)


def center_targets(
    boxes: Tensor,
    labels: Tensor,
    batch_index: Tensor,
    heatmap_shape: tuple[int, int, int, int],
    stride: int = 4,
    min_overlap: float = 0.7,
    *,
    published: bool = False,
) -> CenterTargets:
    """Heatmap, sizes and offsets at the centers of boxes.

    A blob is exp(-d^2 / (2 sigma^2)), sigma = radius / 3, cut off at the radius; of overlapping
    blobs the higher value counts.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in image pixels.
        labels: (N,) int64, heatmap channel of each box.
        batch_index: (N,) int64, image of each box.
        heatmap_shape: B, C, H, W.
        stride: image pixels per heatmap pixel.
        min_overlap: see :func:`gaussian_radius`.
        published: radii as in the authors' program: of sides rounded up, with its formula,
            truncated to r whole pixels, sigma = (2 r + 1) / 6.

    Returns:
        Targets in the order of the boxes; boxes without area, or with their center outside the
        heatmap, have none.

    Source: Yi et al., IEEE TMI 2021, II-A and eq. 4. The paper rounds centers to the nearest cell;
    this takes the cell that a center lies in, as the program does.
    """
    _, num_channels, height, width = heatmap_shape
    scaled = boxes.float() / stride
    sizes, centers = scaled[:, 2:] - scaled[:, :2], (scaled[:, 2:] + scaled[:, :2]) / 2
    cells = centers.floor().long()
    on_map = (cells >= 0) & (cells < cells.new_tensor([width, height]))
    kept = torch.nonzero(on_map.all(1) & (sizes > 0).all(1)).flatten()
    sizes, centers, cells = sizes[kept], centers[kept], cells[kept]
    measured = sizes.ceil() if published else sizes
    radius = gaussian_radius(measured[:, 1], measured[:, 0], min_overlap, published=published)
    reach = radius.long()
    sigma = (2 * reach + 1) / 6 if published else radius / 3
    # The (2 reach + 1)^2 pixels around every center, one list for all.
    side = 2 * reach + 1
    owner, position = ragged_arange(side.square())
    dx = position % side[owner] - reach[owner]
    dy = position // side[owner] - reach[owner]
    x, y = cells[owner, 0] + dx, cells[owner, 1] + dy
    values = torch.exp(-(dx.square() + dy.square()) / (2 * sigma[owner].square()))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    plane = (batch_index[kept] * num_channels + labels[kept])[owner]
    flat = ((plane * height + y) * width + x)[inside]
    heatmap = values.new_zeros(heatmap_shape).view(-1)
    heatmap = heatmap.scatter_reduce(0, flat, values[inside], 'amax').view(heatmap_shape)
    return CenterTargets(heatmap, sizes, centers - cells, cells, batch_index[kept], kept)


def decode_centers(
    heatmap: Tensor,
    sizes: Tensor,
    offsets: Tensor,
    stride: int = 4,
    max_per_image: int = 500,
    threshold: float = 0.3,
) -> CenterDetections:
    """Boxes at the peaks of center heatmaps.

    A peak equals the maximum of its 3 x 3 neighbourhood (all pixels of a plateau are peaks).

    Args:
        heatmap: (B, C, H, W) probabilities.
        sizes: (B, 2, H, W), width and height in heatmap pixels.
        offsets: (B, 2, H, W), x and y from a pixel's corner to the center.
        stride: image pixels per heatmap pixel.
        max_per_image: keep at most this many of the highest peaks, all if it is not positive; of
            equal ones those that come first by channel, row, column.
        threshold: keep peaks > this.

    Source: Yi et al., IEEE TMI 2021, II-A.1 and II-A.4.
    """
    peaks = (F.max_pool2d(heatmap, 3, stride=1, padding=1) == heatmap) & (heatmap > threshold)
    image, label, y, x = torch.nonzero(peaks).unbind(1)
    scores = heatmap[image, label, y, x]
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[torch.argsort(image[order], stable=True)]
    if max_per_image > 0:
        _, rank = ragged_arange(torch.bincount(image, minlength=len(heatmap)))
        order = order[rank < max_per_image]
    image, label, y, x = image[order], label[order], y[order], x[order]
    centers = torch.stack([x, y], dim=1) + offsets[image, :, y, x]
    half = sizes[image, :, y, x] / 2
    boxes = torch.cat([centers - half, centers + half], dim=1) * stride
    return CenterDetections(boxes, scores[order], label, image)
