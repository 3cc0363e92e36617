"""Distances between the objects of two label maps, without one mask per object."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmcell.functional.overlap import IntArray, object_boxes, overlap_table

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FloatArray = npt.NDArray[np.float64]

# Bounds the memory of one batch of distances: about 100 bytes per pixel.
BATCH_PIXELS = 1 << 18
# A query of the tree costs more the farther away the answer is. For an object of so many pixels, if
# it fills so much of the box around both, a distance transform of that box is quicker.
WIDE_PIXELS = 4096
WIDE_FILL = 1 / 16
DIRECTIONS = 16


def object_hausdorff(gt: npt.ArrayLike, pred: npt.ArrayLike) -> float:
    """Hausdorff distance of each object to its partner, weighted by area, both ways averaged.

    The partner is the object of largest overlap (ties: the smallest id); for an object that
    overlaps none, the nearest by Hausdorff distance. Distances are between pixel centres, over all
    pixels of the two objects.

    Args:
        gt: (H, W) integers, 0 = background; ids may have gaps.
        pred: (H, W) integers like ``gt``.

    Returns:
        In pixels, >= 0; NaN if both maps are empty, the image diagonal if only one is.

    Source: Sirinukunwattana et al., GlaS challenge, Medical Image Analysis 35 (2017) 489-502.
    """
    table = overlap_table(gt, pred)
    gt_map, pred_map = np.asarray(gt), np.asarray(pred)
    if table.n_gt == 0 or table.n_pred == 0:
        nothing = table.n_gt + table.n_pred == 0
        return float('nan') if nothing else math.hypot(*gt_map.shape)
    gt_objects = _Objects(gt_map, table.gt_ids, table.gt_areas)
    pred_objects = _Objects(pred_map, table.pred_ids, table.pred_areas)

    of_gt, of_pred = table.main_pairs_of_gt, table.main_pairs_of_pred
    pairs = np.union1d(of_gt, of_pred)
    distances = np.zeros(len(table.gt_index))
    distances[pairs] = _hausdorff(
        gt_objects, pred_objects, table.gt_index[pairs], table.pred_index[pairs]
    )
    gt_distances = np.full(table.n_gt, np.nan)
    gt_distances[table.gt_index[of_gt]] = distances[of_gt]
    pred_distances = np.full(table.n_pred, np.nan)
    pred_distances[table.pred_index[of_pred]] = distances[of_pred]

    lone_gt, lone_pred = np.isnan(gt_distances), np.isnan(pred_distances)
    gt_distances[lone_gt] = _nearest(gt_objects, pred_objects, np.flatnonzero(lone_gt))
    pred_distances[lone_pred] = _nearest(pred_objects, gt_objects, np.flatnonzero(lone_pred))
    return float(
        np.average(gt_distances, weights=table.gt_areas) / 2
        + np.average(pred_distances, weights=table.pred_areas) / 2
    )


class _Objects:
    """The pixels of the N objects of one label map, object after object.

    Args:
        label_map: (H, W) integers.
        ids: (N,) ascending, those of all objects.
        areas: (N,) pixels of each.
    """

    def __init__(
        self, label_map: npt.NDArray[np.integer], ids: npt.NDArray[np.integer], areas: IntArray
    ) -> None:
        self.label_map, self.ids, self.areas = label_map, ids, areas
        self.starts = areas.cumsum() - areas
        flat = label_map.ravel()
        pixels = np.flatnonzero(flat)
        # Positions in the flattened map, (sum of areas,).
        self.pixels = pixels[np.argsort(flat[pixels], kind='stable')]

    @cached_property
    def boxes(self) -> IntArray:
        """(N, 4) x1, y1, x2, y2 in pixels, right and bottom exclusive."""
        return object_boxes(self.label_map)[1]

    @cached_property
    def _edge(self) -> tuple[IntArray, IntArray]:
        """Owner and position of the pixels that have one of another object, or none, beside them.

        From any point outside an object its nearest pixel is one of these.
        """
        labels = self.label_map
        edge = np.ones(labels.shape, dtype=bool)
        middle = labels[1:-1, 1:-1]
        edge[1:-1, 1:-1] = (
            (middle != labels[:-2, 1:-1])
            | (middle != labels[2:, 1:-1])
            | (middle != labels[1:-1, :-2])
            | (middle != labels[1:-1, 2:])
        )
        kept = edge.ravel()[self.pixels]
        return np.repeat(np.arange(len(self.ids)), self.areas)[kept], self.pixels[kept]

    @cached_property
    def tree(self) -> cKDTree:
        """Edge pixels of all objects, to be asked with :meth:`points`."""
        from scipy.spatial import cKDTree

        return cKDTree(self.points(*self._edge))

    def points(self, owner: IntArray, pixels: IntArray) -> FloatArray:
        """(n, 3) coordinates in which the objects lie in layers too far apart to meet.

        So one tree serves all objects: what is nearest to a point on the layer of an object is a
        pixel of that object.
        """
        height, width = self.label_map.shape
        row, column = np.divmod(pixels, width)
        return np.stack([owner * (height + width), row, column], axis=1).astype(np.float64)

    @cached_property
    def supports(self) -> FloatArray:
        """(N, DIRECTIONS) how far each object reaches, in pixels, seen in each direction."""
        owner, pixels = self._edge
        row, column = np.divmod(pixels, self.label_map.shape[1])
        first = np.searchsorted(owner, np.arange(len(self.ids)))
        angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
        reaches = (column * np.cos(angle) + row * np.sin(angle) for angle in angles)
        return np.stack([np.maximum.reduceat(reach, first) for reach in reaches], axis=1)


def _hausdorff(a: _Objects, b: _Objects, a_index: IntArray, b_index: IntArray) -> FloatArray:
    """(K,) Hausdorff distances between objects of ``a`` and of ``b``, pair by pair."""
    return np.maximum(_farthest(a, b, a_index, b_index), _farthest(b, a, b_index, a_index))


def _farthest(a: _Objects, b: _Objects, a_index: IntArray, b_index: IntArray) -> FloatArray:
    """(K,) the largest distance from a pixel of the one object to the other object."""
    farthest = np.zeros(len(a_index))
    wide = a.areas[a_index] >= WIDE_PIXELS
    for k in np.flatnonzero(wide):
        box = _box_around(a.boxes[a_index[k]], b.boxes[b_index[k]])
        inside = a.label_map[box] == a.ids[a_index[k]]
        wide[k] = a.areas[a_index[k]] >= WIDE_FILL * inside.size
        if wide[k]:
            farthest[k] = _farthest_inside(inside, b.label_map[box] == b.ids[b_index[k]])
    few = np.flatnonzero(~wide)
    farthest[few] = _farthest_by_tree(a, b, a_index[few], b_index[few])
    return farthest


def _box_around(first: IntArray, second: IntArray) -> tuple[slice, slice]:
    """Rows and columns of the smallest box that holds two boxes (x1, y1, x2, y2)."""
    x1, y1 = np.minimum(first[:2], second[:2])
    x2, y2 = np.maximum(first[2:], second[2:])
    return slice(y1, y2), slice(x1, x2)


def _farthest_inside(a_mask: npt.NDArray[np.bool_], b_mask: npt.NDArray[np.bool_]) -> float:
    """The largest distance from a pixel of one mask to the other mask."""
    from scipy.ndimage import distance_transform_edt

    return float(distance_transform_edt(~b_mask)[a_mask].max())


def _farthest_by_tree(a: _Objects, b: _Objects, a_index: IntArray, b_index: IntArray) -> FloatArray:
    """As :func:`_farthest`; best for small objects."""
    farthest = np.zeros(len(a_index))
    stops = a.areas[a_index].cumsum()
    first_pixels = a.starts[a_index] - (stops - a.areas[a_index])
    other_map = b.label_map.ravel()
    for begin in range(0, int(stops[-1]) if len(stops) else 0, BATCH_PIXELS):
        entry = np.arange(begin, min(begin + BATCH_PIXELS, stops[-1]))
        pair = np.searchsorted(stops, entry, side='right')
        pixels = a.pixels[first_pixels[pair] + entry]
        outside = other_map[pixels] != b.ids[b_index[pair]]  # shared pixels are at distance 0
        pixels, pair = pixels[outside], pair[outside]
        distances, _ = b.tree.query(b.points(b_index[pair], pixels))
        np.maximum.at(farthest, pair, distances)
    return farthest


def _nearest(a: _Objects, b: _Objects, a_index: IntArray) -> FloatArray:
    """(K,) Hausdorff distance from objects of ``a`` to the nearest object of ``b``.

    Two objects are at least as far apart as their reaches in any direction differ: that leaves few
    candidates.
    """
    from scipy.spatial import cKDTree

    if len(a_index) == 0:
        return np.zeros(0)
    bounds, reaches = cKDTree(b.supports), a.supports[a_index]
    _, guess = bounds.query(reaches, p=np.inf)
    nearest = _hausdorff(a, b, a_index, guess)
    closer = bounds.query_ball_point(reaches, nearest + 1e-6, p=np.inf)  # 1e-6: rounding
    owner = np.repeat(np.arange(len(a_index)), [len(found) for found in closer])
    candidates = np.concatenate(closer).astype(np.int64)
    other = candidates != guess[owner]
    owner, candidates = owner[other], candidates[other]
    np.minimum.at(nearest, owner, _hausdorff(a, b, a_index[owner], candidates))
    return nearest
