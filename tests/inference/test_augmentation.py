import numpy as np
import pytest

import mmcell
from mmcell.inference.augmentation import VIEWS, AugmentedDetect, View, fuse_views
from mmcell.structures import FoundObjects

ALL_VIEWS = VIEWS[8]


def label_map():
    """5 x 8 pixels, three objects without symmetry."""
    return np.array(
        [
            [1, 1, 1, 0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 2, 0],
            [0, 0, 0, 0, 0, 2, 2, 0],
            [0, 3, 0, 0, 0, 0, 2, 0],
            [3, 3, 3, 0, 0, 0, 2, 2],
        ]
    )


def objects(*masks, scores=None, ranks=None, classes=None):
    """Objects from full-size masks."""
    parts = [FoundObjects.from_label_map(np.asarray(mask, dtype=int)) for mask in masks]
    together = FoundObjects.cat(parts)
    scores = together.scores if scores is None else np.array(scores, np.float32)
    return FoundObjects(
        together.boxes,
        together.patches,
        scores,
        together.classes if classes is None else np.array(classes),
        np.arange(1, len(masks) + 1),
        scores if ranks is None else np.array(ranks, np.float32),
    )


def bar(x1, x2, height=4, width=20):
    """One object: a horizontal bar from x1 to x2."""
    mask = np.zeros((height, width), dtype=int)
    mask[1:3, x1:x2] = 1
    return mask


def drawn(found, size):
    canvas = np.zeros(size, dtype=int)
    for number, (x1, y1, x2, y2), patch in zip(
        found.ids, found.boxes.tolist(), found.patches, strict=True
    ):
        canvas[y1:y2, x1:x2][patch] = number
    return canvas


def test_eight_views_are_all_symmetries_of_a_square():
    square = np.arange(9).reshape(3, 3)
    assert len({view.of(square).tobytes() for view in ALL_VIEWS}) == 8
    assert all(view.of(np.zeros((2, 5))).shape == (2, 5) for view in VIEWS[4])
    assert ALL_VIEWS[0] == View(0, False)


@pytest.mark.parametrize('view', ALL_VIEWS)
def test_what_is_found_in_a_view_comes_back_to_its_place(view):
    found = FoundObjects.from_label_map(view.of(label_map()))
    back = view.undo(found, label_map().shape)
    np.testing.assert_array_equal(drawn(back, label_map().shape), label_map())


def test_undoing_a_turn_by_hand():
    # The pixel in row 0, column 7 of 5 x 8 comes to row 0, column 0 when turned to the left.
    corner = objects([[1]])
    back = View(1, False).undo(corner, (5, 8))
    assert back.boxes.tolist() == [[7, 0, 8, 1]]


@pytest.mark.parametrize('num_views', [1, 4, 8])
def test_views_of_a_perfect_detector_agree_on_what_it_finds(num_views):
    detect = AugmentedDetect(FoundObjects.from_label_map, num_views)
    found = detect(label_map())
    assert sorted(np.unique(drawn(found, (5, 8)))) == [0, 1, 2, 3]
    for k, patch in enumerate(found.patches):
        x1, y1, x2, y2 = found.boxes[k]
        (number,) = np.unique(label_map()[y1:y2, x1:x2][patch])
        assert patch.sum() == np.count_nonzero(label_map() == number)
    np.testing.assert_array_equal(found.scores, 1)


def test_batches_of_windows_of_any_size_give_what_each_gives_alone():
    class Batched:
        calls = 0

        def batch(self, windows):
            self.calls += 1
            return [FoundObjects.from_label_map(window) for window in windows]

    detector = Batched()
    windows = [label_map(), label_map().T, np.zeros((3, 3), int)]
    found = AugmentedDetect(detector, 8).batch(windows)
    assert detector.calls == 8
    for each, window in zip(found, windows, strict=True):
        alone = AugmentedDetect(FoundObjects.from_label_map, 8)(window)
        np.testing.assert_array_equal(each.boxes, alone.boxes)
        assert [p.tolist() for p in each.patches] == [p.tolist() for p in alone.patches]


def test_half_of_the_views_is_not_enough_and_more_is():
    here, nothing = objects(bar(2, 8)), FoundObjects.empty()
    assert len(fuse_views([here, here, nothing, nothing])) == 0
    assert len(fuse_views([here, nothing, here, here])) == 1


def test_a_pixel_needs_half_of_the_masks_and_scores_count_what_is_missing():
    views = [
        objects(bar(2, 8), scores=[0.9], ranks=[0.5]),
        objects(bar(2, 9), scores=[0.8], ranks=[0.4]),
        objects(bar(2, 10), scores=[0.6], ranks=[0.3]),
        FoundObjects.empty(),
    ]
    fused = fuse_views(views)
    # Column 8 has two votes of three, column 9 one.
    assert fused.boxes.tolist() == [[2, 1, 9, 3]]
    assert fused.scores[0] == pytest.approx((0.9 + 0.8 + 0.6) / 4)
    assert fused.ranks[0] == pytest.approx((0.5 + 0.4 + 0.3) / 4)
    assert fused.ids.tolist() == [1]


def test_exactly_half_of_the_masks_is_enough_for_a_pixel():
    wide, narrow = objects(bar(2, 10)), objects(bar(2, 8))
    fused = fuse_views([wide, narrow, wide, narrow])
    assert fused.boxes.tolist() == [[2, 1, 10, 3]]


def test_masks_below_the_iou_are_different_objects():
    # 6 of 12 columns are shared: IoU one half. 5 of 13: less.
    assert len(fuse_views([objects(bar(0, 9)), objects(bar(3, 12))])) == 1
    assert len(fuse_views([objects(bar(0, 9)), objects(bar(4, 13))])) == 0


def test_other_classes_are_different_objects():
    first, second = objects(bar(2, 8), classes=[0]), objects(bar(2, 8), classes=[1])
    assert len(fuse_views([first, second])) == 0
    assert fuse_views([second, second]).classes.tolist() == [1]


def test_an_object_takes_the_nearest_of_each_view_and_leaves_the_other():
    view = objects(bar(2, 12), bar(4, 14), scores=[0.9, 0.8])
    fused = fuse_views([view, view, view])
    assert fused.boxes.tolist() == [[2, 1, 12, 3], [4, 1, 14, 3]]
    np.testing.assert_allclose(fused.scores, [0.9, 0.8])
    assert fused.ids.tolist() == [1, 2]


def test_limits_of_every_view_are_kept():
    limited = FoundObjects(**{**vars(objects(bar(2, 8))), 'limits': ('max_per_img=1',)})
    assert fuse_views([objects(bar(2, 8)), limited]).limits == ('max_per_img=1',)


def test_no_objects_at_all():
    assert len(fuse_views([FoundObjects.empty()] * 4)) == 0


def test_refuses_other_numbers_of_views():
    with pytest.raises(ValueError, match=r'views must be one of \(1, 4, 8\), got 3'):
        AugmentedDetect(FoundObjects.from_label_map, 3)


@pytest.mark.parametrize(('views', 'widths'), [(1, [8, 6]), (4, [8, 6]), (8, [6])])
def test_a_model_votes_over_views(files, scene, views, widths):
    # It sees width: turned, the object of 8 x 4 pixels is too narrow for it, in 4 of 8 views.
    prediction = mmcell.load(*files, device='cpu').predict(scene(), views=views)
    boxes = prediction.objects.boxes
    assert (boxes[:, 2] - boxes[:, 0]).tolist() == widths


def test_a_model_refuses_other_numbers_of_views(files, scene):
    with pytest.raises(ValueError, match=r'views must be one of \(1, 4, 8\), got 2'):
        mmcell.load(*files, device='cpu').predict(scene(), views=2)
