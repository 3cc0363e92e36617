import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import directed_hausdorff

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
