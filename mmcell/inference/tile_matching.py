"""Which object of one tile and which of another are two views of the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmcell.functional.patches import BoxTuple, Patch, meeting_boxes, shared_box, view

# Two views are of one object if, inside both tiles' regions, they share at least this fraction of
# what either of them covers.
SAME_IOU = 0.5
# A cut object without a partner belongs to what covers at least this fraction of its part in the
# other region: one tile may see two ends of an object that is one in the other.
SAME_COVER = 0.75


class Views(NamedTuple):
    """N objects as one or more tiles see them.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2 in image pixels.
        patches: (N,) masks in them.
        ranks: (N,).
        classes: (N,).
        cut: (N,) whether the region's border cuts them.
        witness: (N,) whether they are no candidates.
        regions: (N,) what the tile that sees each answers for.
        tiles: (N,) its number.
    """

    boxes: npt.NDArray[np.int64]
    patches: Sequence[Patch]
    ranks: Sequence[float]
    classes: Sequence[int]
    cut: Sequence[bool]
    witness: Sequence[bool]
    regions: Sequence[BoxTuple]
    tiles: Sequence[int]


class Match(NamedTuple):
    """Object ``first`` of one tile is object ``second`` of others.

    Attributes:
        first: position.
        second: position.
        is_part: one of them is but a part of the other, which may have more than one in that tile.
    """

    first: int
    second: int
    is_part: bool


class _Pair(NamedTuple):
    first: int
    second: int
    iou: float
    cover_first: float  # fraction of the first that the second covers
    cover_second: float
    difference: tuple[float, bool]


def match_views(newer: Views, older: Views) -> list[Match]:
    """Match the objects of one tile with those of earlier ones.

    One-to-one between any two tiles, the highest IoU first. Where objects overlap, two of them may
    look the same inside both regions; then equal ranks and classes tell.

    Args:
        newer: the objects of one tile.
        older: of any others.
    """
    first, second = meeting_boxes(newer.boxes, older.boxes)
    new_boxes, old_boxes = newer.boxes.tolist(), older.boxes.tolist()
    pairs = []
    for k, m in zip(first.tolist(), second.tolist(), strict=True):
        pair = _compare(newer, k, new_boxes[k], older, m, old_boxes[m])
        if pair is not None:
            pairs.append(pair)
    pairs.sort(key=lambda pair: (-pair.iou, pair.difference, pair.first, pair.second))
    matches, has_partner, is_partner = [], set(), set()
    for pair in pairs:
        k, m = pair.first, pair.second
        if pair.iou < SAME_IOU or (k, older.tiles[m]) in has_partner or m in is_partner:
            continue
        if not (newer.witness[k] and older.witness[m]):
            matches.append(Match(k, m, is_part=False))
        has_partner.add((k, older.tiles[m]))
        is_partner.add(m)
    for pair in pairs:
        k, m = pair.first, pair.second
        if newer.witness[k] or older.witness[m]:
            continue
        new_part = newer.cut[k] and (k, older.tiles[m]) not in has_partner
        old_part = older.cut[m] and m not in is_partner
        if (new_part and pair.cover_first >= SAME_COVER) or (
            old_part and pair.cover_second >= SAME_COVER
        ):
            matches.append(Match(k, m, is_part=True))
    return matches


def _compare(
    newer: Views, k: int, box: BoxTuple, older: Views, m: int, other_box: BoxTuple
) -> _Pair | None:
    """How much two objects share of what both tiles' regions hold of them; None if nothing."""
    patch, other = newer.patches[k], older.patches[m]
    both = shared_box(box, other_box)
    shared = np.count_nonzero(view(patch, box, both) & view(other, other_box, both))
    if not shared:
        return None
    region = shared_box(newer.regions[k], older.regions[m])
    area = _area(patch, box, region)
    other_area = _area(other, other_box, region)
    difference = abs(newer.ranks[k] - older.ranks[m]), newer.classes[k] != older.classes[m]
    iou = shared / (area + other_area - shared)
    return _Pair(k, m, iou, shared / area, shared / other_area, difference)


def _area(patch: Patch, box: BoxTuple, region: BoxTuple) -> int:
    return np.count_nonzero(view(patch, box, shared_box(box, region)))
