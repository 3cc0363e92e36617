import numpy as np
import pytest
import shapely
from pycocotools import mask as coco_mask

from mmcell.functional.polygons import label_map_to_polygons
from mmcell.functional.rasterize import polygons_to_rle


def rasterize(polygons, size):
    return coco_mask.decode(polygons_to_rle(polygons, size)).astype(bool)


def box(x1, y1, x2, y2):
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def test_a_box_covers_the_pixels_whose_centres_it_holds():
    expected = np.zeros((5, 7), bool)
    expected[1:3, 2:6] = True
    for ring in (box(2, 1, 6, 3), box(1.6, 0.6, 6.4, 3.4), box(2.4, 1.4, 5.6, 2.6)):
        np.testing.assert_array_equal(rasterize([[ring]], (5, 7)), expected)


def test_a_hole_is_left_out_whatever_its_direction():
    expected = np.ones((6, 6), bool)
    expected[2:4, 1:5] = False
    hole = box(1, 2, 5, 4)
    for ring in (hole, hole[::-1], [*hole, hole[0]]):
        np.testing.assert_array_equal(rasterize([[box(0, 0, 6, 6), ring]], (6, 6)), expected)


def test_centres_on_an_edge_belong_to_the_polygon_below_and_right_of_it():
    # The diagonal passes through the centres of the pixels (0, 0), (1, 1), (2, 2).
    above, below = [(0, 0), (3, 0), (3, 3)], [(0, 0), (3, 3), (0, 3)]
    np.testing.assert_array_equal(rasterize([[below]], (3, 3)), np.tri(3, dtype=bool))
    np.testing.assert_array_equal(rasterize([[above]], (3, 3)), ~np.tri(3, dtype=bool))
    left, right = box(0, 0, 1.5, 2), box(1.5, 0, 3, 2)
    np.testing.assert_array_equal(rasterize([[left]], (2, 3))[0], [True, False, False])
    np.testing.assert_array_equal(rasterize([[right]], (2, 3))[0], [False, True, True])


def test_triangles_around_a_point_share_no_pixel_and_leave_none():
    size, corners = (12, 12), [(0, 0), (5, 0), (12, 0), (12, 7), (12, 12), (3, 12), (0, 12)]
    for centre in [(6, 6), (4.5, 7.5), (3, 8)]:
        pairs = zip(corners, [*corners[1:], corners[0]], strict=True)
        cover = sum(rasterize([[[centre, a, b]]], size).astype(int) for a, b in pairs)
        np.testing.assert_array_equal(cover, np.ones(size, int))


def test_any_ring_is_rasterised_as_shapely_finds_centres_inside():
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(30) + 0.5, np.arange(20) + 0.5)
    for _ in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
        radius = rng.uniform(1, 14, len(angles))
        centre = rng.uniform(0, 20, 2)  # some reach over the border
        ring = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
        expected = shapely.contains_xy(shapely.Polygon(ring), x, y)
        np.testing.assert_array_equal(rasterize([[ring]], (20, 30)), expected)


def test_traced_outlines_come_back_as_the_same_pixels():
    labels = np.random.default_rng(1).integers(0, 4, (17, 23))  # specks, holes, corners that touch
    for label, polygons in label_map_to_polygons(labels).items():
        pieces = [[exterior, *holes] for exterior, holes in polygons]
        np.testing.assert_array_equal(rasterize(pieces, labels.shape), labels == label)


def test_pieces_that_overlap_or_touch_are_one_object():
    pieces = [[box(0, 0, 4, 4)], [box(2, 2, 6, 6)], [box(6, 0, 8, 6)], [box(1, 1, 2, 2)]]
    expected = np.zeros((6, 8), bool)
    expected[0:4, 0:4] = expected[2:6, 2:6] = expected[0:6, 6:8] = True
    np.testing.assert_array_equal(rasterize(pieces, (6, 8)), expected)


def test_what_is_outside_the_image_or_between_centres_has_no_pixel():
    outside = [box(-5, 1, -1, 4), box(9, 0, 12, 3), box(0, -4, 3, -1), box(0.6, 0.6, 1.4, 1.4)]
    assert not rasterize([[ring] for ring in outside], (6, 8)).any()
    assert not rasterize([], (6, 8)).any()
    assert rasterize([[box(-1e9, -1e9, 1e9, 1e9)]], (6, 8)).all()


@pytest.mark.parametrize(
    ('ring', 'message'),
    [
        ([(0, 0), (1, 1)], r'three or more x, y points, got .* \(2, 2\)'),
        ([(0, 0, 0), (1, 1, 0), (2, 0, 0)], r'got .* \(3, 3\)'),
        ([(0, 0), (np.nan, 1), (2, 0)], 'not finite'),
    ],
)
def test_a_ring_that_is_none_is_refused(ring, message):
    with pytest.raises(ValueError, match=message):
        polygons_to_rle([[ring]], (4, 4))
