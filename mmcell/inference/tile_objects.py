"""What one tile hands over: its objects that are final, and those that neighbours may see, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mmcell.functional.patches import (
    BoxTuple,
    Patch,
    loose_patches,
    meeting_boxes,
    shared_box,
    tight,
    view,
)
from mmcell.functional.tiling import Tile, TilePlan
from mmcell.structures import FoundObjects

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


class Candidates(NamedTuple):
    """N objects of one tile whose fate neighbours have a say in; masks cut to the tile's region.

    Attributes:
        objects: the masks; they may overlap.
        whole: (N,) False where the region's border cuts the object.
        claimed: (N,) whether the centre of its box lies in the tile's core.
        witness: (N,) True for objects that are no candidates: they overlap one, and are here so
            that a neighbour's view of them is not taken for a view of the candidate.
    """

    objects: FoundObjects
    whole: BoolArray
    claimed: BoolArray
    witness: BoolArray


class TileResult:
    """The objects of one tile, in image coordinates.

    Pickles with masks as bits in one piece, since thousands of small arrays take long.

    Attributes:
        index: of the tile.
        settled: final objects, no pixel shared, that no other tile sees.
        candidates: all others that matter.
        pixels: (h, w, C) stored pixels of the tile's region; None if there are no objects.
        corner: x, y of its upper left pixel in the image.
    """

    def __init__(
        self,
        index: int,
        settled: FoundObjects,
        candidates: Candidates,
        pixels: npt.NDArray[Any] | None,
        corner: tuple[int, int],
    ):
        self.index = index
        self.settled = settled
        self.candidates = candidates
        self.pixels = pixels
        self.corner = corner

    def __reduce__(self) -> tuple[Any, ...]:
        objects, *flags = self.candidates
        packed = [_pack(self.settled), _pack(objects)]
        # Part of an array is pickled element by element, which takes 50 times as long.
        pixels = None if self.pixels is None else np.ascontiguousarray(self.pixels)
        return _unpickle, (self.index, *packed, flags, pixels, self.corner)


def priority(objects: FoundObjects) -> IntArray:
    """Positions of the objects, first who gets a shared pixel first.

    The higher rank; of equal ranks the box that begins further up, then further left, then ends
    further up, then further left. Nothing in it depends on how the image is divided.
    """
    x1, y1, x2, y2 = objects.boxes.T
    return np.lexsort((x2, y2, x1, y1, -objects.ranks.astype(np.float64)))


def sort_out(found: FoundObjects, tile: Tile, plan: TilePlan) -> tuple[FoundObjects, Candidates]:
    """Divide what was found in a tile's window into final objects and candidates.

    Final are whole objects with their centre in the core where no other tile's region reaches:
    these are flattened here, in parallel. Candidates are whole objects with their centre in the
    core or within ``plan.margin`` around it, and cut objects that reach the core: those exceed the
    overlap. What else there is belongs to other tiles entirely.

    Args:
        found: in image coordinates; may overlap.
        tile: the tile.
        plan: of the image.
    """
    found = tightened(found)
    boxes, core = found.boxes, np.array(tile.core)
    twice_centre = boxes[:, :2] + boxes[:, 2:]
    claimed = _inside(twice_centre, 2 * core)
    near = _inside(twice_centre, 2 * (core + plan.margin * np.array([-1, -1, 1, 1])))
    whole = _whole(boxes, tile, plan.size)
    reaches = (boxes[:, :2] < core[2:]).all(1) & (boxes[:, 2:] > core[:2]).all(1)
    candidate = np.where(whole, near, reaches)
    inner = np.array(tile.inner)
    final = (
        whole & claimed & (boxes[:, :2] >= inner[:2]).all(1) & (boxes[:, 2:] <= inner[2:]).all(1)
    )

    doubtful = np.flatnonzero(candidate & ~final)
    others = np.flatnonzero(~candidate)
    witness = others[_overlapped(found[others], found[doubtful], tile.region)]
    members = np.concatenate([doubtful, witness])
    open_objects, filled = _cut_to(found[members], tile.region)
    members = members[filled]

    settled, covered, is_changed = _flattened(found[final], tile.region)
    above = open_objects[candidate[members]]
    above = above[_touching(above, covered, tile.region)]
    entangled = _overlapped(settled, above, tile.region)
    extra = settled[entangled]
    settled = settled[~entangled] if entangled.any() else settled
    return tightened(settled) if is_changed else settled, Candidates(
        FoundObjects.cat([open_objects, extra]),
        np.concatenate([whole[members], np.ones(len(extra), bool)]),
        np.concatenate([claimed[members], np.ones(len(extra), bool)]),
        np.concatenate([~candidate[members], np.zeros(len(extra), bool)]),
    )


def _inside(points: IntArray, box: IntArray) -> BoolArray:
    return ((points >= box[:2]) & (points < box[2:])).all(axis=1)


def _whole(boxes: IntArray, tile: Tile, size: tuple[int, int]) -> BoolArray:
    """Which objects end inside the region, as far as the window shows."""
    region, window = np.array(tile.region), np.array(tile.window)
    # An object that touches the window's border may go on behind it, unless the image ends there.
    low = np.where(window[:2] > 0, np.maximum(region[:2], window[:2] + 1), region[:2])
    ends = np.array([size[1], size[0]])
    high = np.where(window[2:] < ends, np.minimum(region[2:], window[2:] - 1), region[2:])
    return (boxes[:, :2] >= low).all(axis=1) & (boxes[:, 2:] <= high).all(axis=1)


def tightened(objects: FoundObjects) -> FoundObjects:
    """Boxes without empty rows and columns, and no empty masks."""
    loose = loose_patches(objects.patches, objects.boxes)
    if len(loose) == 0:
        return objects
    return _replaced(objects, loose, [tight(*_mask(objects, k)) for k in loose])


def _cut_to(objects: FoundObjects, region: BoxTuple) -> tuple[FoundObjects, BoolArray]:
    """Masks inside a region, and which objects have a pixel there."""
    boxes, limits = objects.boxes, np.array(region)
    outside = (boxes[:, :2] < limits[:2]).any(axis=1) | (boxes[:, 2:] > limits[2:]).any(axis=1)
    crossing = np.flatnonzero(outside)
    parts = []
    for k in crossing:
        patch, box = _mask(objects, k)
        shared = shared_box(box, region)
        is_empty = shared[0] >= shared[2] or shared[1] >= shared[3]
        parts.append((patch[:0, :0], box) if is_empty else tight(view(patch, box, shared), shared))
    filled = np.ones(len(objects), dtype=bool)
    filled[crossing] = [patch.size > 0 for patch, _ in parts]
    return _replaced(objects, crossing, parts), filled


def _replaced(
    objects: FoundObjects, positions: IntArray, masks: Sequence[tuple[Patch, BoxTuple]]
) -> FoundObjects:
    """The objects with other masks at ``positions``, without those that are empty now."""
    boxes, patches = objects.boxes.copy(), list(objects.patches)
    for k, (patch, box) in zip(positions, masks, strict=True):
        boxes[k], patches[k] = box, patch
    kept = np.ones(len(objects), dtype=bool)
    kept[positions] = [patch.size > 0 for patch, _ in masks]
    return objects.with_columns(boxes=boxes, patches=patches)[kept]


def _mask(objects: FoundObjects, k: int) -> tuple[Patch, BoxTuple]:
    return objects.patches[k], tuple(objects.boxes[k].tolist())


def _overlapped(objects: FoundObjects, by: FoundObjects, region: BoxTuple) -> BoolArray:
    """Which objects share a pixel inside the region with one of ``by``."""
    overlapped = np.zeros(len(objects), dtype=bool)
    for k, other in zip(*meeting_boxes(objects.boxes, by.boxes), strict=True):
        if overlapped[k]:
            continue
        patch, box = _mask(objects, k)
        rival, rival_box = _mask(by, other)
        shared = shared_box(shared_box(box, rival_box), region)
        if shared[0] < shared[2] and shared[1] < shared[3]:
            overlapped[k] = (view(patch, box, shared) & view(rival, rival_box, shared)).any()
    return overlapped


def _flattened(objects: FoundObjects, region: BoxTuple) -> tuple[FoundObjects, BoolArray, bool]:
    """Objects that share no pixel, in their old boxes; the region's foreground; any change."""
    shape = region[3] - region[1], region[2] - region[0]
    corners = _corners(objects, region)
    patches = list(objects.patches)
    # Where nothing overlaps, bits tell so, and no label map is needed.
    covered = np.zeros(shape, dtype=bool)
    for patch, x1, y1, x2, y2 in zip(patches, *corners.T.tolist(), strict=True):
        covered[y1:y2, x1:x2] |= patch
    total = np.count_nonzero(np.concatenate(patches, axis=None)) if patches else 0
    if np.count_nonzero(covered) == total:
        return objects, covered, False
    labels = np.zeros(shape, dtype=np.int32)
    order = priority(objects)[::-1]  # the best is drawn last
    for k, x1, y1, x2, y2 in zip(order.tolist(), *corners[order].T.tolist(), strict=True):
        labels[y1:y2, x1:x2][patches[k]] = k + 1
    visible = np.bincount(labels.ravel(), minlength=len(objects) + 1)[1:]
    for k in np.flatnonzero(visible < objects.areas).tolist():
        x1, y1, x2, y2 = corners[k].tolist()
        patches[k] = labels[y1:y2, x1:x2] == k + 1
    columns = (objects.scores, objects.classes, objects.ids, objects.ranks)
    return FoundObjects(objects.boxes, patches, *columns), covered, True


def _touching(objects: FoundObjects, covered: BoolArray, region: BoxTuple) -> BoolArray:
    """Which objects have a pixel in the region's foreground."""
    corners = _corners(objects, region).T.tolist()
    touches = [
        (covered[y1:y2, x1:x2] & patch).any()
        for patch, x1, y1, x2, y2 in zip(objects.patches, *corners, strict=True)
    ]
    return np.array(touches, dtype=bool)


def _corners(objects: FoundObjects, region: BoxTuple) -> IntArray:
    """(N, 4) boxes in the region's pixels."""
    return objects.boxes - [region[0], region[1], region[0], region[1]]


def _pack(objects: FoundObjects) -> tuple[Any, ...]:
    """Columns, masks as bits one after the other."""
    patches = objects.patches
    bits = np.packbits(np.concatenate(patches, axis=None)) if patches else np.zeros(0, np.uint8)
    return objects.boxes, bits, objects.scores, objects.classes, objects.ids, objects.ranks


def _unpack(
    boxes: IntArray, bits: npt.NDArray[np.uint8], *columns: npt.NDArray[Any]
) -> FoundObjects:
    sides = boxes[:, 2:] - boxes[:, :2]
    ends = sides.prod(axis=1).cumsum()
    values = np.unpackbits(bits, count=int(ends[-1]) if len(ends) else 0).view(bool)
    spans = zip(ends.tolist(), sides.tolist(), strict=True)
    patches = [values[end - w * h : end].reshape(h, w) for end, (w, h) in spans]
    return FoundObjects(boxes, patches, *columns)


def _unpickle(
    index: int,
    settled: tuple[Any, ...],
    candidates: tuple[Any, ...],
    flags: Sequence[BoolArray],
    pixels: npt.NDArray[Any] | None,
    corner: tuple[int, int],
) -> TileResult:
    objects = Candidates(_unpack(*candidates), *flags)
    return TileResult(index, _unpack(*settled), objects, pixels, corner)
