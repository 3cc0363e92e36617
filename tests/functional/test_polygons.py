import numpy as np
import pytest
from shapely.geometry import MultiPolygon, Polygon

from mmcell.functional.polygons import label_map_to_polygons, trace_polygons


def as_shapely(polygons):
    return [Polygon(exterior, holes) for exterior, holes in polygons]


def rasterize(polygons, shape):
    """Paint pixel centres by even-odd crossing counts: no code shared with the tracer."""
    centre_y, centre_x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, dtype=bool)
    for exterior, holes in polygons:
        for ring in [exterior, *holes]:
            for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                inside ^= (x1 == x2) & (centre_x < x1) & ((y1 < centre_y) != (y2 < centre_y))
    return inside


def random_masks():
    rng = np.random.default_rng(0)
    for density in (0.1, 0.3, 0.5, 0.6, 0.7, 0.9):
        for shape in ((1, 1), (1, 9), (7, 5), (24, 31)):
            for _ in range(6):
                yield rng.random(shape) < density


def test_rectangle_has_its_four_corners_clockwise_on_screen():
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:5, 1:7] = True
    [(exterior, holes)] = trace_polygons(mask)
    assert holes == []
    np.testing.assert_array_equal(exterior, [(1, 2), (7, 2), (7, 5), (1, 5)])


def test_single_pixel_is_a_unit_square_at_the_offset():
    [(exterior, holes)] = trace_polygons(np.ones((1, 1), dtype=bool), offset=(10.5, 20))
    assert holes == [] and exterior.dtype == np.float64
    np.testing.assert_array_equal(exterior, [(10.5, 20), (11.5, 20), (11.5, 21), (10.5, 21)])


def test_hole_runs_the_other_way_round():
    mask = np.ones((3, 3), dtype=bool)
    mask[1, 1] = False
    [(exterior, [hole])] = trace_polygons(mask)
    np.testing.assert_array_equal(exterior, [(0, 0), (3, 0), (3, 3), (0, 3)])
    np.testing.assert_array_equal(hole, [(2, 1), (1, 1), (1, 2), (2, 2)])


def test_pixels_touching_at_a_corner_are_two_pieces():
    polygons = trace_polygons(np.eye(2, dtype=bool))
    assert len(polygons) == 2
    assert MultiPolygon(as_shapely(polygons)).is_valid


def test_holes_touching_at_a_corner_are_two_holes():
    mask = np.ones((4, 4), dtype=bool)
    mask[1, 1] = mask[2, 2] = False
    [(exterior, holes)] = trace_polygons(mask)
    assert len(exterior) == 4 and len(holes) == 2
    assert Polygon(exterior, holes).is_valid


def test_hole_may_touch_the_outside_at_a_corner():
    mask = np.ones((3, 3), dtype=bool)
    mask[1, 1] = mask[0, 0] = False
    [(exterior, holes)] = trace_polygons(mask)
    assert len(holes) == 1 and len(exterior) == 6
    polygon = Polygon(exterior, holes)
    assert polygon.is_valid and polygon.area == 7


def test_nested_object_inside_a_hole_is_a_piece_of_its_own():
    mask = np.ones((5, 5), dtype=bool)
    mask[1:4, 1:4] = False
    mask[2, 2] = True
    (_, outer_holes), (_, inner_holes) = trace_polygons(mask)
    assert len(outer_holes) == 1 and inner_holes == []


def test_noise_gives_valid_polygons_of_the_same_area_and_pixels():
    for mask in random_masks():
        polygons = trace_polygons(mask)
        shapes = MultiPolygon(as_shapely(polygons))
        assert shapes.is_valid
        assert shapes.area == mask.sum()
        np.testing.assert_array_equal(rasterize(polygons, mask.shape), mask)


def test_rings_keep_corners_only_and_pass_each_point_once():
    for mask in random_masks():
        for exterior, holes in trace_polygons(mask):
            for ring in [exterior, *holes]:
                assert len(np.unique(ring, axis=0)) == len(ring)
                steps = np.roll(ring, -1, axis=0) - ring
                assert ((steps == 0).sum(axis=1) == 1).all()  # along one axis
                turned = (steps[:, 0] == 0) != (np.roll(steps, -1, axis=0)[:, 0] == 0)
                assert turned.all()


def test_label_map_equals_tracing_each_object_alone():
    rng = np.random.default_rng(1)
    label_map = rng.choice([0, 2, 3, 70_000], size=(30, 20)).astype(np.int32)
    label_map[:, 0] = 9  # at the border
    together = label_map_to_polygons(label_map, offset=(5, 7))
    assert list(together) == [2, 3, 9, 70_000]
    for number, polygons in together.items():
        alone = trace_polygons(label_map == number, offset=(5, 7))
        assert len(polygons) == len(alone)
        for (exterior, holes), (exterior_alone, holes_alone) in zip(polygons, alone, strict=True):
            np.testing.assert_array_equal(exterior, exterior_alone)
            for hole, hole_alone in zip(holes, holes_alone, strict=True):
                np.testing.assert_array_equal(hole, hole_alone)


def test_touching_neighbours_share_their_edge():
    label_map = np.repeat([[1, 2]], 3, axis=0).repeat(4, axis=1)  # 3 rows, 4 columns each
    polygons = label_map_to_polygons(label_map)
    [left], [right] = as_shapely(polygons[1]), as_shapely(polygons[2])
    assert left.intersection(right).length == 3
    assert left.area == right.area == 12


@pytest.mark.parametrize('shape', [(0, 0), (0, 5), (4, 4)])
def test_nothing_to_trace(shape):
    assert trace_polygons(np.zeros(shape, dtype=bool)) == []
    assert label_map_to_polygons(np.zeros(shape, dtype=np.int32)) == {}


def test_wrong_dimensions_are_named():
    with pytest.raises(ValueError, match=r'two-dimensional.*\(2, 3, 4\)'):
        trace_polygons(np.ones((2, 3, 4), dtype=bool))
