"""One-to-one assignments of the objects of two label maps, from the pairs that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmcell.functional.overlap import IntArray, OverlapTable

if TYPE_CHECKING:
    from mmcell.functional.ranked_precision import PairIous

FloatArray = npt.NDArray[np.float64]

SETTLING_ROUNDS = 10


def greedy_assignment(table: OverlapTable, order: IntArray) -> IntArray:
    """Pairs neither object of which is in a chosen pair before.

    Args:
        table: overlap of the two maps.
        order: positions among the K pairs, first choice first.

    Returns:
        Positions among the K pairs.
    """
    # Each choice depends on those before, hence a loop; over lists, whose items come quickly.
    gt_free, pred_free = [True] * table.n_gt, [True] * table.n_pred
    gt_index, pred_index = table.gt_index[order].tolist(), table.pred_index[order].tolist()
    chosen = []
    for pair, g, p in zip(order.tolist(), gt_index, pred_index, strict=True):
        if gt_free[g] and pred_free[p]:
            gt_free[g] = pred_free[p] = False
            chosen.append(pair)
    return np.array(chosen, dtype=np.int64)


def best_assignment(table: OverlapTable | PairIous) -> IntArray:
    """Pairs of the one-to-one assignment that maximises the sum of IoU.

    Args:
        table: overlap of two maps, or of two sets of boxes or masks.

    Returns:
        Positions among the K pairs, ascending.
    """
    ious = table.ious
    left: IntArray = np.arange(len(ious))
    chosen = []
    # A pair that is worth more than the best other ones of its two objects together is in every
    # best assignment. That settles nearly all pairs; the solver's time grows faster than their
    # number.
    for _ in range(SETTLING_ROUNDS):
        gt_index, pred_index = table.gt_index[left], table.pred_index[left]
        rivals = _best_other(gt_index, ious[left]) + _best_other(pred_index, ious[left])
        settled = left[ious[left] > rivals]
        if len(settled) == 0:
            break
        chosen.append(settled)
        taken_gt = np.isin(gt_index, table.gt_index[settled])
        left = left[~(taken_gt | np.isin(pred_index, table.pred_index[settled]))]
    if len(left):
        solved = _solve(table.gt_index[left], table.pred_index[left], ious[left])
        chosen.append(left[solved])
    return np.sort(np.concatenate(chosen)) if chosen else left


def _best_other(index: IntArray, values: FloatArray) -> FloatArray:
    """For each entry the largest value among the others of equal index, 0 if there is none."""
    order = np.lexsort((-values, index))
    ordered = values[order]
    is_first = np.diff(index[order], prepend=-1) != 0
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(index)), 0))
    runner_up = np.append(np.where(is_first[1:], 0, ordered[1:]), 0)[: len(index)]
    best_other = np.empty(len(index))
    best_other[order] = np.where(is_first, runner_up, ordered[first])
    return best_other


def _solve(gt_index: IntArray, pred_index: IntArray, ious: FloatArray) -> IntArray:
    """Positions among K >= 1 pairs of a one-to-one assignment of largest sum of IoU."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    gt_ids, rows = np.unique(gt_index, return_inverse=True)
    pred_ids, columns = np.unique(pred_index, return_inverse=True)
    # A column of its own for every object makes "no partner" a choice and a full matching possible.
    # Weights are IoU + 1 because a stored 0 counts as no edge; the 1 is paid by every object alike.
    everyone = np.arange(len(gt_ids))
    weights = np.concatenate([1 + ious, np.ones(len(gt_ids))])
    entries = (
        np.concatenate([rows, everyone]),
        np.concatenate([columns, len(pred_ids) + everyone]),
    )
    graph = csr_array((weights, entries), shape=(len(gt_ids), len(pred_ids) + len(gt_ids)))
    matched, partner = min_weight_full_bipartite_matching(graph, maximize=True)
    chosen = np.full(len(gt_ids), -1)
    chosen[matched] = partner
    return np.flatnonzero(chosen[rows] == columns)
