import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import directed_hausdorff

from mmcell.functional import object_distances
from mmcell.functional.scores import object_hausdorff

label_maps = arrays.arrays(np.int64, (6, 7), elements=st.sampled_from([0, 0, 0, 1, 2, 9]))


def naive_object_hausdorff(gt, pred):
    """The definition on one mask per object, nothing skipped."""

    def side(a, b):
        total = 0.0
        for i in np.unique(a[a > 0]):
            mask = a == i
            ids, counts = np.unique(b[mask & (b > 0)], return_counts=True)
            others = np.unique(b[b > 0]) if len(ids) == 0 else [ids[counts.argmax()]]
            total += mask.sum() * min(hausdorff(mask, b == j) for j in others)
        return total / (a > 0).sum()

    def hausdorff(a, b):
        a, b = np.argwhere(a), np.argwhere(b)
        return max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0])

    return (side(gt, pred) + side(pred, gt)) / 2


def test_hausdorff_worked_by_hand():
    gt = np.array([[1, 1, 1, 0, 0, 0, 0, 2]])
    pred = np.array([[3, 0, 0, 0, 0, 0, 0, 0]])
    # gt 1 (3 pixels): 2 to pred 3. gt 2 (1 pixel) overlaps nothing: 7 to pred 3, its nearest.
    assert object_hausdorff(gt, pred) == ((3 * 2 + 1 * 7) / 4 + 2) / 2


def test_the_farthest_pixel_may_lie_inside_an_object():
    ring = np.ones((9, 9), int)
    ring[2:7, 2:7] = 0
    square = np.zeros((9, 9), int)
    square[1:8, 1:8] = 1
    # The outline of the square lies on the ring, its centre (4, 4) is 3 away from (1, 4).
    assert object_hausdorff(square, ring) == 3


def test_empty_sides_give_nan_and_the_image_diagonal():
    empty, objects = np.zeros((3, 4), int), np.ones((3, 4), int)
    assert np.isnan(object_hausdorff(empty, empty))
    assert object_hausdorff(objects, empty) == object_hausdorff(empty, objects) == 5


@given(gt=label_maps.filter(np.any), pred=label_maps.filter(np.any))
def test_hausdorff_is_that_of_comparing_every_pixel_of_every_object(gt, pred):
    assert object_hausdorff(gt, pred) == pytest.approx(naive_object_hausdorff(gt, pred), abs=1e-12)


@pytest.mark.parametrize('fill', [0, 0.17])
def test_large_objects_are_measured_by_distance_transforms_with_the_same_result(monkeypatch, fill):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(object_distances, 'WIDE_PIXELS', 1)
    monkeypatch.setattr(object_distances, 'WIDE_FILL', fill)
    transformed = []
    measure = object_distances._farthest_inside
    monkeypatch.setattr(
        object_distances, '_farthest_inside', lambda a, b: transformed.append(a) or measure(a, b)
    )
    for _ in range(20):
        gt, pred = rng.choice([0, 0, 0, 1, 2, 9], (2, 12, 15))
        expected = naive_object_hausdorff(gt, pred)
        assert object_hausdorff(gt, pred) == pytest.approx(expected, abs=1e-12)
    assert transformed


def test_partner_is_the_largest_overlap_and_of_ties_the_smallest_id():
    # gt shares 2 pixels with id 8 and 1 with id 3, which is nearer to its size.
    gt, pred = np.array([[0, 1, 1, 1, 0, 0, 0, 0]]), np.array([[8, 8, 8, 3, 0, 0, 0, 0]])
    # gt to 8: its last pixel is 1 away. 8 to gt: 1. 3 to gt: gt's first pixel is 2 away.
    assert object_hausdorff(gt, pred) == (1 + (3 * 1 + 1 * 2) / 4) / 2
    # 1 pixel with either: id 3 it is, 6 away at its far end; id 8 would be 1 away.
    gt, pred = np.array([[0, 1, 1, 0, 0, 0, 0, 0]]), np.array([[0, 8, 3, 3, 3, 3, 3, 3]])
    assert object_hausdorff(gt, pred) == (5 + (1 * 1 + 6 * 5) / 7) / 2


def test_nearest_object_is_nearest_by_hausdorff_distance_not_by_its_closest_pixel():
    gt = np.array([[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])
    pred = np.array([[0, 0, 3, 3, 3, 3, 3, 3, 3, 0, 7, 7]])  # 8 - 1 = 7 away; 10 - 0 = 10 away
    assert object_hausdorff(gt, pred) == (7 + (7 * 7 + 2 * 10) / 9) / 2
    pred = np.array([[0, 0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0]])  # 9 away at its far end
    pred = np.vstack([pred, np.zeros((2, 12), int), np.full((1, 12), 7) * (np.arange(12) < 2)])
    gt = np.vstack([gt, np.zeros((3, 12), int)])
    # 3 touches gt, but 7 (three rows below) is the nearer one as a whole.
    assert object_hausdorff(gt, pred) == (3 + (9 * 9 + 2 * 3) / 11) / 2


@pytest.mark.parametrize('batch_pixels', [1, 7, 1 << 18])
def test_many_objects_far_from_any_other_are_compared_in_batches(monkeypatch, batch_pixels):
    monkeypatch.setattr(object_distances, 'BATCH_PIXELS', batch_pixels)
    rng = np.random.default_rng(0)
    gt, pred = np.zeros((2, 40, 40), int)
    for label_map, half in ((gt, slice(0, 20)), (pred, slice(20, 40))):
        for k, (row, column) in enumerate(rng.integers(0, [18, 36], (12, 2))):
            label_map[half][row : row + rng.integers(1, 5), column : column + 3] = 5 * k + 1
    assert object_hausdorff(gt, pred) == pytest.approx(naive_object_hausdorff(gt, pred), abs=1e-12)


@given(gt=label_maps, pred=label_maps)
def test_hausdorff_does_not_change_by_flips_turns_gaps_or_swapping_sides(gt, pred):
    expected = object_hausdorff(gt, pred)
    for moved in (
        object_hausdorff(gt[::-1], pred[::-1]),
        object_hausdorff(np.rot90(gt), np.rot90(pred)),
        object_hausdorff(gt.astype(np.uint8) * 20, pred.astype(np.uint64) * 10**12),
        object_hausdorff(pred, gt),
    ):
        np.testing.assert_allclose(moved, expected, rtol=1e-12)


@given(gt=label_maps.filter(np.any))
def test_a_perfect_segmentation_is_at_distance_0(gt):
    assert object_hausdorff(gt, gt * 3) == 0


@given(gt=label_maps.filter(np.any), pred=label_maps.filter(np.any))
def test_hausdorff_is_at_most_the_image_diagonal(gt, pred):
    assert 0 <= object_hausdorff(gt, pred) < np.hypot(*gt.shape)


def test_bad_maps_are_refused():
    with pytest.raises(ValueError, match=r'same size, got \(1, 2\) and \(2, 1\)'):
        object_hausdorff([[1, 1]], [[1], [1]])
    with pytest.raises(ValueError, match='pred must hold integer object ids'):
        object_hausdorff([[1]], [[0.5]])
