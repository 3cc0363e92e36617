import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linear_sum_assignment

from mmcell.functional.assignment import SETTLING_ROUNDS, best_assignment, greedy_assignment
from mmcell.functional.overlap import OverlapTable, overlap_table

label_maps = arrays.arrays(np.int64, (6, 6), elements=st.integers(0, 5))


def assert_assigns_as_well_as_a_dense_solver(table):
    dense = np.zeros((table.n_gt, table.n_pred))
    dense[table.gt_index, table.pred_index] = table.ious
    chosen = best_assignment(table)
    assert len(set(table.gt_index[chosen])) == len(set(table.pred_index[chosen])) == len(chosen)
    best = dense[linear_sum_assignment(dense, maximize=True)].sum()
    np.testing.assert_allclose(table.ious[chosen].sum(), best, rtol=1e-12, atol=1e-12)


@given(gt=label_maps, pred=label_maps)
def test_best_assignment_of_label_maps_is_that_of_a_dense_solver(gt, pred):
    assert_assigns_as_well_as_a_dense_solver(overlap_table(gt, pred))


@given(
    intersections=arrays.arrays(
        np.int64, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 6)
    )
)
def test_best_assignment_of_any_overlaps_is_that_of_a_dense_solver(intersections):
    gt_index, pred_index = np.nonzero(intersections)
    table = OverlapTable(
        np.arange(1, len(intersections) + 1),
        np.arange(1, intersections.shape[1] + 1),
        intersections.sum(1) + 1,
        intersections.sum(0) + 1,
        gt_index,
        pred_index,
        intersections[gt_index, pred_index],
    )
    assert_assigns_as_well_as_a_dense_solver(table)


def test_a_chain_that_settles_one_pair_per_round_is_solved_to_its_end():
    # Objects overlap their neighbours alternately, by 100, 101, 102, ... pixels of 1000 + as many.
    n = 4 * SETTLING_ROUNDS
    shared = 100 + np.arange(2 * n - 1)
    gt_index, pred_index = np.arange(2 * n - 1) // 2, (np.arange(2 * n - 1) + 1) // 2
    ids, areas = np.arange(1, n + 1), np.full(n, 1000)
    table = OverlapTable(ids, ids, areas, areas, gt_index, pred_index, shared)
    assert_assigns_as_well_as_a_dense_solver(table)


def test_greedy_assignment_takes_pairs_in_the_given_order():
    table = overlap_table([[1, 1, 2, 2]], [[5, 6, 6, 7]])  # pairs 1-5, 1-6, 2-6, 2-7
    assert greedy_assignment(table, np.array([1, 0, 2, 3])).tolist() == [1, 3]
    assert greedy_assignment(table, np.array([3, 2, 1, 0])).tolist() == [3, 1]
