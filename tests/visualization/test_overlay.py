import numpy as np
import pytest

from mmcell.visualization.contours import PALETTE
from mmcell.visualization.overlay import (
    FALSE,
    MATCHED,
    MISSED,
    overlay_boxes,
    overlay_objects,
    overlay_pair,
)

GRAY = np.full((600, 520, 3), 100, dtype=np.uint8)  # large enough not to be enlarged


def squares(*boxes):
    label_map = np.zeros((600, 520), dtype=np.int32)
    for number, (x1, y1, x2, y2) in boxes:
        label_map[y1:y2, x1:x2] = number
    return label_map


def panels(picture):
    """The two image areas of a pair: below title and captions, between the margins."""
    top = 8 + 24 * 2
    return picture[top : top + 600, 8 : 8 + 520], picture[top : top + 600, 536 : 536 + 520]


def test_pair_shows_matched_missed_and_false_objects_where_they_are():
    gt = squares((1, (10, 10, 30, 30)), (7, (100, 100, 140, 120)))
    pred = squares((5, (10, 11, 30, 31)), (2, (300, 200, 320, 230)))
    left, right = panels(overlay_pair(GRAY, gt, pred, title='slide 1'))
    assert tuple(left[10, 10]) == MATCHED and tuple(left[100, 139]) == MISSED
    assert tuple(right[30, 29]) == MATCHED and tuple(right[200, 300]) == FALSE
    for panel, label_map in ((left, gt), (right, pred)):
        np.testing.assert_array_equal(panel[label_map == 0], GRAY[label_map == 0])
        assert (panel[label_map > 0] == 100).any()  # the inside stays visible


def test_boxes_show_what_was_found_on_their_outermost_pixels():
    gt = [(10, 10, 30, 30), (100, 100, 140, 120), (101, 100, 141, 120)]
    pred = [(10, 11, 30, 31), (101, 101, 141, 121), (300, 200, 320, 230)]
    left, right = panels(overlay_boxes(GRAY, gt, pred, title='slide 1'))
    assert tuple(left[10, 10]) == tuple(left[29, 29]) == MATCHED
    assert tuple(left[100, 100]) == MISSED  # its neighbour fits the prediction better
    assert tuple(left[119, 140]) == MATCHED
    assert tuple(right[30, 29]) == tuple(right[120, 140]) == MATCHED
    assert tuple(right[200, 300]) == tuple(right[229, 319]) == FALSE
    assert (left[30:100] == 100).all() and (right[230:] == 100).all()


def test_boxes_of_one_side_or_of_none():
    alone = overlay_boxes(GRAY, None, [(10, 10, 30, 30)])
    assert (alone == PALETTE[0]).all(axis=2).sum() == 4 * 19
    left, right = panels(overlay_boxes(GRAY, [], [(10, 10, 30, 30)], title='slide 1'))
    assert (left == 100).all() and tuple(right[10, 10]) == FALSE
    small = overlay_boxes(GRAY[:100, :130], [(10, 10, 30, 30)], [])
    assert (small == MISSED).all(axis=2).sum() >= 4 * (20 * 4 - 1)  # 4 times as large


def test_iou_of_exactly_one_half_is_no_match():
    gt = squares((1, (10, 10, 30, 30)))
    pred = squares((1, (10, 10, 20, 30)))
    left, right = panels(overlay_pair(GRAY, gt, pred, title='half'))
    assert tuple(left[10, 10]) == MISSED and tuple(right[10, 10]) == FALSE


def test_small_images_are_enlarged_and_their_lines_stay_thin():
    image = np.zeros((64, 128, 3), dtype=np.uint8)
    label_map = np.zeros((64, 128), dtype=np.int32)
    label_map[20:40, 30:60] = 1
    picture = overlay_objects(image, label_map)
    panel = picture[8 + 24 : 8 + 24 + 256, 8 : 8 + 512]  # 4 times
    assert panel[80, 120].any() and not panel[81, 121].any() and panel[159, 239].any()


@pytest.mark.parametrize('shape', [(1, 1), (30, 700), (700, 30)])
def test_odd_shapes_and_empty_maps(shape):
    image, empty = np.zeros((*shape, 3), dtype=np.uint8), np.zeros(shape, dtype=np.int32)
    for picture in (overlay_pair(image, empty, empty), overlay_objects(image, empty, 'a title')):
        assert picture.dtype == np.uint8 and picture.shape[2] == 3
        assert picture.shape[0] > shape[0] and picture.shape[1] > shape[1]
