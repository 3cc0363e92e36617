"""Outlines of objects along pixel edges, so that a polygon's area is its mask's area.

Outlines through pixel centres lose half a pixel all around (22 % of the area at a radius of four
pixels). Here pixel ``[row, column]`` is the unit square from ``(column, row)`` to
``(column + 1, row + 1)``, and a ring runs along the sides where object meets anything else.

Connectivity: pieces are 4-connected, so pixels that touch only at a corner are two pieces, and
background pixels that touch only at a corner inside one piece are two holes. This is the one choice
under which no ring passes twice through a point, which valid polygons (OGC simple features) forbid;
rings of one polygon may still meet in single points, which they allow.
"""

from itertools import pairwise

import numpy as np
from skimage.measure import label as label_components

Rings = tuple[np.ndarray, list[np.ndarray]]

# Sides of a pixel in the clockwise order in which a ring walks around it: top, right, bottom,
# left. Offsets are (row, column).
_NEIGHBOUR = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
_AHEAD_RIGHT = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
_AHEAD_LEFT = _NEIGHBOUR + _AHEAD_RIGHT
_START_CORNER = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])


def trace_polygons(mask: np.ndarray, offset: tuple[float, float] = (0, 0)) -> list[Rings]:
    """Trace the outlines of one object.

    Args:
        mask: (h, w), bool.
        offset: ``(x, y)`` of the mask's upper left corner, in pixels.

    Returns:
        One ``(exterior, holes)`` per 4-connected piece, in the order in which the rows meet them.
        Rings are (K, 2) float64 arrays of x, y in pixels, corners only, not closed (the first point
        is not repeated); on screen, with y downwards, exteriors run clockwise and holes
        counter-clockwise.

    Raises:
        ValueError: If ``mask`` is not two-dimensional.
    """
    return label_map_to_polygons(np.asarray(mask, dtype=bool), offset).get(1, [])


def label_map_to_polygons(
    label_map: np.ndarray, offset: tuple[float, float] = (0, 0)
) -> dict[int, list[Rings]]:
    """Trace the outlines of all objects of a label map, in one pass over its pixels.

    Args:
        label_map: (H, W), integer or bool, 0 is background; ids may have gaps.
        offset: ``(x, y)`` of the map's upper left corner, in pixels.

    Returns:
        ``{id: polygons}`` in ascending order of ids, polygons as in :func:`trace_polygons`.

    Raises:
        ValueError: If ``label_map`` is not two-dimensional.
    """
    label_map = np.asarray(label_map)
    if label_map.ndim != 2:
        raise ValueError(f'expected a two-dimensional array, got shape {label_map.shape}')
    pieces = label_components(np.pad(label_map, 1).astype(np.int64), connectivity=1, background=0)
    sides, successor = _piece_sides(pieces)
    if not len(sides):
        return {}
    walk, ring_starts = _walk_rings(successor)

    piece, side, row, column = sides[walk].T
    x = column + _START_CORNER[side, 1] - 1 + offset[0]  # -1: the padding
    y = row + _START_CORNER[side, 0] - 1 + offset[1]
    previous, following = _neighbours_in_ring(len(walk), ring_starts)
    double_areas = np.add.reduceat(x * y[following] - x[following] * y, ring_starts)

    is_corner = side != side[previous]
    corners = np.stack([x, y], axis=1)[is_corner].astype(np.float64)
    corner_starts = np.concatenate([[0], np.cumsum(is_corner)])[ring_starts]
    bounds = [*corner_starts.tolist(), len(corners)]
    rings = [corners[first:last] for first, last in pairwise(bounds)]  # np.split takes its time

    polygons: dict[int, Rings] = {}
    is_exterior = double_areas > 0
    ring_pieces = piece[ring_starts]
    for k in np.flatnonzero(is_exterior):
        polygons[int(ring_pieces[k])] = (rings[k], [])
    for k in np.flatnonzero(~is_exterior):
        polygons[int(ring_pieces[k])][1].append(rings[k])

    piece_ids = label_map[row[ring_starts] - 1, column[ring_starts] - 1]
    id_of_piece = dict(zip(ring_pieces.tolist(), piece_ids.tolist(), strict=True))
    by_id: dict[int, list[Rings]] = {int(i): [] for i in np.unique(piece_ids)}
    for number in sorted(polygons):
        by_id[int(id_of_piece[number])].append(polygons[number])
    return by_id


def _piece_sides(pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the outer sides of all pieces, and for each the side where its ring goes on.

    Args:
        pieces: (H + 2, W + 2) int, numbered 4-connected pieces with a frame of zeros.

    Returns:
        (E, 4) of ``piece, side, row, column``, and (E,) indices into it. Walking along a side in
        its direction, the piece lies on the right.
    """
    width = pieces.shape[1]
    flat = pieces.ravel()
    inner = pieces[1:-1, 1:-1]
    beside = (pieces[:-2, 1:-1], pieces[1:-1, 2:], pieces[2:, 1:-1], pieces[1:-1, :-2])
    is_outer = np.stack([(inner != other) & (inner != 0) for other in beside], axis=-1)
    row, column, side = np.nonzero(is_outer)
    row, column = row + 1, column + 1
    pixel = row * width + column
    piece = flat[pixel]
    # The side after this one begins at its end, between the two pixels ahead. Preferring the left
    # turn is what keeps rings simple where a piece meets itself in a corner.
    ahead_left = pixel + (_AHEAD_LEFT @ (width, 1))[side]
    ahead_right = pixel + (_AHEAD_RIGHT @ (width, 1))[side]
    turns_left = flat[ahead_left] == piece
    goes_straight = ~turns_left & (flat[ahead_right] == piece)
    next_pixel = np.where(turns_left, ahead_left, np.where(goes_straight, ahead_right, pixel))
    next_side = (side + np.where(turns_left, -1, np.where(goes_straight, 0, 1))) % 4
    successor = np.searchsorted(pixel * 4 + side, next_pixel * 4 + next_side)
    return np.stack([piece, side, row, column], axis=1), successor


def _walk_rings(successor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decompose a permutation into its cycles, all of them at once by doubling steps.

    Returns:
        All indices in walking order, one cycle after the other, each from its smallest index on,
        and where each cycle starts.
    """
    first = np.arange(len(successor))  # the smallest index of the next 1, 2, 4, ... steps
    jump = successor
    while (first != first[successor]).any():
        first = np.minimum(first, first[jump])
        jump = jump[jump]

    to_first = (first != np.arange(len(successor))).astype(np.int64)  # steps, 0 at the first
    jump = np.where(to_first, successor, first)
    while (jump != first).any():
        to_first += to_first[jump]
        jump = jump[jump]

    lengths = np.bincount(first, minlength=len(successor))
    starts = lengths.cumsum() - lengths
    walk = np.empty_like(first)
    walk[starts[first] + np.where(to_first, lengths[first] - to_first, 0)] = np.arange(len(first))
    return walk, starts[lengths > 0]


def _neighbours_in_ring(length: int, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the previous and the next element, cyclic within each ring."""
    ends = np.append(starts[1:], length) - 1
    previous = np.arange(length) - 1
    following = np.arange(length) + 1
    previous[starts] = ends
    following[ends] = starts
    return previous, following
