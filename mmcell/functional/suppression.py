"""Non-maximum suppression without comparing every box with every other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmcell.functional.ragged import ragged_arange

# Bounds the memory of one batch of candidates: about 100 bytes each.
BATCH_PAIRS = 1 << 18


class OverlapPairs(NamedTuple):
    """Pairs of objects that overlap, each pair once.

    Attributes:
        first: (P,) int64.
        second: (P,) int64.
        iou: (P,) float.
    """

    first: Tensor
    second: Tensor
    iou: Tensor


def box_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Drop every box that overlaps with a better one that stays.

    The result is that of the greedy algorithm, which compares all N x N boxes. Here the work
    follows the number of boxes that meet: thousands of small objects do not meet each other.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        scores: (N,); of equal scores the earlier box is the better.
        iou_threshold: boxes are dropped if their IoU is > this.

    Returns:
        Indices of the boxes that stay, the best first.

    Raises:
        ValueError: If there is not one score per box.
    """
    if len(scores) != len(boxes):
        raise ValueError(f'got {len(boxes)} boxes but {len(scores)} scores')
    pairs = overlapping_boxes(boxes, iou_threshold)
    return suppress(pairs.first, pairs.second, scores)


def suppress(first: Tensor, second: Tensor, scores: Tensor) -> Tensor:
    """From the best on, keep whoever is not paired with one that is kept already.

    Args:
        first: (P,) int64.
        second: (P,) int64.
        scores: (N,); of equal scores the earlier is the better.

    Returns:
        Indices of those that stay, the best first.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    in_order = rank[first] < rank[second]
    better, worse = first.where(in_order, second), second.where(in_order, first)
    # Everybody at once: whoever has no better neighbour left stays, its neighbours go.
    dropped = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    while True:
        waiting = torch.zeros_like(dropped)
        waiting[worse[~dropped[better]]] = True
        before = int(dropped.sum())
        dropped[worse[~(waiting | dropped)[better]]] = True
        if int(dropped.sum()) == before:
            return order[~dropped[order]]


def overlapping_boxes(boxes: Tensor, iou_threshold: float = 0.0) -> OverlapPairs:
    """All pairs of boxes whose IoU is > ``iou_threshold``, without comparing all with all.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        iou_threshold: >= 0.
    """
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    if len(boxes):
        x_extent, y_extent = (boxes[:, 2:].amax(0) - boxes[:, :2].amin(0)).tolist()
        if y_extent > x_extent:  # along the longer side fewer boxes start close to each other
            boxes = boxes[:, [1, 0, 3, 2]]
    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)
    by_left = x1.argsort(stable=True)
    # The intersection has more than this part of each area, hence of each width: partners to the
    # right start before the rest of it. A little less strict, as floats are rounded.
    latest = (x2 - 0.99 * iou_threshold * (x2 - x1))[by_left]
    ends = torch.searchsorted(x1[by_left], latest, right=True)
    following = torch.arange(1, len(boxes) + 1, device=boxes.device)
    counts = (ends - following).clamp(min=0)
    batch = counts.cumsum(0) // BATCH_PAIRS
    found = [OverlapPairs(by_left[:0], by_left[:0], areas[:0])]
    for number in batch.unique():
        rows = torch.nonzero(batch == number).flatten()
        owner, position = ragged_arange(counts[rows])
        row = rows[owner]
        first, second = by_left[row], by_left[row + 1 + position]
        height = torch.minimum(y2[first], y2[second]) - torch.maximum(y1[first], y1[second])
        # Most candidates lie above or below; the rest of the work is for those that do not.
        meet = torch.nonzero(height > 0).flatten()
        first, second, height = first[meet], second[meet], height[meet]
        width = (torch.minimum(x2[first], x2[second]) - x1[second]).clamp(min=0)
        shared = width * height
        iou = shared / (areas[first] + areas[second] - shared)
        close = iou > iou_threshold
        found.append(OverlapPairs(first[close], second[close], iou[close]))
    return OverlapPairs(*(torch.cat(parts) for parts in zip(*found, strict=True)))
