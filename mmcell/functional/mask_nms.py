"""Non-maximum suppression of masks that stay in their boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmcell.functional.ragged import ragged_arange

# Bounds the memory of one batch of pairs: about 50 bytes per shared pixel.
BATCH_PIXELS = 1 << 20


class MaskPairs(NamedTuple):
    """Pairs of masks whose boxes share pixels, each pair once.

    Attributes:
        first: (P,) int64.
        second: (P,) int64.
        iou: (P,) float.
    """

    first: Tensor
    second: Tensor
    iou: Tensor


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
    order = torch.argsort(scores, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    close = pairs.iou > iou_threshold
    first, second = pairs.first[close], pairs.second[close]
    in_order = rank[first] < rank[second]
    better, worse = first.where(in_order, second), second.where(in_order, first)
    # Everybody at once: whoever has no better neighbour left stays, its neighbours go.
    dropped = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    while True:
        waiting = torch.zeros_like(dropped)
        waiting[worse[~dropped[better]]] = True
        before = int(dropped.sum())
        dropped[worse[~(waiting | dropped)[better]]] = True
        if int(dropped.sum()) == before:
            return order[~dropped[order]]


def overlapping_mask_pairs(values: Tensor, boxes: Tensor) -> MaskPairs:
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
    first, second = _overlapping_boxes(boxes)
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
    return MaskPairs(first, second, (shared / union).where(union > 0, 0))


def _overlapping_boxes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of boxes that share pixels, without comparing all with all."""
    x1 = boxes[:, 0].contiguous()
    by_left = x1.argsort(stable=True)
    left = x1[by_left]
    # From the left: whoever starts before a box ends follows it in this list.
    ends = torch.searchsorted(left, boxes[by_left, 2].contiguous())
    following = torch.arange(1, len(boxes) + 1, device=boxes.device)
    owner, position = ragged_arange((ends - following).clamp(min=0))
    first, second = by_left[owner], by_left[following[owner] + position]
    low, high = (
        torch.maximum(boxes[first], boxes[second]),
        torch.minimum(boxes[first], boxes[second]),
    )
    overlap = (low[:, :2] < high[:, 2:]).all(1)
    return first[overlap], second[overlap]
