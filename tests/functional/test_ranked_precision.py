import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from mmcell.functional.overlap import overlap_table
from mmcell.functional.scores import (
    IOU_THRESHOLDS,
    average_precision,
    box_ious,
    mean_matched_iou,
    pair_ious,
    ranked_matches,
    rle_ious,
)

# Few values, so that ties and IoUs at a threshold are frequent.
iou_matrices = arrays.arrays(
    np.float64,
    st.tuples(st.integers(0, 6), st.integers(0, 4)),
    elements=st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.7, 1.0]),
)
images = iou_matrices.flatmap(
    lambda ious: st.tuples(
        st.just(ious),
        st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=len(ious), max_size=len(ious)),
    )
)


def rle(height, width):
    return coco_mask.encode(np.ones((height, width), np.uint8, order='F'))


def naive_average_precision(images, threshold, strict):
    """One prediction at a time over all images; the area summed over every step of recall."""
    ranked = sorted(
        (-score, k, p) for k, (_, scores) in enumerate(images) for p, score in enumerate(scores)
    )
    n_gt = sum(ious.shape[1] for ious, _ in images)
    if n_gt == 0:
        return 0.0 if ranked else float('nan')
    taken, right = set(), []
    for _, k, p in ranked:
        row = images[k][0][p]
        best = row.argmax() if len(row) else None
        hit = best is not None and (row[best] > threshold if strict else row[best] >= threshold)
        right.append(bool(hit and (k, best) not in taken))
        if right[-1]:
            taken.add((k, best))
    precisions = [sum(right[: n + 1]) / (n + 1) for n in range(len(right))]
    recalls = [sum(right[: n + 1]) / n_gt for n in range(len(right))]
    area, previous = 0.0, 0.0
    for recall in sorted(set(recalls)):
        best = max(p for p, r in zip(precisions, recalls, strict=True) if r >= recall)
        area += (recall - previous) * best
        previous = recall
    return area


def test_average_precision_worked_by_hand():
    # By descending score: right, wrong (its object is taken), right, wrong; 3 objects.
    ious = [[0, 0.6, 0], [0.8, 0, 0], [0.9, 0, 0], [0.2, 0.1, 0]]
    matches = ranked_matches(pair_ious(ious), [0.7, 0.8, 0.9, 0.1], [0.5, 0.85])
    assert matches.tp.tolist() == [[True, False, True, False], [False, False, True, False]]
    assert matches.ious.tolist() == [0.6, 0.8, 0.9, 0.2]
    # Precision 1 at recall 1/3, then 2/3.
    np.testing.assert_allclose(average_precision(matches), [(1 + 2 / 3) / 3, 1 / 3], rtol=1e-15)
    np.testing.assert_allclose(mean_matched_iou(matches), [(0.6 + 0.9) / 2, 0.9], rtol=1e-15)


def test_precision_at_a_recall_is_the_best_at_that_or_a_higher_one():
    matches = ranked_matches(pair_ious([[0, 0], [1, 0], [0, 1]]), [0.9, 0.8, 0.7], [0.5])
    # Precision 1/2 at recall 1/2, but 2/3 at recall 1.
    np.testing.assert_allclose(average_precision(matches), [2 / 3], rtol=1e-15)


def test_a_prediction_whose_object_is_taken_does_not_fall_back_on_another():
    matches = ranked_matches(pair_ious([[0.9, 0], [0.8, 0.7]]), [0.9, 0.8], [0.5])
    assert matches.tp.tolist() == [[True, False]]


def test_tie_in_iou_goes_to_the_first_object_and_tie_in_score_to_the_first_prediction():
    tied = ranked_matches(pair_ious([[0.6, 0.6], [0.6, 0]]), [0.5, 0.5], [0.5])
    assert tied.tp.tolist() == [[True, False]]


@pytest.mark.parametrize(('strict', 'right'), [(False, [True, True]), (True, [True, False])])
def test_iou_at_the_threshold_matches_unless_strict(strict, right):
    # 7 of 10 and exactly 6 of 10 pixels.
    table = overlap_table([[1] * 10 + [2] * 10], [[3] * 7 + [0] * 3 + [4] * 6 + [0] * 4])
    assert ranked_matches(table, [0.9, 0.8], [0.6], strict=strict).tp.tolist() == [right]


def test_dropped_ground_truth_is_background():
    ious = pair_ious([[0.9, 0.6], [0.1, 0]])
    matches = ranked_matches(ious, [0.5, 0.4], [0.5], keep_gt=[False, True])
    assert (matches.n_gt, matches.ious.tolist()) == (1, [0.6, 0.0])
    assert average_precision(matches).tolist() == [1.0]


def test_nothing_to_measure_is_nan_and_one_empty_side_is_zero():
    nothing, objects, predictions = (pair_ious(np.zeros(s)) for s in ((0, 0), (0, 3), (3, 0)))
    np.testing.assert_array_equal(average_precision(ranked_matches(nothing, [])), [np.nan] * 10)
    np.testing.assert_array_equal(average_precision(ranked_matches(objects, [])), [0.0] * 10)
    wrong = ranked_matches(predictions, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(average_precision(wrong), [0.0] * 10)
    np.testing.assert_array_equal(mean_matched_iou(wrong), [np.nan] * 10)


@given(images=st.lists(images, min_size=1, max_size=4), strict=st.booleans())
def test_average_precision_over_images_is_that_of_a_loop_over_predictions(images, strict):
    thresholds = [0.2, 0.5, 0.7]
    matches = [
        ranked_matches(pair_ious(ious), scores, thresholds, strict=strict)
        for ious, scores in images
    ]
    expected = [naive_average_precision(images, t, strict) for t in thresholds]
    np.testing.assert_allclose(average_precision(matches), expected, rtol=1e-12, atol=1e-12)


@given(image=images.filter(lambda image: image[0].shape[0]), seed=st.integers(0, 99))
def test_only_the_order_of_scores_counts(image, seed):
    ious, scores = image
    distinct = np.array(scores) + 0.01 * np.arange(len(scores))
    matches = ranked_matches(pair_ious(ious), distinct)
    shuffle = np.random.default_rng(seed).permutation(len(ious))
    shuffled = ranked_matches(pair_ious(ious[shuffle]), np.exp(distinct[shuffle]))
    np.testing.assert_array_equal(average_precision(shuffled), average_precision(matches))
    np.testing.assert_array_equal(shuffled.tp, matches.tp[:, shuffle])


@given(gt=arrays.arrays(np.int64, (5, 5), elements=st.integers(0, 3)).filter(np.any))
def test_perfect_segmentation_has_average_precision_1(gt):
    table = overlap_table(gt, gt)
    matches = ranked_matches(table, np.linspace(0, 1, table.n_pred), strict=True)
    assert average_precision(matches).tolist() == [1.0] * len(IOU_THRESHOLDS)
    assert mean_matched_iou(matches).tolist() == [1.0] * len(IOU_THRESHOLDS)


@given(
    gt=arrays.arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 1)),
    pred=arrays.arrays(np.uint8, (4, 4, 5), elements=st.integers(0, 1)),
)
def test_ious_of_overlapping_masks_are_those_of_counting_pixels(gt, pred):
    pairs = rle_ious(
        *(coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0))) for masks in (gt, pred))
    )
    shared = (pred[:, None] & gt).sum((2, 3))
    union = (pred[:, None] | gt).sum((2, 3))
    expected = shared / np.maximum(union, 1)
    dense = np.zeros((4, 3))
    dense[pairs.pred_index, pairs.gt_index] = pairs.ious
    np.testing.assert_array_equal(dense, expected)
    assert (pairs.ious > 0).all()


def test_box_iou_worked_by_hand():
    gt = [[0, 0, 4, 2], [10, 10, 10, 12]]
    pred = [[2, 0, 6, 2], [0, 0, 4, 2], [4, 0, 6, 2], [10, 10, 10, 12]]
    pairs = box_ious(gt, pred)
    # 4 of 12; equal; touching; without area.
    assert sorted(zip(pairs.pred_index, pairs.gt_index, pairs.ious, strict=True)) == [
        (0, 0, 4 / 12),
        (1, 0, 1.0),
    ]
    assert (pairs.n_gt, pairs.n_pred) == (2, 4)


def test_many_boxes_are_compared_as_few():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (2, 700, 2))
    gt, pred = (np.concatenate([c, c + rng.uniform(1, 9, c.shape)], axis=1) for c in corners)
    pairs = box_ious(gt[:40], pred)
    xywh = (np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (pred, gt[:40]))
    expected = coco_mask.iou(*xywh, [0] * 40)
    np.testing.assert_allclose(pairs.ious, expected[pairs.pred_index, pairs.gt_index], rtol=1e-12)
    assert len(pairs.ious) == (expected > 0).sum()


@pytest.mark.parametrize('empty', [[], np.zeros((0, 4))])
def test_no_boxes_or_masks_give_no_pairs(empty):
    boxes = box_ious(empty, [[0, 0, 1, 1]])
    assert (boxes.n_gt, boxes.n_pred, len(boxes.ious)) == (0, 1, 0)
    masks = rle_ious([], coco_mask.encode(np.ones((2, 2, 1), np.uint8, order='F')))
    assert (masks.n_gt, masks.n_pred, len(masks.ious)) == (0, 1, 0)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: pair_ious([0.5]), r'ious must be \(predictions, ground truth\), got shape \(1,\)'),
        (lambda: pair_ious([[1.5]]), r'ious must lie in \[0, 1\], got 1.5'),
        (lambda: pair_ious([[np.nan]]), r'ious must lie in \[0, 1\], got nan'),
        (lambda: box_ious([[0, 0, 1]], []), r'gt must be boxes \(N, 4\), got shape \(1, 3\)'),
        (lambda: box_ious([], [[0, 0, 1, 1], [3, 0, 1, 1]]), r'pred .* got \[3.0, .* as box 1'),
        (lambda: box_ious([[0, 0, np.inf, 1]], []), 'gt must be finite'),
        (
            lambda: rle_ious([rle(2, 3)], [rle(2, 3), rle(3, 2)]),
            r'\(3, 2\) for pred 1 and \(2, 3\)',
        ),
        (lambda: rle_ious([{'size': [1, 1], 'counts': [0, 1]}], []), 'gt 0 .* compressed.* list'),
        (lambda: ranked_matches(pair_ious([[1]]), [1, 2]), r'each of 1 predictions.*\(2,\)'),
        (lambda: ranked_matches(pair_ious([[1]]), [np.nan]), 'scores must be numbers.*NaN at 0'),
        (lambda: ranked_matches(pair_ious([[1]]), [1], [0.0]), r'thresholds .* \(0, 1\], got'),
        (lambda: ranked_matches(pair_ious([[1]]), [1], keep_gt=[True] * 2), 'each of 1 objects'),
        (lambda: average_precision([]), 'at least one image'),
        (
            lambda: average_precision(
                [ranked_matches(pair_ious([[1]]), [1], [t]) for t in (0.5, 0.6)]
            ),
            'same thresholds.*0.6.* for image 1',
        ),
    ],
)
def test_bad_input_is_refused_saying_what_would_be_right(call, message):
    with pytest.raises(ValueError, match=message):
        call()
