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


def test_meeting_boxes_in_batches(monkeypatch):
    boxes = np.random.default_rng(0).integers(0, 30, (40, 2))
    boxes = np.concatenate([boxes, boxes + 6], axis=1)
    whole = meeting_boxes(boxes, boxes[:30])
    monkeypatch.setattr('mmcell.functional.patches.BATCH_PAIRS', 70)
    for part, expected in zip(meeting_boxes(boxes, boxes[:30]), whole, strict=True):
        assert part.tolist() == expected.tolist()


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
    assert loose_patches(patches).tolist() == changed
