"""Non-maximum suppression of masks that stay in their boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcell.functional.ragged import ragged_arange
from mmcell.functional.suppression import OverlapPairs, overlapping_boxes, suppress

# Bounds the memory of one batch of pairs: about 50 bytes per shared pixel.
BATCH_PIXELS = 1 << 20


def mask_nms(values: Tensor, boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Drop every mask that overlaps with a better one that stays.

    Args:
        values: (G,) pixels of all N masks, each mask's row by row over its box, one mask after the
            other. Bool, or fractions in [0, 1].
        boxes: (N, 4) int64, x1, y1, x2, y2, half-open.
        scores: (N,); of equal scores the earlier mask is the better.
        iou_threshold: masks are dropped if their IoU is > this.

    Returns:
        Indices of the masks that stay, the best first.

    Raises:
        ValueError: If sizes do not fit.
    """
    if len(scores) != len(boxes):
        raise ValueError(f'got {len(boxes)} boxes but {len(scores)} scores')
    pairs = overlapping_mask_pairs(values, boxes)
    close = pairs.iou > iou_threshold
    return suppress(pairs.first[close], pairs.second[close], scores)


def overlapping_mask_pairs(values: Tensor, boxes: Tensor) -> OverlapPairs:
    """IoU of all masks whose boxes share pixels; all other pairs have none.

    Args:
        values: (G,), see :func:`mask_nms`. Of fractions a and b, a * b is shared.
        boxes: (N, 4) int64, x1, y1, x2, y2, half-open.

    Raises:
        ValueError: If there is not one value per pixel.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    lengths = sides.prod(1)
    if int(lengths.sum()) != len(values):
        raise ValueError(f'boxes have {int(lengths.sum())} pixels, got {len(values)} values')
    values = values.float()
    owner, _ = ragged_arange(lengths)
    areas = values.new_zeros(len(boxes)).index_add(0, owner, values)
    starts = lengths.cumsum(0) - lengths
    first, second, _ = overlapping_boxes(boxes)
    corner = torch.maximum(boxes[first, :2], boxes[second, :2])
    width, height = (torch.minimum(boxes[first, 2:], boxes[second, 2:]) - corner).unbind(1)
    shared = areas.new_zeros(len(first))
    batch = (width * height).cumsum(0) // BATCH_PIXELS
    for number in batch.unique():
        chunk = torch.nonzero(batch == number).flatten()
        pair, position = ragged_arange((width * height)[chunk])
        pair = chunk[pair]
        place = corner[pair] + torch.stack([position % width[pair], position // width[pair]], dim=1)
        product = torch.ones_like(pair, dtype=values.dtype)
        for members in (first, second):
            mask = members[pair]
            x, y = (place - boxes[mask, :2]).unbind(1)
            product = product * values[starts[mask] + y * sides[mask, 0] + x]
        shared = shared.index_add(0, pair, product)
    union = areas[first] + areas[second] - shared
    return OverlapPairs(first, second, (shared / union).where(union > 0, 0))
