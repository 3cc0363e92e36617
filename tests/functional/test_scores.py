import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmcell.functional.overlap import overlap_table
from mmcell.functional.scores import (
    aji,
    aji_plus,
    count_difference,
    ctc_det,
    ctc_seg,
    dice,
    dsb_score,
    object_dice,
    object_f1,
    object_f1_counts,
    panoptic_quality,
    pq_from_sums,
    symmetric_best_dice,
)

SCORES = {
    'aji': aji,
    'aji reusable': lambda gt, pred=None: aji(gt, pred, exclusive=False),
    'aji_plus': aji_plus,
    'dice': dice,
    'object_f1': object_f1,
    'dq': lambda gt, pred=None: panoptic_quality(gt, pred).dq,
    'pq': lambda gt, pred=None: panoptic_quality(gt, pred).pq,
    'sbd': symmetric_best_dice,
    'object_dice': object_dice,
    'dsb_score': dsb_score,
    'ctc_seg': ctc_seg,
    'ctc_det': ctc_det,
}
every_score = pytest.mark.parametrize('score', SCORES.values(), ids=SCORES.keys())
label_maps = arrays.arrays(np.int64, (6, 6), elements=st.integers(0, 5))


def blocks(*runs):
    """One row of pixels from (id, length) pairs."""
    return np.repeat([i for i, _ in runs], [length for _, length in runs])[None]


def test_aji_worked_by_hand():
    # 1-1: 3 of 5 pixels; gt 2 (2 pixels) is missed, pred 7 (1 pixel) is wrong.
    gt = blocks((1, 4), (0, 2), (2, 2), (0, 2))
    pred = blocks((0, 1), (1, 4), (0, 4), (7, 1))
    assert aji(gt, pred) == 3 / (5 + 2 + 1)


def test_three_variants_of_aji_differ_where_one_prediction_covers_two_objects():
    # pred 1 covers gt 1 (4 of 10) and gt 2 (6 of 10); pred 2 covers the last pixel of gt 1.
    gt = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0]])
    pred = np.array([[2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]])
    # Greedy: gt 1 takes pred 1 (IoU 4/11), so gt 2 is left with nothing.
    assert aji(gt, pred) == 4 / (11 + 6 + 1)
    # Reusable: gt 2 takes pred 1 too (6/10); pred 2 is never used.
    assert aji(gt, pred, exclusive=False) == (4 + 6) / (11 + 10 + 1)
    # Optimal: gt 1 takes pred 2 (1/5), gt 2 takes pred 1 (6/10).
    assert aji_plus(gt, pred) == (1 + 6) / (5 + 10)


def test_greedy_aji_depends_on_the_order_of_ground_truth_ids_the_optimal_one_does_not():
    gt = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0]])
    pred = np.array([[2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]])
    swapped = np.array([0, 2, 1])[gt]
    assert aji(swapped, pred) != aji(gt, pred)
    assert aji_plus(swapped, pred) == aji_plus(gt, pred)


def test_aji_tie_goes_to_the_prediction_of_smaller_id():
    gt = blocks((0, 1), (1, 4), (0, 3))
    pred = blocks((6, 3), (5, 4), (0, 1))  # 2 of 5 pixels with id 6, 2 of 6 with id 5: no tie
    assert aji(gt, pred) == 2 / (5 + 4)
    pred = blocks((6, 3), (5, 3), (0, 2))  # 2 of 5 pixels with either
    assert aji(gt, pred) == 2 / (5 + 3)


def test_dice_is_that_of_the_foregrounds():
    assert dice(blocks((1, 2), (2, 2), (0, 4)), blocks((0, 2), (9, 5), (0, 1))) == 2 * 2 / (4 + 5)


def test_object_f1_asks_for_more_than_half_of_the_object():
    gt = blocks((1, 4), (2, 4), (3, 4), (0, 1))
    # pred 1 covers exactly half of gt 1: wrong. pred 2 covers 3 of 4 of gt 2: right.
    pred = blocks((1, 2), (0, 2), (0, 1), (2, 3), (0, 4), (3, 1))
    assert object_f1_counts(gt, pred) == (1, 2, 2)
    assert object_f1(gt, pred) == 2 / (2 + 2 + 2)


def test_object_f1_lets_a_prediction_find_only_its_main_object():
    gt = blocks((1, 5), (2, 3))
    assert object_f1_counts(gt, np.ones((1, 8), int)) == (1, 0, 1)


def test_panoptic_quality_worked_by_hand():
    gt = blocks((1, 4), (2, 4), (3, 2))
    # IoU 3/4 is a match, exactly 1/2 is none.
    pred = blocks((1, 3), (0, 1), (2, 2), (0, 4))
    quality = panoptic_quality(gt, pred)
    assert quality == (1 / (1 + 1 / 2 + 2 / 2), 0.75, 0.4 * 0.75, 1, 1, 2)


def test_symmetric_best_dice_is_the_worse_of_two_means_of_best_dice():
    # gt 1 (4 pixels) is covered by pred 1 (4 pixels, 3 shared) and pred 2 (1 pixel, shared).
    gt = blocks((1, 4), (0, 2))
    pred = blocks((2, 1), (1, 4), (0, 1))
    assert symmetric_best_dice(gt, pred) == min(6 / 8, (6 / 8 + 2 / 5) / 2)
    assert symmetric_best_dice(pred, gt) == symmetric_best_dice(gt, pred)


def test_best_dice_may_use_a_partner_twice():
    assert symmetric_best_dice(blocks((1, 2), (2, 2)), blocks((1, 4))) == 4 / 6


def test_object_dice_weighs_by_area_and_counts_lone_objects_as_0():
    gt = blocks((1, 6), (0, 2), (2, 2))
    pred = blocks((0, 2), (1, 6), (0, 2))  # 4 shared with gt 1, nothing with gt 2
    assert object_dice(gt, pred) == pytest.approx((6 / 8 * (8 / 12) + 8 / 12) / 2, rel=1e-15)


def test_object_dice_takes_the_largest_overlap_not_the_best_dice_and_of_ties_the_smallest_id():
    # gt 1: 3 pixels shared with pred 9 (Dice 6/13), 2 with pred 4 (Dice 4/7).
    gt, pred = blocks((1, 5), (0, 5)), blocks((4, 2), (9, 8))
    assert object_dice(gt, pred) == pytest.approx((6 / 13 + (2 * 4 / 7 + 8 * 6 / 13) / 10) / 2)
    # 2 pixels with either: Dice 4/12 with pred 4, not 4/6 with pred 9.
    gt, pred = blocks((0, 6), (1, 4), (0, 2)), blocks((4, 8), (9, 2), (0, 2))
    assert object_dice(gt, pred) == pytest.approx((4 / 12 + (8 * 4 / 12 + 2 * 4 / 6) / 10) / 2)


@pytest.mark.parametrize(
    ('gt', 'pred', 'expected'),
    [([[1, 2, 0]], [[0, 0, 9]], -1), ([[0]], [[0]], 0), ([[5, 0]], [[0, 0]], -1)],
)
def test_count_difference_is_predicted_minus_true_objects(gt, pred, expected):
    assert count_difference(gt, pred) == expected


def test_pooled_panoptic_quality_is_that_of_the_images_side_by_side():
    rng = np.random.default_rng(0)
    pairs = [
        (gt, np.where(rng.random(gt.shape) < 0.8, gt, 0)) for gt in rng.integers(0, 4, (3, 4, 8))
    ]
    parts = [panoptic_quality(gt, pred) for gt, pred in pairs]
    pooled = pq_from_sums(
        sum(part.tp for part in parts),
        sum(part.fp for part in parts),
        sum(part.fn for part in parts),
        sum(part.sq * part.tp for part in parts if part.tp),
    )
    shifts = 10 * np.arange(3)
    side_by_side = [
        np.hstack([np.where(m, m + s, 0) for m, s in zip(maps, shifts, strict=True)])
        for maps in zip(*pairs, strict=True)
    ]
    np.testing.assert_allclose(pooled, panoptic_quality(*side_by_side), rtol=1e-12)


@every_score
def test_nothing_to_measure_is_nan_and_one_empty_side_is_zero(score):
    empty, objects = np.zeros((3, 3), int), np.eye(3, dtype=int)
    assert np.isnan(score(empty, empty))
    assert score(objects, empty) == 0
    assert score(empty, objects) == 0


def test_segmentation_quality_without_a_match_is_nan_and_panoptic_quality_zero():
    quality = panoptic_quality([[1, 1, 0, 0]], [[0, 0, 1, 1]])
    assert np.isnan(quality.sq)
    assert (quality.dq, quality.pq) == (0, 0)


@every_score
@settings(max_examples=50)
@given(gt=label_maps, pred=label_maps)
def test_score_lies_in_0_to_1_and_a_table_gives_the_same(score, gt, pred):
    value = score(gt, pred)
    assert np.isnan(value) == (not gt.any() and not pred.any())
    assert np.isnan(value) or 0 <= value <= 1
    np.testing.assert_equal(score(overlap_table(gt, pred)), value)


@every_score
@given(gt=label_maps.filter(np.any), start=st.integers(1, 99))
def test_perfect_segmentation_scores_1_whatever_the_ids(score, gt, start):
    assert score(gt, np.where(gt, start + 7 * (5 - gt), 0)) == 1


@every_score
def test_objects_of_one_pixel_in_pieces_or_filling_the_image_are_objects(score):
    one_pixel = np.zeros((4, 5), int)
    one_pixel[2, 3] = 9
    pieces = np.array([[4, 0, 4], [0, 6, 0], [4, 0, 6]])
    for objects in (one_pixel, pieces, np.full((4, 5), 3), np.arange(20).reshape(4, 5) + 1):
        assert score(objects, objects) == 1


@every_score
@settings(max_examples=50)
@given(gt=label_maps, pred=label_maps)
def test_score_does_not_change_by_flips_turns_or_gaps_between_ids(score, gt, pred):
    value = score(gt, pred)
    np.testing.assert_equal(score(gt[::-1], pred[::-1]), value)
    np.testing.assert_equal(score(np.rot90(gt), np.rot90(pred)), value)
    np.testing.assert_equal(score(gt**3 * 1000, pred**2 * 70_000), value)


RENUMBERABLE = ['dice', 'dq', 'pq', 'sbd', 'dsb_score', 'ctc_seg', 'ctc_det']
SYMMETRIC = ['dice', 'dq', 'pq', 'sbd', 'object_dice', 'dsb_score']


@pytest.mark.parametrize('name', SYMMETRIC)
@given(gt=label_maps, pred=label_maps)
def test_score_does_not_change_where_prediction_and_ground_truth_swap(name, gt, pred):
    np.testing.assert_allclose(SCORES[name](pred, gt), SCORES[name](gt, pred), rtol=1e-12)


@pytest.mark.parametrize('name', RENUMBERABLE)
@given(gt=label_maps, pred=label_maps, order=st.permutations([1, 2, 3, 4, 5]))
def test_score_does_not_change_by_renumbering(name, gt, pred, order):
    renumber = np.array([0, *order])
    expected = SCORES[name](gt, pred)
    np.testing.assert_allclose(SCORES[name](renumber[gt], pred), expected, rtol=1e-12)
    np.testing.assert_allclose(SCORES[name](gt, renumber[pred]), expected, rtol=1e-12)


def test_scores_load_neither_torch_nor_mmdet():
    check = """
import sys
from mmcell.functional.scores import aji_plus
aji_plus([[1]], [[1]])
heavy = {'torch', 'mmdet', 'mmcv', 'mmengine'} & set(sys.modules)
sys.exit(f'loaded: {heavy}' if heavy else 0)
"""
    done = subprocess.run([sys.executable, '-c', check], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
