import gzip
import json
import sys
import uuid
import zipfile

import numpy as np
import pytest

from mmcell.evaluation.readers.geojson import read_geojson
from mmcell.evaluation.readers.imagej import read_imagej_rois
from mmcell.functional.polygons import label_map_to_polygons

SIZE = (12, 15)


def box(x1, y1, x2, y2):
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]


def feature(geometry_type, coordinates, object_type='detection'):
    return {
        'type': 'Feature',
        'id': str(uuid.UUID(int=1)),
        'geometry': {'type': geometry_type, 'coordinates': coordinates},
        'properties': {'objectType': object_type},
    }


def write(path, content):
    text = json.dumps(content).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == '.gz' else text)
    return path


def collection(*features):
    return {'type': 'FeatureCollection', 'features': list(features)}


def test_holes_and_pieces_give_their_pixels(tmp_path):
    ring = feature('Polygon', [box(1, 1, 7, 7), box(3, 2, 5, 6)])
    pieces = feature('MultiPolygon', [[box(8, 0, 10, 3)], [box(9, 6, 14, 11), box(10, 7, 13, 10)]])
    expected = np.zeros(SIZE, int)
    expected[1:7, 1:7] = 1
    expected[2:6, 3:5] = 0
    expected[0:3, 8:10] = 2
    expected[6:11, 9:14] = 2
    expected[7:10, 10:13] = 0
    found = read_geojson(write(tmp_path / 'a.geojson', collection(ring, pieces)), SIZE)
    np.testing.assert_array_equal(found.label_map, expected)
    assert (found.cut, found.lost, found.left_out) == (0, 0, 0)


@pytest.mark.parametrize('name', ['a.geojson', 'a.geojson.gz'])
@pytest.mark.parametrize('wrap', [collection, lambda *features: list(features)])
def test_traced_label_maps_come_back_from_every_form_of_file(tmp_path, name, wrap):
    labels = np.random.default_rng(0).integers(0, 4, SIZE)
    features = [
        feature('MultiPolygon', [[r.tolist() for r in (exterior, *holes)] for exterior, holes in p])
        for p in label_map_to_polygons(labels).values()
    ]
    found = read_geojson(write(tmp_path / name, wrap(*features)), SIZE)
    np.testing.assert_array_equal(found.label_map, labels)


def test_the_earlier_object_keeps_shared_pixels_and_losses_are_counted(tmp_path):
    boxes = [box(0, 0, 6, 6), box(4, 4, 9, 9), box(1, 1, 3, 3), box(20, 0, 25, 5)]
    path = write(tmp_path / 'a.geojson', collection(*(feature('Polygon', [b]) for b in boxes)))
    found = read_geojson(path, SIZE)
    expected = np.zeros(SIZE, int)
    expected[4:9, 4:9] = 2
    expected[0:6, 0:6] = 1
    np.testing.assert_array_equal(found.label_map, expected)
    assert (found.cut, found.lost) == (1, 2)


def test_annotated_regions_beside_detections_are_left_out_alone_they_are_the_objects(tmp_path):
    region = feature('Polygon', [box(0, 0, 15, 12)], 'annotation')
    cell = feature('Polygon', [box(2, 2, 5, 5)], 'cell')
    found = read_geojson(write(tmp_path / 'a.geojson', collection(region, cell)), SIZE)
    assert (found.label_map > 0).sum() == 9
    assert found.left_out == 1
    alone = read_geojson(write(tmp_path / 'b.geojson', region), SIZE)
    assert (alone.label_map == 1).all()
    assert alone.left_out == 0


def test_the_class_stands_in_place_of_an_id_in_old_files(tmp_path):
    region = {**feature('Polygon', [box(0, 0, 15, 12)]), 'id': 'PathAnnotationObject'}
    cell = {**feature('Polygon', [box(2, 2, 5, 5)]), 'id': 'PathCellObject'}
    for old in (region, cell):
        old['properties'] = {'isLocked': False}
    found = read_geojson(write(tmp_path / 'a.geojson', collection(region, cell)), SIZE)
    assert (found.label_map > 0).sum() == 9 and found.left_out == 1


def test_no_features_are_an_image_without_objects(tmp_path):
    found = read_geojson(write(tmp_path / 'a.geojson', collection()), SIZE)
    np.testing.assert_array_equal(found.label_map, np.zeros(SIZE))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (collection(feature('Point', [1, 2])), 'feature .*0001: is a Point, expected a Polygon'),
        (collection({'type': 'Feature', 'geometry': None}), 'feature number 1: is a None'),
        (
            collection(feature('Polygon', [[[0, 0], [1, 1]]])),
            'feature .*0001: .* three or more x, y points',
        ),
        (collection(feature('Polygon', 3)), 'feature .*0001: '),
        ({'images': []}, 'is not GeoJSON'),
        ('text', 'is not GeoJSON'),
    ],
)
def test_what_is_no_area_or_no_geojson_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=f'a.geojson: {message}'):
        read_geojson(write(tmp_path / 'a.geojson', content), SIZE)


def test_the_image_size_has_to_come_from_elsewhere(tmp_path):
    with pytest.raises(ValueError, match='neither side says how large the image is'):
        read_geojson(write(tmp_path / 'a.geojson', collection()))


def test_damaged_files_are_named(tmp_path):
    path = write(tmp_path / 'a.geojson.gz', collection(feature('Polygon', [box(0, 0, 5, 5)])))
    whole = path.read_bytes()
    for damaged in (whole[:-12], b'no gzip', b''):
        path.write_bytes(damaged)
        with pytest.raises((OSError, ValueError), match='a.geojson.gz: (cannot be|is not JSON)'):
            read_geojson(path, SIZE)
    path.write_bytes(gzip.compress(b'{'))
    with pytest.raises(ValueError, match='a.geojson.gz: is not JSON'):
        read_geojson(path, SIZE)


def test_without_roifile_the_error_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'roifile', None)
    with pytest.raises(ModuleNotFoundError, match='a_rois.zip: .* pip install roifile'):
        read_imagej_rois(tmp_path / 'a_rois.zip', SIZE)


def test_imagej_rois_give_the_pixels_whose_centres_they_hold(tmp_path):
    roifile = pytest.importorskip('roifile')
    polygon = roifile.ImagejRoi.frompoints([[1, 1], [7, 1], [7, 5], [1, 5]])
    subpixel = roifile.ImagejRoi.frompoints([[8.4, 0.4], [10.6, 0.4], [10.6, 3.6], [8.4, 3.6]])
    rectangle = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT, top=6, left=2, bottom=11, right=6, name='r'
    )
    path = tmp_path / 'a_rois.zip'
    roifile.roiwrite(path, [polygon, subpixel, rectangle])
    expected = np.zeros(SIZE, int)
    expected[1:5, 1:7] = 1
    expected[0:4, 8:11] = 2
    expected[6:11, 2:6] = 3
    np.testing.assert_array_equal(read_imagej_rois(path, SIZE).label_map, expected)


def test_zipped_folders_and_what_macs_add_are_no_rois(tmp_path):
    roifile = pytest.importorskip('roifile')
    roi = roifile.ImagejRoi.frompoints([[1, 1], [7, 1], [7, 5], [1, 5]])
    path = tmp_path / 'a_rois.zip'
    with zipfile.ZipFile(path, 'w') as packed:
        packed.writestr('RoiSet/', b'')
        packed.writestr('RoiSet/1.ROI', roi.tobytes())
        packed.writestr('__MACOSX/RoiSet/._1.ROI', b'apple')
    assert (read_imagej_rois(path, SIZE).label_map > 0).sum() == 24
    with zipfile.ZipFile(path, 'w') as packed:
        packed.writestr('notes.txt', b'')
    with pytest.raises(OSError, match=r'decoded as ROI set: it holds notes.txt and no \.roi'):
        read_imagej_rois(path, SIZE)
    with zipfile.ZipFile(path, 'w'):
        pass
    assert read_imagej_rois(path, SIZE).label_map.max() == 0


def test_composite_imagej_rois_keep_their_holes(tmp_path):
    roifile = pytest.importorskip('roifile')
    path = []
    for ring in (box(1, 1, 9, 9)[:-1], box(3, 3, 6, 7)[:-1]):
        for k, (x, y) in enumerate(ring):
            path += [0.0 if k == 0 else 1.0, x, y]
        path += [4.0]
    roi = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT,
        top=1,
        left=1,
        bottom=9,
        right=9,
        name='c',
        shape_roi_size=len(path),
        multi_coordinates=np.array(path, np.float32),
    )
    roifile.roiwrite(tmp_path / 'a_rois.zip', [roi])
    expected = np.zeros(SIZE, int)
    expected[1:9, 1:9] = 1
    expected[3:7, 3:6] = 0
    found = read_imagej_rois(tmp_path / 'a_rois.zip', SIZE)
    np.testing.assert_array_equal(found.label_map, expected)


def test_imagej_rois_without_an_area_and_damaged_sets_are_refused(tmp_path):
    roifile = pytest.importorskip('roifile')
    path = tmp_path / 'a_rois.zip'
    point = roifile.ImagejRoi.frompoints([[1, 1]], name='spot')
    point.roitype = roifile.ROI_TYPE.POINT
    roifile.roiwrite(path, [point])
    with pytest.raises(ValueError, match='a_rois.zip: ROI spot: is a POINT, expected an area'):
        read_imagej_rois(path, SIZE)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(OSError, match='a_rois.zip: cannot be decoded as ROI set'):
        read_imagej_rois(path, SIZE)
