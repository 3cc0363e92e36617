import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmcell.functional.patches import loose_patches, meeting_boxes, shared_box, tight, view

PATCHES = st.tuples(st.integers(0, 5), st.integers(0, 5)).flatmap(lambda s: arrays(bool, s))


def test_boxes_meet_where_they_share_a_pixel_not_an_edge():
    first = np.array([[0, 0, 4, 4], [4, 0, 8, 4], [20, 20, 21, 21]])
    second = np.array([[3, 3, 5, 5], [8, 0, 9, 4], [0, 4, 4, 8]])
    pairs = meeting_boxes(first, second)
    assert [p.tolist() for p in pairs] == [[0, 1], [0, 0]]
    assert shared_box((0, 0, 4, 4), (3, 3, 5, 5)) == (3, 3, 4, 4)
    assert [p.tolist() for p in meeting_boxes(first[:0], second)] == [[], []]


BOXES = arrays(np.int64, st.tuples(st.integers(0, 8), st.just(2)), elements=st.integers(0, 9))


@given(BOXES, BOXES)
def test_meeting_boxes_are_those_of_all_pairs_that_meet(first, second):
    first, second = (np.concatenate([low, low + low[::-1] % 4], axis=1) for low in (first, second))
    expected = [
        (k, m)
        for k, one in enumerate(first)
        for m, other in enumerate(second)
        if (one[:2] < other[2:]).all() and (other[:2] < one[2:]).all()
    ]
    assert list(zip(*meeting_boxes(first, second), strict=True)) == expected


def test_a_view_is_a_part_that_can_be_written_to():
    patch = np.zeros((3, 4), dtype=bool)
    view(patch, (10, 20, 14, 23), (12, 21, 14, 23))[:] = True
    assert patch.tolist() == [[False] * 4] + [[False, False, True, True]] * 2


def test_a_tight_patch_has_a_pixel_on_each_side():
    patch = np.zeros((4, 5), dtype=bool)
    patch[1, 2:4] = True
    cut, box = tight(patch, (10, 20, 15, 24))
    assert cut.tolist() == [[True, True]]
    assert box == (12, 21, 14, 22)
    assert tight(patch[2:], (10, 22, 15, 24))[0].size == 0


@given(st.lists(PATCHES, max_size=6))
def test_loose_patches_are_those_that_tightening_changes(patches):
    changed = [
        k
        for k, patch in enumerate(patches)
        if patch.size == 0 or tight(patch, (0, 0, *patch.shape[::-1]))[0].shape != patch.shape
    ]
    sides = [[0, 0, *patch.shape[::-1]] for patch in patches]
    boxes = np.array(sides, dtype=np.int64).reshape(-1, 4)
    assert loose_patches(patches, boxes).tolist() == changed
