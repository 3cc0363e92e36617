"""Masks in their boxes, two at a time: what they share, what one leaves of the other.

A patch is a boolean array (y2 - y1, x2 - x1), a box x1, y1, x2, y2 in whole pixels of the image.
Boxes go as tuples of ints where a function takes one pair: they are called for many small pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from mmcell.functional.rle import numbers_within

Patch = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
BoxTuple = tuple[int, int, int, int]


def meeting_boxes(first: IntArray, second: IntArray) -> tuple[IntArray, IntArray]:
    """Pairs of boxes that share pixels.

    Args:
        first: (N, 4).
        second: (M, 4).

    Returns:
        Two (K,) arrays, positions in ``first`` (ascending) and in ``second`` (ascending for each
        of ``first``).
    """
    boxes = shapely.box(*first.T), shapely.box(*second.T)
    rows, columns = shapely.STRtree(boxes[1]).query(boxes[0])  # also those that touch only
    one, other = first[rows], second[columns]
    meets = ((one[:, :2] < other[:, 2:]) & (one[:, 2:] > other[:, :2])).all(axis=1)
    rows, columns = rows[meets], columns[meets]
    order = np.lexsort((columns, rows))
    return rows[order], columns[order]


def shared_box(first: BoxTuple, second: BoxTuple) -> BoxTuple:
    """What two boxes share; empty (``x1 >= x2`` or ``y1 >= y2``) if nothing."""
    return (
        max(first[0], second[0]),
        max(first[1], second[1]),
        min(first[2], second[2]),
        min(first[3], second[3]),
    )


def view(patch: Patch, box: BoxTuple, region: BoxTuple) -> Patch:
    """The part of a patch inside ``region``, a box inside ``box``; writing to it is possible."""
    x1, y1, x2, y2 = region
    return patch[y1 - box[1] : y2 - box[1], x1 - box[0] : x2 - box[0]]


def tight(patch: Patch, box: BoxTuple) -> tuple[Patch, BoxTuple]:
    """Without empty rows and columns around it; (0, 0) and an empty box if no pixel is left."""
    rows, columns = np.flatnonzero(patch.any(axis=1)), np.flatnonzero(patch.any(axis=0))
    if len(rows) == 0:
        return patch[:0, :0], (box[0], box[1], box[0], box[1])
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    region = (box[0] + left, box[1] + top, box[0] + right, box[1] + bottom)
    return patch[top:bottom, left:right], region


def loose_patches(patches: Sequence[Patch], boxes: IntArray) -> IntArray:
    """Positions of the patches with an empty outer row or column, or without a pixel.

    Args:
        patches: N of them.
        boxes: (N, 4).
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    lengths = height * width
    full = np.flatnonzero(lengths)
    loose = lengths == 0
    if len(full):
        values = np.concatenate(patches, axis=None)
        height, width, lengths = height[full], width[full], lengths[full]
        starts = lengths.cumsum() - lengths
        for first, step, count in (
            (starts, 1, width),
            (starts + lengths - width, 1, width),
            (starts, width, height),
            (starts + width - 1, width, height),
        ):
            loose[full] |= ~_any_along(values, first, step, count)
    return np.flatnonzero(loose)


def _any_along(
    values: Patch, first: IntArray, step: IntArray | int, count: IntArray
) -> npt.NDArray[np.bool_]:
    """Whether each of N strided runs of ``count`` > 0 values holds a True."""
    entries = np.repeat(first, count) + numbers_within(count) * np.repeat(
        np.broadcast_to(step, count.shape), count
    )
    return np.logical_or.reduceat(values[entries], count.cumsum() - count)
