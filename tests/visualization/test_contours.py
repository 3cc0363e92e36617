import numpy as np
import pytest

from mmcell.visualization.contours import contour_mask, draw_contours, neighbour_colors

BLACK = np.zeros((6, 8, 3), dtype=np.uint8)


def touching(label_map):
    """Pairs of ids among the eight neighbours of any pixel, by a plain loop."""
    pairs = set()
    height, width = label_map.shape
    for y in range(height):
        for x in range(width):
            window = label_map[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            pairs |= {(label_map[y, x], other) for other in window.ravel()}
    return {(a, b) for a, b in pairs if a and b and a != b}


def test_contour_is_the_outermost_ring_of_the_object():
    label_map = np.zeros((6, 8), dtype=np.int32)
    label_map[1:5, 1:6] = 3
    expected = label_map > 0
    expected[2:4, 2:5] = False
    np.testing.assert_array_equal(contour_mask(label_map), expected)


def test_touching_objects_keep_a_line_each():
    label_map = np.repeat([[1, 1, 1, 2, 2, 2]], 4, axis=0)
    expected = np.zeros((4, 6), dtype=bool)
    expected[:, 2:4] = True  # open where the image ends
    np.testing.assert_array_equal(contour_mask(label_map), expected)


def test_object_over_the_whole_image_has_no_contour():
    assert not contour_mask(np.ones((3, 4), dtype=np.uint16)).any()


def test_single_pixel_is_its_own_contour():
    label_map = np.zeros((3, 3), dtype=np.uint16)
    label_map[1, 1] = 70
    np.testing.assert_array_equal(contour_mask(label_map), label_map > 0)


def test_colors_by_id_and_input_unchanged():
    label_map = np.zeros((6, 8), dtype=np.int32)
    label_map[0, 0], label_map[5, 7] = 1, 4
    table = np.zeros((5, 3), dtype=np.uint8)
    table[1], table[4] = (1, 2, 3), (7, 8, 9)
    drawn = draw_contours(BLACK, label_map, table)
    assert drawn[0, 0].tolist() == [1, 2, 3] and drawn[5, 7].tolist() == [7, 8, 9]
    assert drawn.any(axis=2).sum() == 2 and not BLACK.any()


def test_one_color_for_all():
    label_map = np.diag([1, 2, 3, 4, 5, 6])
    drawn = draw_contours(BLACK[:, :6], label_map, (9, 9, 9))
    np.testing.assert_array_equal((drawn == 9).all(axis=2), label_map > 0)


def test_neighbours_differ_in_color():
    rng = np.random.default_rng(0)
    label_map = np.repeat(np.repeat(rng.permutation(63).reshape(7, 9), 3, 0), 3, 1)
    colors = neighbour_colors(label_map)
    assert len(colors) == 63
    pairs = touching(label_map)
    assert len(pairs) > 300  # the eight neighbours of a grid of squares, both ways
    assert all((colors[a] != colors[b]).any() for a, b in pairs)


def test_colors_repeat_where_there_are_more_neighbours_than_colors():
    label_map = np.zeros((3, 41), dtype=np.int32)
    label_map[1] = 41
    label_map[0, :40] = np.arange(1, 41)  # all touch the bar
    colors = neighbour_colors(label_map)
    assert all((colors[k] != colors[41]).any() for k in range(1, 41))


def test_nothing_to_draw():
    np.testing.assert_array_equal(draw_contours(BLACK, np.zeros((6, 8), dtype=np.int32)), BLACK)


def test_sizes_and_tables_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r'one size.*\(6, 8\).*\(8, 6\)'):
        draw_contours(BLACK, np.zeros((8, 6), dtype=np.int32))
    with pytest.raises(ValueError, match='2 colours do not reach to id 2'):
        draw_contours(BLACK, np.full((6, 8), 2), np.zeros((2, 3)))
