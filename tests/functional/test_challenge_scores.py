import numpy as np
import pytest

from mmcell.functional.scores import ctc_counts, ctc_det, ctc_seg, dsb_precisions, dsb_score


def blocks(*runs):
    """One row of pixels from (id, length) pairs."""
    return np.repeat([i for i, _ in runs], [length for _, length in runs])[None]


def test_dsb_precision_worked_by_hand():
    gt = blocks((1, 10), (2, 5), (0, 5))
    pred = blocks((1, 7), (0, 3), (2, 3), (0, 2), (3, 5))  # IoU 7/10 and 3/5; pred 3 is wrong
    precisions = dsb_precisions(gt, pred)
    # TP 2 of 2 + 3 - 2 objects below 0.6; 1 of 4 below 0.7; a threshold that is met is no match.
    np.testing.assert_array_equal(precisions, [2 / 3] * 2 + [1 / 4] * 2 + [0] * 6)
    assert dsb_score(gt, pred) == pytest.approx((2 * 2 / 3 + 2 / 4) / 10, rel=1e-15)
    assert dsb_score(gt, pred, thresholds=[0.5, 0.9]) == (2 / 3 + 0) / 2


@pytest.mark.parametrize('bad', [[], [0.4], [1.0], [np.nan], 0.5])
def test_thresholds_at_which_matches_are_not_unique_are_refused(bad):
    with pytest.raises(ValueError, match=r'thresholds must be .* in \[0.5, 1\), got'):
        dsb_precisions([[1]], [[1]], bad)


def test_seg_is_the_mean_iou_of_objects_that_are_covered_by_more_than_half():
    gt = blocks((1, 4), (2, 4), (3, 4))
    pred = blocks((1, 3), (0, 1), (2, 2), (0, 6))  # pred 2 covers exactly half: no match
    assert ctc_seg(gt, pred) == (3 / 4 + 0 + 0) / 3


def test_det_charges_5_for_a_split_10_for_a_miss_1_for_a_false_positive():
    gt = blocks((1, 3), (2, 3), (3, 2), (0, 3))
    pred = blocks((1, 6), (0, 3), (2, 1), (3, 1))  # one for gt 1 and 2, none for gt 3, two wrong
    assert ctc_counts(gt, pred) == (1, 1, 2, 3, 1.0)
    assert ctc_det(gt, pred) == 1 - (5 + 10 + 2) / 30


def test_det_is_not_below_0():
    gt, pred = blocks((1, 1), (0, 20)), np.arange(21)[None]
    assert ctc_counts(gt, pred).fp == 20
    assert ctc_det(gt, pred) == 0


def test_counts_add_up_over_frames():
    frames = [(blocks((1, 4)), blocks((1, 3), (2, 1))), (blocks((1, 2), (0, 2)), blocks((0, 4)))]
    total = [sum(values) for values in zip(*(ctc_counts(*f) for f in frames), strict=True)]
    counts = type(ctc_counts(*frames[0]))(*total)
    assert counts.seg == (3 / 4 + 0) / 2
    assert counts.det == 1 - (10 + 1) / 20
