"""Scores of a predicted label map against the ground truth, usable with any tool.

Every function takes two label maps (0 = background; ids need not be contiguous) or, in their
place, one :class:`~mmcell.functional.overlap.OverlapTable` that serves them all; distances need the
maps, and ranked precision takes confidences besides. Where neither map holds an object there is
nothing to measure and scores are NaN; where only one does, they are 0. ``__all__`` lists everything
that this and its neighbouring modules offer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmcell.functional.assignment import best_assignment, greedy_assignment
from mmcell.functional.challenge_scores import (
    CtcCounts,
    ctc_counts,
    ctc_det,
    ctc_seg,
    dsb_precisions,
    dsb_score,
)
from mmcell.functional.object_distances import object_hausdorff
from mmcell.functional.overlap import IntArray, LabelMap, OverlapTable, object_boxes, overlap_table
from mmcell.functional.ranked_precision import (
    IOU_THRESHOLDS,
    PairIous,
    RankedMatches,
    average_precision,
    box_ious,
    mean_matched_iou,
    pair_ious,
    ranked_matches,
    rle_ious,
)

__all__ = [
    'aji',
    'aji_plus',
    'dice',
    'object_f1',
    'object_f1_counts',
    'panoptic_quality',
    'pq_from_sums',
    'symmetric_best_dice',
    'object_dice',
    'object_hausdorff',
    'count_difference',
    'dsb_score',
    'dsb_precisions',
    'ctc_seg',
    'ctc_det',
    'ctc_counts',
    'average_precision',
    'mean_matched_iou',
    'ranked_matches',
    'pair_ious',
    'box_ious',
    'rle_ious',
    'object_boxes',
    'overlap_table',
    'CtcCounts',
    'MatchCounts',
    'PairIous',
    'PanopticQuality',
    'OverlapTable',
    'RankedMatches',
    'IOU_THRESHOLDS',
]


class PanopticQuality(NamedTuple):
    """Panoptic quality and what it is made of.

    Attributes:
        dq: detection quality, TP / (TP + FP/2 + FN/2), in [0, 1].
        sq: segmentation quality, mean IoU of the matches, in (0.5, 1]; NaN without a match.
        pq: dq * sq, in [0, 1]; 0 without a match.
        tp: matched pairs.
        fp: predicted objects without a match.
        fn: ground-truth objects without a match.
    """

    dq: float
    sq: float
    pq: float
    tp: int
    fp: int
    fn: int


class MatchCounts(NamedTuple):
    """Objects found, wrongly predicted, and missed."""

    tp: int
    fp: int
    fn: int


def aji(gt: LabelMap, pred: npt.ArrayLike | None = None, exclusive: bool = True) -> float:
    """Aggregated Jaccard index, greedy in the order of ground-truth ids.

    Each ground-truth object takes the prediction of best IoU among those that overlap it (ties: the
    smallest id). AJI is the sum of the intersections over the sum of the unions; the areas of
    objects that found no partner, on either side, are added to the latter.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.
        exclusive: a prediction serves one ground-truth object at most, as in the PFFNet papers.
            False lets it serve several, as in Kumar's Algorithm 1 and the MoNuSeg script.

    Returns:
        In [0, 1]; NaN if both maps are empty.

    Source: Kumar et al., IEEE TMI 36 (2017) 1550-1560. The authors' code of PFFNet gives prediction
    1 to an object whose own predictions are all taken, so its value depends on the numbering.
    """
    table = overlap_table(gt, pred)
    # Within a ground-truth object by descending IoU; lexsort is stable, so ties stay in id order.
    order = np.lexsort((-table.ious, table.gt_index))
    if exclusive:
        return _aggregated_jaccard(table, greedy_assignment(table, order))
    _, first = np.unique(table.gt_index[order], return_index=True)
    return _aggregated_jaccard(table, order[first])


def aji_plus(gt: LabelMap, pred: npt.ArrayLike | None = None) -> float:
    """Aggregated Jaccard index over the one-to-one assignment that maximises the sum of IoU.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Returns:
        In [0, 1]; NaN if both maps are empty.

    Source: Graham et al., HoVer-Net, Medical Image Analysis 58 (2019) 101563.
    """
    table = overlap_table(gt, pred)
    return _aggregated_jaccard(table, best_assignment(table))


def dice(gt: LabelMap, pred: npt.ArrayLike | None = None) -> float:
    """Dice coefficient of the foregrounds: pixels, not objects.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Returns:
        In [0, 1]; NaN if both maps are empty.
    """
    table = overlap_table(gt, pred)
    area = table.gt_areas.sum() + table.pred_areas.sum()
    return float(2 * table.intersections.sum() / area) if area else float('nan')


def object_f1(gt: LabelMap, pred: npt.ArrayLike | None = None) -> float:
    """F1 score of finding objects: 2 TP / (2 TP + FP + FN) of :func:`object_f1_counts`.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Returns:
        In [0, 1]; NaN if both maps are empty.
    """
    tp, fp, fn = object_f1_counts(gt, pred)
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else float('nan')


def object_f1_counts(gt: LabelMap, pred: npt.ArrayLike | None = None) -> MatchCounts:
    """Predictions that cover more than half of a ground-truth object.

    Each prediction is compared with the one object it shares most pixels with (ties: the smallest
    id) and is right if it covers > 0.5 of that object's area.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Source: Sirinukunwattana et al., GlaS challenge, Medical Image Analysis 35 (2017) 489-502.
    """
    table = overlap_table(gt, pred)
    main = table.main_pairs_of_pred
    tp = int((2 * table.intersections[main] > table.gt_areas[table.gt_index[main]]).sum())
    return MatchCounts(tp, table.n_pred - tp, table.n_gt - tp)


def panoptic_quality(gt: LabelMap, pred: npt.ArrayLike | None = None) -> PanopticQuality:
    """Panoptic quality of one class: pairs match at IoU > 0.5, which makes the match unique.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Returns:
        ``dq``, ``sq``, ``pq``, ``tp``, ``fp``, ``fn``; the scores are NaN if both maps are empty.

    Source: Kirillov et al., Panoptic Segmentation, CVPR 2019, eq. 2.
    """
    table = overlap_table(gt, pred)
    # In whole numbers, so that an IoU of exactly one half is no match.
    matched = 2 * table.intersections > table.unions
    tp = int(matched.sum())
    return pq_from_sums(tp, table.n_pred - tp, table.n_gt - tp, float(table.ious[matched].sum()))


def pq_from_sums(tp: int, fp: int, fn: int, sum_iou: float) -> PanopticQuality:
    """Panoptic quality from counts, of one image or added up over many ('pooled').

    Args:
        tp: matched pairs.
        fp: predicted objects without a match.
        fn: ground-truth objects without a match.
        sum_iou: IoU of the matched pairs, added up.
    """
    nan = float('nan')
    if tp + fp + fn == 0:
        return PanopticQuality(nan, nan, nan, tp, fp, fn)
    dq = tp / (tp + fp / 2 + fn / 2)
    sq = sum_iou / tp if tp else nan
    return PanopticQuality(dq, sq, dq * sq if tp else 0.0, tp, fp, fn)


def symmetric_best_dice(gt: LabelMap, pred: npt.ArrayLike | None = None) -> float:
    """Best Dice that each object finds on the other side, averaged; the worse of both directions.

    Several objects may find the same partner.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Returns:
        In [0, 1]; NaN if both maps are empty.

    Source: Scharr et al., Leaf segmentation in plant phenotyping, Machine Vision and Applications
    27 (2016) 585-606. The authors' code of PFFNet reports one direction under this name.
    """
    table = overlap_table(gt, pred)
    if table.n_gt == 0 or table.n_pred == 0:
        return _score_of_empty(table)
    best_of_gt, best_of_pred = np.zeros(table.n_gt), np.zeros(table.n_pred)
    np.maximum.at(best_of_gt, table.gt_index, table.dices)
    np.maximum.at(best_of_pred, table.pred_index, table.dices)
    return float(min(best_of_gt.mean(), best_of_pred.mean()))


def object_dice(gt: LabelMap, pred: npt.ArrayLike | None = None) -> float:
    """Dice of each object with the one that it overlaps most, weighted by area, both ways averaged.

    Ties go to the smallest id; an object that overlaps none counts 0.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.

    Returns:
        In [0, 1]; NaN if both maps are empty.

    Source: Sirinukunwattana et al., GlaS challenge, Medical Image Analysis 35 (2017) 489-502.
    """
    table = overlap_table(gt, pred)
    if table.n_gt == 0 or table.n_pred == 0:
        return _score_of_empty(table)
    of_gt, of_pred = table.main_pairs_of_gt, table.main_pairs_of_pred
    dices = table.dices
    gt_side = table.gt_areas[table.gt_index[of_gt]] @ dices[of_gt] / table.gt_areas.sum()
    pred_side = table.pred_areas[table.pred_index[of_pred]] @ dices[of_pred]
    return float((gt_side + pred_side / table.pred_areas.sum()) / 2)


def count_difference(gt: LabelMap, pred: npt.ArrayLike | None = None) -> int:
    """Predicted minus ground-truth number of objects; 0 if both maps are empty.

    Args:
        gt: (H, W) integers, or an overlap table.
        pred: (H, W) integers; left out where ``gt`` is a table.
    """
    table = overlap_table(gt, pred)
    return table.n_pred - table.n_gt


def _score_of_empty(table: OverlapTable) -> float:
    """NaN if both sides are without objects, 0 if one is."""
    return 0.0 if table.n_gt + table.n_pred else float('nan')


def _aggregated_jaccard(table: OverlapTable, pairs: IntArray) -> float:
    """AJI of the chosen pairs; objects in none of them count with their whole area."""
    alone_gt = np.ones(table.n_gt, dtype=bool)
    alone_pred = np.ones(table.n_pred, dtype=bool)
    alone_gt[table.gt_index[pairs]] = False
    alone_pred[table.pred_index[pairs]] = False
    union = (
        table.unions[pairs].sum()
        + table.gt_areas[alone_gt].sum()
        + table.pred_areas[alone_pred].sum()
    )
    return float(table.intersections[pairs].sum() / union) if union else float('nan')
