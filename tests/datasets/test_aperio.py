import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmcell.datasets.aperio import read_aperio

SIZE = (12, 16)


def region(points, number=1, attributes=''):
    vertices = ''.join(f'<Vertex X="{x}" Y="{y}" Z="0" />' for x, y in points)
    return f'<Region Id="{number}" Type="0" {attributes}><Vertices>{vertices}</Vertices></Region>'


def square(left, top, side):
    return [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]


def write(tmp_path, *layers):
    path = tmp_path / 'a.xml'
    body = ''.join(
        f'<Annotation Id="{k}"><Attributes/><Regions><RegionAttributeHeaders/>{"".join(regions)}'
        '</Regions><Plots/></Annotation>'
        for k, regions in enumerate(layers, start=1)
    )
    path.write_text(
        f'<?xml version="1.0"?><Annotations MicronsPerPixel="0.25">{body}</Annotations>'
    )
    return path


def areas(rles):
    return [int(coco_mask.area(rle)) for rle in rles]


def test_objects_that_touch_or_overlap_stay_apart(tmp_path):
    path = write(
        tmp_path,
        [region(square(1, 1, 4), 1), region(square(5, 1, 4), 2), region(square(3, 3, 4), 3)],
    )
    rles, notes = read_aperio(path, SIZE)
    assert notes == []
    assert areas(rles) == [16, 16, 16]
    first, second, third = (coco_mask.decode(rle) for rle in rles)
    expected = np.zeros(SIZE)
    expected[1:5, 1:5] = 1
    np.testing.assert_array_equal(first, expected)
    assert (first & second).sum() == 0
    assert (first & third).sum() == 4
    assert (second & third).sum() == 4


@pytest.mark.parametrize('closed', [False, True])
@pytest.mark.parametrize('step', [1, -1])
def test_corners_on_pixel_centres_take_the_left_and_upper_ones_in(tmp_path, closed, step):
    # Centres are at .5: columns 1, 2, 3 and rows 0, 1, 2 have theirs in [1.5, 4.5) and [0.5, 3.5).
    ring = square(1.5, 0.5, 3)[::step]
    ring = [*ring, ring[0]] if closed else ring
    (rle,), _ = read_aperio(write(tmp_path, [region(ring)]), SIZE)
    expected = np.zeros(SIZE)
    expected[0:3, 1:4] = 1
    np.testing.assert_array_equal(coco_mask.decode(rle), expected)


def test_holes_are_cut_out_of_the_region_they_name_else_of_the_smallest_around_them(tmp_path):
    named = write(
        tmp_path,
        [
            region(square(0, 0, 10), 1),
            region(square(1, 1, 8), 2),
            region(square(3, 3, 2), 3, 'NegativeROA="1" InputRegionId="1"'),
        ],
    )
    assert areas(read_aperio(named, SIZE)[0]) == [96, 64]
    unnamed = write(
        tmp_path,
        [
            region(square(0, 0, 10), 1),
            region(square(1, 1, 8), 2, 'NegativeROA="0" InputRegionId="0"'),
            region(square(3, 3, 2), 3, 'NegativeROA="1" InputRegionId="0"'),
        ],
    )
    assert areas(read_aperio(unnamed, SIZE)[0]) == [100, 60]


def test_hole_outside_its_region_is_refused(tmp_path):
    hole = region(square(7, 3, 6), 2, 'NegativeROA="1"')
    with pytest.raises(ValueError, match=r'a.xml: annotation 1, region 2: is a hole .* inside no'):
        read_aperio(write(tmp_path, [region(square(0, 0, 10)), hole]), SIZE)
    # The region around it is in another annotation.
    hole = region(square(3, 3, 2), 1, 'NegativeROA="1"')
    with pytest.raises(ValueError, match=r'a.xml: annotation 2, region 1: is a hole'):
        read_aperio(write(tmp_path, [region(square(0, 0, 10))], [hole]), SIZE)


def test_overshooting_outlines_are_cut_off_and_empty_ones_left_out_with_a_remark(tmp_path):
    path = write(
        tmp_path,
        [
            region(square(-3.5, -3.5, 6)),  # centres at 0.5, 1.5 are below 2.5
            region(square(14, 10, 9)),
            region(square(4.1, 4.1, 0.3)),
        ],
    )
    rles, notes = read_aperio(path, SIZE)
    assert areas(rles) == [2 * 2, 2 * 2]
    assert notes == [
        'a.xml: 1 regions without a single pixel centre are left out',
        'a.xml: 2 regions overshoot the border of the image and are cut off there',
    ]


def test_image_without_regions_is_remarked_on(tmp_path):
    assert read_aperio(write(tmp_path, []), SIZE) == (
        [],
        ['a.xml: has no region, so it shows no object'],
    )


@pytest.mark.parametrize(
    ('points', 'message'),
    [
        ([(1, 1), (4, 4)], 'region 7: is open, it has 2 different vertices'),
        ([(1, 1), (4, 4), (1, 1), (4, 4)], 'region 7: is open, it has 2 different vertices'),
        ([], 'region 7: is open, it has 0 different vertices'),
        ([(1, 1), (4, 'x'), (4, 4)], "region 7, vertex 2: Y is 'x', expected a number of pixels"),
        ([(1, 1), (4, 'nan'), (4, 4)], "region 7, vertex 2: Y is 'nan', expected a number"),
        ([(1, 1), (4, 1), (-40, 4)], r'region 7, vertex 3: \(-40.0, 4.0\) \(x, y\) is outside the'),
        ([(1, 1), (4, 1), (4, 900)], 'is outside the image of width 16 and height 12'),
    ],
)
def test_faulty_regions_are_named(tmp_path, points, message):
    path = write(tmp_path, [region(square(1, 1, 4)), region(points, 7)])
    with pytest.raises(ValueError, match=f'a.xml: annotation 1, .*{message}'):
        read_aperio(path, SIZE)


def test_vertex_without_coordinate_is_named(tmp_path):
    path = write(tmp_path, [region(square(1, 1, 4)).replace('Y="5" ', '', 1)])
    with pytest.raises(ValueError, match=r'region 1, vertex 3: Y is None'):
        read_aperio(path, SIZE)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<Annotations><Annotation>', 'a.xml: is no valid XML: no element found: line 1'),
        ('<annotation></annotation>', 'begins with <annotation>, expected the <Annotations> of'),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, text, message):
    (tmp_path / 'a.xml').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_aperio(tmp_path / 'a.xml', SIZE)
