import numpy as np
import pytest

from mmcell.functional.density import fullest_crop


def test_whole_image_counts_every_box_with_extent():
    boxes = [[0, 0, 2, 2], [90, 40, 100, 50], [5, 5, 5, 9]]  # the last is empty
    assert fullest_crop(boxes, (50, 100), (50, 100)) == 2
    assert fullest_crop(boxes, (50, 100), (512, 512)) == 2


def test_image_without_objects_holds_none():
    assert fullest_crop([], (50, 100), (20, 20)) == 0


def test_rows_are_not_columns():
    # Ten boxes side by side: a wide crop reaches all of them, a tall one three.
    boxes = [[10 * k, 0, 10 * k + 10, 10] for k in range(10)]
    assert fullest_crop(boxes, (100, 100), (10, 100)) == 10
    assert fullest_crop(boxes, (100, 100), (100, 30)) == 4  # from 15 to 45


@pytest.mark.parametrize('crop', [(16, 16), (40, 7), (64, 33)])
def test_equals_counting_in_every_crop(crop):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (50, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 12, (50, 2))], axis=1)
    height, width = 64, 72
    best = 0
    for top in [*range(0, height - crop[0], crop[0] // 2), height - crop[0]]:
        for left in [*range(0, width - crop[1], crop[1] // 2), width - crop[1]]:
            inside = [
                x1 < left + crop[1] and x2 > left and y1 < top + crop[0] and y2 > top
                for x1, y1, x2, y2 in boxes
            ]
            best = max(best, sum(inside))
    assert fullest_crop(boxes, (height, width), crop) == best
