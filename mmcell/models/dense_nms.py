"""NMS of boxes for images with thousands of objects."""

from __future__ import annotations

import sys

import torch
from mmcv.ops import batched_nms, nms
from torch import Tensor

from mmcell.functional.suppression import box_nms


def dense_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    offset: int = 0,
    score_threshold: float = 0,
    max_num: int = -1,
) -> tuple[Tensor, Tensor]:
    """:func:`mmcv.ops.nms` whose time on a CPU follows the boxes that meet, not all N x N pairs.

    Configs name it where they name the other: ``nms=dict(type='dense_nms', iou_threshold=0.7)``.
    Of equal scores the earlier box is the better; mmcv's order is open there. On a GPU, whose
    threads share the pairs, and with an ``offset`` mmcv's own runs.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: boxes are dropped if their IoU with a better one that stays is > this.
        offset: 0, or 1 where the last pixel belongs to the box.
        score_threshold: if > 0, only boxes with a score > this take part.
        max_num: if > 0, the most boxes that stay.

    Returns:
        Boxes with scores (K, 5) and their indices (K,), the best first.
    """
    if offset != 0 or boxes.is_cuda:
        return nms(boxes, scores, iou_threshold, offset, score_threshold, max_num)
    if score_threshold > 0:
        taking_part = torch.nonzero(scores > score_threshold).flatten()
        kept = taking_part[box_nms(boxes[taking_part], scores[taking_part], iou_threshold)]
    else:
        kept = box_nms(boxes, scores, iou_threshold)
    if max_num > 0:
        kept = kept[:max_num]
    return torch.cat([boxes[kept], scores[kept, None]], dim=1), kept


# There batched_nms, which MMDetection's heads call, looks up the type that a config names.
sys.modules[batched_nms.__module__].dense_nms = dense_nms  # type: ignore[attr-defined]
