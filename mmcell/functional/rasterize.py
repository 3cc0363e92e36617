"""Polygons to COCO run lengths: the way back from :mod:`mmcell.functional.polygons`.

Pixel ``[row, column]`` is the unit square from ``(column, row)`` to ``(column + 1, row + 1)`` and
belongs to a polygon that holds its centre. A centre on an edge belongs to the polygon below the
edge, or to the right of it where the edge is vertical, so that polygons which share an edge share
no pixel and leave none between them. (shapely leaves such pixels out on both sides, OpenCV draws
them on both; contours of integer coordinates are full of them.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mmcell.functional.rle import IntArray, Rle, counts_to_rle, run_pixels

Ring = npt.ArrayLike


def polygons_to_rle(polygons: Sequence[Sequence[Ring]], size: tuple[int, int]) -> Rle:
    """Rasterise one object.

    Args:
        polygons: its pieces, which may overlap. Each is a list of rings, the outline and its holes
            in any order and direction (even-odd rule); each ring (K, 2) of x, y in pixels, closed
            or not. Parts outside the image are cut off.
        size: height, width of the image in pixels.

    Returns:
        A compressed RLE of ``size``, without pixels where no centre is inside.

    Raises:
        ValueError: If a ring has fewer than three points, or one that is not finite.
    """
    pieces = [_inside_runs(rings, size) for rings in polygons]
    starts = np.concatenate([np.zeros(0, np.int64), *(start for start, _ in pieces)])
    stops = np.concatenate([np.zeros(0, np.int64), *(stop for _, stop in pieces)])
    starts, stops = _union(starts, stops)
    edges = np.stack([starts, stops], axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=size[0] * size[1])
    return counts_to_rle(counts, size)


def _inside_runs(rings: Sequence[Ring], size: tuple[int, int]) -> tuple[IntArray, IntArray]:
    """Where runs of inner pixels start and stop, in column-major pixel numbers."""
    height, width = size
    column, y = _crossings(rings, width)
    # The first pixel whose centre, at row + 0.5, is not above the crossing.
    row = np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64)
    # Rings are closed, so every column has an even number of crossings: in, out, in, out.
    crossing = np.sort(column * height + row)
    start, stop = crossing[0::2], crossing[1::2]
    return start[stop > start], stop[stop > start]


def _crossings(rings: Sequence[Ring], width: int) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Every crossing of a ring with a line through the pixel centres of a column: column and y."""
    sides = np.concatenate([np.zeros((0, 4)), *map(_ring_sides, rings)])
    x1, y1, x2, y2 = sides.T
    first = np.clip(np.ceil(x1 - 0.5), 0, width).astype(np.int64)
    stop = np.clip(np.ceil(x2 - 0.5), 0, width).astype(np.int64)
    side = np.repeat(np.arange(len(sides)), stop - first)
    column = run_pixels(first, stop)
    slope = (y2[side] - y1[side]) / (x2[side] - x1[side])
    return column, y1[side] + (column + 0.5 - x1[side]) * slope


def _ring_sides(ring: Ring) -> npt.NDArray[np.float64]:
    """(K, 4) of x1, y1, x2, y2 with x1 <= x2, so that neighbours compute a shared side alike."""
    points = np.asarray(ring, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(
            f'a ring must be three or more x, y points, got an array of shape {points.shape}'
        )
    if not np.isfinite(points).all():
        raise ValueError('a ring has a point that is not finite')
    ends = np.roll(points, -1, axis=0)
    swapped = points[:, :1] > ends[:, :1]
    return np.concatenate(
        [np.where(swapped, ends, points), np.where(swapped, points, ends)], axis=1
    )


def _union(starts: IntArray, stops: IntArray) -> tuple[IntArray, IntArray]:
    """Runs that may overlap or touch, merged and in order."""
    edges = np.concatenate([starts, stops])
    steps = np.repeat([1, -1], [len(starts), len(stops)])
    order = np.argsort(edges, kind='stable')  # starts before stops at the same pixel
    depth = steps[order].cumsum()
    opens = (depth == 1) & (steps[order] == 1)
    return edges[order][opens], edges[order][depth == 0]
