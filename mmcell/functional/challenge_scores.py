"""Scores of the Data Science Bowl 2018 and of the Cell Tracking Challenge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmcell.functional.overlap import LabelMap, overlap_table
from mmcell.functional.ranked_precision import IOU_THRESHOLDS

FloatArray = npt.NDArray[np.float64]


def dsb_score(
    gt: LabelMap,
    pred: npt.ArrayLike | None = None,
    thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> float:
    """Score of the Data Science Bowl 2018: mean of :func:`dsb_precisions` over the thresholds.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.
        thresholds: IoU, each in [0.5, 1).

    Returns:
        In [0, 1]; NaN if both maps are empty.
    """
    return float(dsb_precisions(gt, pred, thresholds).mean())


def dsb_precisions(
    gt: LabelMap,
    pred: npt.ArrayLike | None = None,
    thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> FloatArray:
    """TP / (TP + FP + FN) at each threshold; pairs match at IoU strictly above it.

    Also called 'average precision' or 'accuracy' by cellpose and StarDist, which match at >=.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.
        thresholds: IoU, each in [0.5, 1), where matches are unique.

    Returns:
        (T,) in [0, 1]; NaN if both maps are empty.

    Raises:
        ValueError: If a threshold lies outside.
    """
    limits = np.asarray(thresholds, dtype=np.float64)
    if not (limits.ndim == 1 and limits.size and ((limits >= 0.5) & (limits < 1)).all()):
        raise ValueError(f'thresholds must be numbers in [0.5, 1), got {thresholds}')
    table = overlap_table(gt, pred)
    if table.n_gt + table.n_pred == 0:
        return np.full(len(limits), np.nan)
    tp = (table.ious > limits[:, None]).sum(1)
    return tp / (table.n_gt + table.n_pred - tp)


class CtcCounts(NamedTuple):
    """What SEG and DET of the Cell Tracking Challenge are made of; adds up over images.

    Attributes:
        ns: splits that predictions need: ground-truth objects found by one prediction, less one.
        fn: ground-truth objects of which no prediction covers more than half.
        fp: predictions that cover more than half of no ground-truth object.
        n_gt: ground-truth objects.
        sum_iou: IoU of the ground-truth objects that are found, added up.
    """

    ns: int
    fn: int
    fp: int
    n_gt: int
    sum_iou: float

    @property
    def seg(self) -> float:
        """Mean IoU over all ground-truth objects, a missed one counting 0."""
        if self.n_gt == 0:
            return 0.0 if self.fp else float('nan')
        return self.sum_iou / self.n_gt

    @property
    def det(self) -> float:
        """1 - AOGM-D / AOGM-D0: cost of mending the detections over that of adding them all."""
        if self.n_gt == 0:
            return 0.0 if self.fp else float('nan')
        # The weights are those of the challenge: split 5, add 10, delete 1.
        return 1 - min((5 * self.ns + 10 * self.fn + self.fp) / (10 * self.n_gt), 1.0)


def ctc_counts(gt: LabelMap, pred: npt.ArrayLike | None = None) -> CtcCounts:
    """Match as the Cell Tracking Challenge: the prediction that covers > 0.5 of an object.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Source: Ulman et al., Nature Methods 14 (2017) 1141-1152; Matula et al., PLoS ONE 10 (2015)
    e0144959 (AOGM).
    """
    table = overlap_table(gt, pred)
    found = 2 * table.intersections > table.gt_areas[table.gt_index]
    n_found, n_used = int(found.sum()), len(np.unique(table.pred_index[found]))
    return CtcCounts(
        ns=n_found - n_used,
        fn=table.n_gt - n_found,
        fp=table.n_pred - n_used,
        n_gt=table.n_gt,
        sum_iou=float(table.ious[found].sum()),
    )


def ctc_seg(gt: LabelMap, pred: npt.ArrayLike | None = None) -> float:
    """SEG of the Cell Tracking Challenge for one image: see :func:`ctc_counts`.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Returns:
        In [0, 1]; NaN if both maps are empty, 0 if only one is.
    """
    return ctc_counts(gt, pred).seg


def ctc_det(gt: LabelMap, pred: npt.ArrayLike | None = None) -> float:
    """DET of the Cell Tracking Challenge for one image: see :func:`ctc_counts`.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Returns:
        In [0, 1]; NaN if both maps are empty, 0 if only one is.
    """
    return ctc_counts(gt, pred).det
