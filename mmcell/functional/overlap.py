"""The sparse overlap table of two label maps: every score of an image is read from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Ids below this times the number of runs are looked up in an array instead of sorted.
ID_RANGE = 4


class OverlapTable(NamedTuple):
    """Areas of G ground-truth and P predicted objects, and the K pairs that share a pixel.

    Attributes:
        gt_ids: (G,) ids of the ground-truth objects, ascending; background 0 is not among them.
        pred_ids: (P,) ids of the predicted objects, ascending.
        gt_areas: (G,) pixels of each ground-truth object, > 0.
        pred_areas: (P,) pixels of each predicted object, > 0.
        gt_index: (K,) position of each pair's object in ``gt_ids``, ascending.
        pred_index: (K,) position in ``pred_ids``, ascending for equal ``gt_index``.
        intersections: (K,) pixels that the two share, > 0.
    """

    gt_ids: npt.NDArray[np.integer]
    pred_ids: npt.NDArray[np.integer]
    gt_areas: IntArray
    pred_areas: IntArray
    gt_index: IntArray
    pred_index: IntArray
    intersections: IntArray

    @property
    def n_gt(self) -> int:
        """Number of ground-truth objects."""
        return len(self.gt_ids)

    @property
    def n_pred(self) -> int:
        """Number of predicted objects."""
        return len(self.pred_ids)

    @property
    def unions(self) -> IntArray:
        """(K,) pixels that at least one of the two covers."""
        return self.gt_areas[self.gt_index] + self.pred_areas[self.pred_index] - self.intersections

    @property
    def ious(self) -> npt.NDArray[np.float64]:
        """(K,) intersection over union, in (0, 1]."""
        return self.intersections / self.unions

    @property
    def dices(self) -> npt.NDArray[np.float64]:
        """(K,) twice the intersection over the sum of the areas, in (0, 1]."""
        areas = self.gt_areas[self.gt_index] + self.pred_areas[self.pred_index]
        return 2 * self.intersections / areas

    @property
    def main_pairs_of_gt(self) -> IntArray:
        """For each ground-truth object that is overlapped, in order: its pair of largest overlap.

        Positions among the K pairs; of equal overlaps the one with the smallest id.
        """
        return _largest_of_each(self.gt_index, self.intersections)

    @property
    def main_pairs_of_pred(self) -> IntArray:
        """The same for each predicted object."""
        return _largest_of_each(self.pred_index, self.intersections)

    def select(self, keep_gt: BoolArray, keep_pred: BoolArray) -> OverlapTable:
        """The table of only some objects, as if the others had been background.

        Args:
            keep_gt: (G,) which ground-truth objects stay.
            keep_pred: (P,) which predicted objects stay.
        """
        pairs = keep_gt[self.gt_index] & keep_pred[self.pred_index]
        return OverlapTable(
            self.gt_ids[keep_gt],
            self.pred_ids[keep_pred],
            self.gt_areas[keep_gt],
            self.pred_areas[keep_pred],
            (keep_gt.cumsum() - 1)[self.gt_index[pairs]],
            (keep_pred.cumsum() - 1)[self.pred_index[pairs]],
            self.intersections[pairs],
        )


# What scores take as ground truth: a label map, or a table that needs no prediction beside it.
LabelMap = npt.ArrayLike | OverlapTable


def overlap_table(gt: LabelMap, pred: npt.ArrayLike | None = None) -> OverlapTable:
    """Count the pixels that each pair of objects shares.

    Args:
        gt: (H, W) integers, 0 = background; ids may have gaps and need no background beside them.
            A table is returned as it is, so that every score takes either.
        pred: (H, W) integers like ``gt``; None only where ``gt`` is a table.

    Raises:
        ValueError: If a map is not two-dimensional, not integer or negative somewhere, or if the
            two differ in size.
    """
    if isinstance(gt, OverlapTable):
        if pred is not None:
            raise ValueError('pred must be left out where an overlap table is given')
        return gt
    gt_map, pred_map = _label_map(gt, 'gt'), _label_map(pred, 'pred')
    if gt_map.shape != pred_map.shape:
        raise ValueError(
            f'gt and pred must have the same size, got {gt_map.shape} and {pred_map.shape} '
            '(height, width)'
        )
    gt_flat, pred_flat = gt_map.ravel(), pred_map.ravel()

    # Neighbouring pixels mostly belong to the same pair: counting runs of equal pairs leaves a
    # small fraction of the pixels to sort, whatever the ids are.
    changes = (gt_flat[1:] != gt_flat[:-1]) | (pred_flat[1:] != pred_flat[:-1])
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])[: gt_flat.size]
    lengths = np.diff(starts, append=gt_flat.size)
    gt_ids, gt_of_run, gt_areas = _objects(gt_flat[starts], lengths)
    pred_ids, pred_of_run, pred_areas = _objects(pred_flat[starts], lengths)

    shared = (gt_of_run >= 0) & (pred_of_run >= 0)
    pair_of_run = gt_of_run[shared] * len(pred_ids) + pred_of_run[shared]
    order = np.argsort(pair_of_run)
    ordered = pair_of_run[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    intersections = np.add.reduceat(lengths[shared][order], first) if len(first) else first
    pairs = ordered[first]
    gt_index, pred_index = np.divmod(pairs, max(len(pred_ids), 1))
    return OverlapTable(gt_ids, pred_ids, gt_areas, pred_areas, gt_index, pred_index, intersections)


def object_boxes(label_map: npt.ArrayLike) -> tuple[npt.NDArray[np.integer], IntArray]:
    """Ids of the objects of a label map, and the tight boxes around them.

    Args:
        label_map: (H, W) integers, 0 = background; ids may have gaps.

    Returns:
        ``ids`` (N,) ascending, and (N, 4) x1, y1, x2, y2 in pixels, right and bottom exclusive.

    Raises:
        ValueError: If the map is not two-dimensional, not integer or negative somewhere.
    """
    labels = _label_map(label_map, 'label_map')
    rows, columns = np.nonzero(labels)
    ids, owner = np.unique(labels[rows, columns], return_inverse=True)
    low = np.full((2, len(ids)), max(labels.shape))
    high = np.zeros((2, len(ids)), dtype=np.int64)
    for axis, positions in enumerate((columns, rows)):
        np.minimum.at(low[axis], owner, positions)
        np.maximum.at(high[axis], owner, positions + 1)
    return ids, np.concatenate([low, high]).T


def _label_map(label_map: npt.ArrayLike | None, name: str) -> npt.NDArray[np.integer]:
    """``label_map`` as an array, checked."""
    labels = np.asarray(label_map)
    if labels.dtype == bool:
        raise ValueError(
            f'{name} is a boolean mask, which does not tell objects apart: pass integer ids, e.g. '
            'from skimage.measure.label'
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f'{name} must hold integer object ids, got {labels.dtype}: convert ids that are whole '
            f'numbers with {name}.astype(np.int32)'
        )
    if labels.ndim != 2:
        raise ValueError(f'{name} must be one label map (height, width), got shape {labels.shape}')
    if labels.size and labels.min() < 0:
        raise ValueError(
            f'{name} must have ids >= 0, got {labels.min()}: give background and ignored pixels '
            'the id 0'
        )
    return labels


def _objects(
    values: npt.NDArray[np.integer], lengths: IntArray
) -> tuple[npt.NDArray[np.integer], IntArray, IntArray]:
    """Ids other than 0, the position among them of each run (-1: background), and their areas."""
    largest = int(values.max()) if len(values) else 0
    if largest < ID_RANGE * len(values):
        ids, numbers = np.arange(largest + 1).astype(values.dtype), values.astype(np.int64)
    else:
        ids, numbers = np.unique(values, return_inverse=True)
    # Exact in float64, since pixel counts stay far below 2^53.
    areas = np.bincount(numbers, lengths, minlength=len(ids)).astype(np.int64)
    present = (areas > 0) & (ids != 0)
    position = np.where(present, present.cumsum() - 1, -1)
    return ids[present], position[numbers], areas[present]


def _largest_of_each(index: IntArray, values: IntArray) -> IntArray:
    """Position of the largest value among those of equal index; of ties the first."""
    order = np.lexsort((-values, index))  # stable
    _, first = np.unique(index[order], return_index=True)
    return order[first]
