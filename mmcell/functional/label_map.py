"""From masks on their box grids to pixels: label maps and run lengths, box by box."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmcell.functional.ragged import (
    pixel_boxes,
    ragged_arange,
    resample_into_boxes,
    similar_size_batches,
)

# Bounds the memory of one batch: about 30 bytes per pixel.
BATCH_PIXELS = 1 << 19


class MaskPixels(NamedTuple):
    """Foreground pixels of many masks as one flat list of T entries.

    Attributes:
        owner: (T,) int64, index of the mask that an entry belongs to.
        x: (T,) int64, image column.
        y: (T,) int64, image row.
    """

    owner: Tensor
    x: Tensor
    y: Tensor


def pad_grids(values: Tensor, grid_sizes: Tensor, members: Tensor) -> Tensor:
    """Grids of different size as one tensor, padded with zeros at the bottom and right.

    Args:
        values: (G,) the cells of all N grids, row by row, one grid after the other.
        grid_sizes: (N, 2) int64, rows and columns.
        members: (n,) int64, the grids to take.

    Returns:
        (n, h, w), with h and w the largest number of rows and columns among ``members``.
    """
    if bool((grid_sizes == grid_sizes[0]).all()):
        return values.view(len(grid_sizes), *grid_sizes[0].tolist()).index_select(0, members)
    lengths = grid_sizes.prod(1)
    starts = (lengths.cumsum(0) - lengths)[members]
    sizes, lengths = grid_sizes[members], lengths[members]
    rows, columns = sizes.amax(0).tolist()
    owner, position = ragged_arange(lengths)
    row = position // sizes[owner, 1]
    padded = values.new_zeros(len(members), rows, columns)
    padded[owner, row, position - row * sizes[owner, 1]] = values[starts[owner] + position]
    return padded


def foreground_pixels(
    values: Tensor,
    grid_sizes: Tensor,
    boxes: Tensor,
    image_size: tuple[int, int],
    threshold: float,
    *,
    column_major: bool = False,
) -> Iterator[MaskPixels]:
    """The pixels inside the image where a mask is at or above ``threshold``.

    Sampled as in MMDetection's paste: bilinear in the box grid with half-pixel centres and zeros
    around the grid.

    Args:
        values: (G,) the cells of all N grids, row by row, one grid after the other.
        grid_sizes: (N, 2) int64, rows and columns of each grid.
        boxes: (N, 4) float, x1, y1, x2, y2 in pixels that the grids span.
        image_size: height and width in pixels.
        threshold: a pixel belongs to a mask if its value is >= this.
        column_major: walk down the columns of a box instead of along its rows.

    Yields:
        Batches of bounded size. All pixels of a mask are in one batch, next to each other; masks
        come in any order.
    """
    _, clipped = pixel_boxes(boxes, image_size)
    for batch in similar_size_batches(clipped, max_pixels=BATCH_PIXELS):
        grids = pad_grids(values, grid_sizes, batch)
        sizes = grid_sizes[batch]
        # A padded grid spans a larger box: what lies beyond the true grid is zero anyway.
        corners, extents = boxes[batch, :2], boxes[batch, 2:] - boxes[batch, :2]
        stretch = sizes.new_tensor(grids.shape[1:]) / sizes
        spans = torch.cat([corners, corners + extents * stretch.flip(1)], dim=1)
        patches, x, y, inside = resample_into_boxes(
            grids[:, None], spans, clipped[batch], replicate=False
        )
        foreground = (patches[:, 0] >= threshold) & inside
        x, y = x[:, None, :].expand_as(foreground), y[:, :, None].expand_as(foreground)
        if column_major:
            foreground, x, y = (t.transpose(1, 2) for t in (foreground, x, y))
        # One-dimensional selections take a fraction of the time of boolean or several indices.
        chosen = foreground.flatten().nonzero().squeeze(1)
        yield MaskPixels(
            owner=batch.repeat_interleave(foreground.sum((1, 2)), output_size=len(chosen)),
            x=x.flatten().index_select(0, chosen),
            y=y.flatten().index_select(0, chosen),
        )


def flatten_to_label_map(
    owner: Tensor, flat: Tensor, scores: Tensor, num_pixels: int, min_visible: float = 0.0
) -> Tensor:
    """Give every pixel to the best-scored mask above it.

    Args:
        owner: (T,) int64, the mask of each entry.
        flat: (T,) int64, the pixel of each entry.
        scores: (N,) float; of equal scores the earlier mask is the better one.
        num_pixels: P, pixels in the image.
        min_visible: masks of which less than this fraction stays visible are dropped, the best
            first; their pixels go to the masks below.

    Returns:
        (P,) int32, 0 is background, k + 1 the k-th mask.

    Source: PFFNet (IEEE TIP 2021), eq. 6 and the sentence below it; ``min_visible`` is in the
    authors' code (0.3), not in the paper.
    """
    num_masks = len(scores)
    # Rank 1 is the worst mask, so that "the better one wins" is a maximum.
    order = torch.argsort(scores, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(num_masks, 0, -1, device=order.device)
    pixel_rank = rank.index_select(0, owner)
    top = pixel_rank.new_zeros(num_pixels).scatter_reduce_(0, flat, pixel_rank, 'amax')
    if min_visible > 0:
        total = torch.bincount(owner, minlength=num_masks)
        visible = torch.bincount(top, minlength=num_masks + 1)[rank]
        least = min_visible * total.double()  # 0.3 of 50 pixels is 15, not 15.000001
        doubtful = visible < least
        if doubtful.any():
            required = torch.where(doubtful, least, 0)
            top = _drop_hidden(owner, flat, pixel_rank, required, num_pixels)
    lookup = torch.cat([order.new_zeros(1), order.flip(0) + 1]).int()
    return lookup.index_select(0, top)


def _drop_hidden(
    owner: Tensor, flat: Tensor, pixel_rank: Tensor, required: Tensor, num_pixels: int
) -> Tensor:
    """Best rank above each pixel (P,), after dropping masks of which too little is visible.

    Dropping a mask uncovers others and hides none, so masks that were visible enough stay: only
    those that were not, with ``required`` (N,) pixels above 0, are looked at again.
    """
    alive = required > 0
    entry = alive.index_select(0, owner)
    kept = pixel_rank.new_zeros(num_pixels).scatter_reduce_(
        0, flat, pixel_rank.where(~entry, 0), 'amax'
    )
    # On from here with these masks and the pixels below them alone.
    chosen = entry.nonzero().squeeze(1)
    owner, pixel_rank, flat = (t.index_select(0, chosen) for t in (owner, pixel_rank, flat))
    pixels, flat = flat.unique(return_inverse=True)
    below = kept[pixels]
    while True:
        entry = alive[owner]
        top = below.scatter_reduce(0, flat[entry], pixel_rank[entry], 'amax')
        visible = torch.bincount(owner[pixel_rank == top[flat]], minlength=len(required))
        hidden = alive & (visible < required)
        if not hidden.any():
            kept[pixels] = top
            return kept
        # A hidden mask below another hidden one may resurface: drop only those with none above.
        entry = hidden[owner]
        rivals = torch.zeros_like(below).scatter_reduce_(0, flat[entry], pixel_rank[entry], 'amax')
        covered = torch.bincount(owner[rivals[flat] > pixel_rank], minlength=len(required)) > 0
        alive &= covered | ~hidden


def column_runs(pixels: MaskPixels, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """Runs of consecutive pixels in column-major order, the order of COCO's run lengths.

    Args:
        pixels: foreground pixels of one or more masks, each mask's in column-major order.
        height: rows of the image.

    Returns:
        ``owner``, ``start`` and ``end`` (exclusive) of each run, (R,) int64 each; ``start`` and
        ``end`` count pixels down the columns of the whole image.
    """
    position = pixels.x * height + pixels.y
    joined = (position[1:] == position[:-1] + 1) & (pixels.owner[1:] == pixels.owner[:-1])
    edge = joined.new_ones(1)
    if len(position) == 0:
        return pixels.owner, position, position
    first, last = torch.cat([edge, ~joined]), torch.cat([~joined, edge])
    return pixels.owner[first], position[first], position[last] + 1
