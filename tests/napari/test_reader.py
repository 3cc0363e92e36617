import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile

from mmcell.engine.errors import DataError
from mmcell.inference.sources import ArraySource
from mmcell.inference.writers import open_writers
from mmcell.napari.reader import get_reader
from mmcell.structures import FoundObjects

SIZE = (60, 70)


@pytest.fixture
def labels():
    """Three objects: one with a hole, one of two pieces, one at the border."""
    labels = np.zeros(SIZE, dtype=np.int32)
    labels[5:15, 10:25] = 1
    labels[8:12, 14:18] = 0
    labels[30:35, 5:9] = labels[35:40, 9:12] = 2
    labels[50:60, 60:70] = 3
    return labels


@pytest.fixture
def results(tmp_path, labels):
    """A folder as ``mmcell predict`` writes it, of an image of half a micron per pixel."""
    source = ArraySource(np.arange(60 * 70, dtype=np.uint16).reshape(SIZE), name='a', mpp=0.5)
    names = ['labels', 'geojson', 'geojson.gz', 'csv']
    if _has_zarr():
        names.append('ome-zarr')
    with open_writers(names, tmp_path, source) as writers:
        writers.write(FoundObjects.from_label_map(labels), source.read(0, 0, 70, 60), (0, 0))
    return tmp_path


def _has_zarr():
    try:
        import ome_zarr  # noqa: F401
    except ImportError:
        return False
    return True


def read(path):
    return get_reader(str(path))(str(path))


@pytest.mark.parametrize(
    'name', ['labels/a.tif', 'geojson/a.geojson', 'geojson/a.geojson.gz', 'ome-zarr/a.ome.zarr']
)
def test_every_kind_of_file_shows_the_same_labels_in_microns_with_the_table(results, labels, name):
    if name.endswith('zarr'):
        pytest.importorskip('ome_zarr')
    ((pixels, options, kind),) = read(results / name)
    pixels = pixels[0] if isinstance(pixels, list) else pixels
    assert kind == 'labels'
    np.testing.assert_array_equal(np.asarray(pixels), labels)
    assert options['scale'] == pytest.approx((0.5, 0.5))
    assert options['units'] == ('um', 'um')
    assert options['name'].startswith('a')
    table = options['features']
    assert table['index'].tolist() == [1, 2, 3]
    assert table['area_px'].tolist() == [150 - 16, 20 + 15, 100]
    assert table['class'].tolist() == ['cell'] * 3


def test_a_pyramid_keeps_its_levels(tmp_path):
    (tmp_path / 'labels').mkdir()
    levels = [np.full((n, n), 7, dtype=np.uint16) for n in (64, 32)]
    with tifffile.TiffWriter(tmp_path / 'labels/a.tif', ome=True) as tiff:
        tiff.write(levels[0], subifds=1, photometric='minisblack')
        tiff.write(levels[1], subfiletype=1, photometric='minisblack')
    ((pixels, options, _),) = read(tmp_path / 'labels/a.tif')
    assert [level.shape for level in pixels] == [(64, 64), (32, 32)]
    assert not any(isinstance(level, np.ndarray) for level in pixels)  # read where one looks
    for level, expected in zip(pixels, levels, strict=True):
        np.testing.assert_array_equal(level[:], expected)
        level.store.close()
    assert set(options) == {'name'}  # neither a pixel size nor a table


def test_parquet_is_a_table_too(results):
    pytest.importorskip('pyarrow')
    pd.read_csv(results / 'tables/a.csv').to_parquet(results / 'tables/a.parquet')
    (results / 'tables/a.csv').unlink()
    ((_, options, _),) = read(results / 'labels/a.tif')
    assert options['features']['index'].tolist() == [1, 2, 3]


def test_geojson_of_others_is_numbered_in_its_order(tmp_path):
    square = [[[2, 1], [4, 1], [4, 3], [2, 3], [2, 1]]]
    moved = [[[x + 3, y] for x, y in square[0]]]
    features = [
        {'type': 'Feature', 'geometry': {'type': 'Polygon', 'coordinates': rings}}
        for rings in (square, moved)
    ]
    path = tmp_path / 'x.geojson'
    path.write_text(json.dumps({'type': 'FeatureCollection', 'features': features}))
    ((pixels, options, _),) = read(path)
    expected = np.zeros((3, 7), dtype=int)
    expected[1:3, 2:4], expected[1:3, 5:7] = 1, 2
    np.testing.assert_array_equal(pixels, expected)
    assert 'scale' not in options


def _feature(x, label=None, kind='detection', **properties):
    properties['objectType'] = kind
    if label is not None:
        properties['measurements'] = {'label': label}
    ring = [[x, 0], [x + 2, 0], [x + 2, 2], [x, 2], [x, 0]]
    geometry = {'type': 'Polygon', 'coordinates': [ring]}
    return {'type': 'Feature', 'geometry': geometry, 'properties': properties}


def test_objects_added_in_qupath_get_numbers_of_their_own_and_regions_none(tmp_path):
    path = tmp_path / 'x.geojson'
    features = [_feature(0, 1), _feature(3), _feature(0, kind='annotation'), _feature(6, 2)]
    path.write_text(json.dumps({'type': 'FeatureCollection', 'features': features}))
    ((pixels, options, _),) = read(path)
    assert pixels[0].tolist() == [1, 1, 0, 3, 3, 0, 2, 2]
    assert options['features']['index'].tolist() == [1, 3, 2]


def test_measurements_of_old_qupath_are_read(tmp_path):
    path = tmp_path / 'x.geojson'
    values = [{'name': 'label', 'value': 7.0}, {'name': 'Area', 'value': 4.5}]
    path.write_text(json.dumps([_feature(0, measurements=values)]))
    ((pixels, options, _),) = read(path)
    assert pixels.max() == 7
    assert options['features']['Area'].tolist() == [4.5]


@pytest.mark.parametrize('image_version', ['0.4', '0.5'])
def test_labels_of_ngff_0_5_and_within_an_image_of_it(tmp_path, results, labels, image_version):
    zarr = pytest.importorskip('zarr')
    pytest.importorskip('ome_zarr')
    path = tmp_path / 'image.ome.zarr'
    if image_version == '0.5':  # both of Zarr 3
        write_labels_0_5(zarr, path, labels)
    else:  # mmcell's labels, of Zarr 2, copied into an image of Zarr 3
        zarr.create_group(path, zarr_format=3)
        shutil.copytree(results / 'ome-zarr/a.ome.zarr/labels', path / 'labels')
    ((pixels, options, _),) = read(path)
    np.testing.assert_array_equal(np.asarray(pixels[0]), labels)
    assert options['scale'] == pytest.approx((0.5, 0.5))


def write_labels_0_5(zarr, path, labels):
    group = zarr.create_group(path, zarr_format=3).create_group('labels')
    group.attrs['ome'] = {'version': '0.5', 'labels': ['cells']}
    cells = group.create_group('cells')
    cells.create_array('0', data=labels)
    scale = [{'type': 'scale', 'scale': [0.5, 0.5]}]
    axes = [{'name': name, 'type': 'space', 'unit': 'micrometer'} for name in 'yx']
    datasets = [{'path': '0', 'coordinateTransformations': scale}]
    cells.attrs['ome'] = {'version': '0.5', 'multiscales': [{'axes': axes, 'datasets': datasets}]}


def test_an_image_without_objects(tmp_path):
    path = tmp_path / 'x.geojson'
    path.write_text('{"type":"FeatureCollection","features":[]}')
    ((pixels, options, _),) = read(path)
    assert not pixels.any() and 'features' not in options


def test_several_files_are_several_layers(results):
    paths = [str(results / 'labels/a.tif'), str(results / 'geojson/a.geojson')]
    assert len(get_reader(paths)(paths)) == 2
    assert get_reader([*paths, 'picture.png']) is None


@pytest.mark.parametrize('name', ['a.tif', 'labels/a.png', 'image.ome.zarr', 'table.csv'])
def test_other_files_are_left_to_other_readers(tmp_path, name):
    assert get_reader(str(tmp_path / name)) is None


def test_a_tiff_of_colours_is_no_label_map(tmp_path):
    (tmp_path / 'labels').mkdir()
    tifffile.imwrite(tmp_path / 'labels/a.tif', np.zeros((8, 8, 3), np.uint8), photometric='rgb')
    with pytest.raises(DataError, match=r'a.tif: is no label map'):
        read(tmp_path / 'labels/a.tif')


def test_a_geojson_of_points_is_refused(tmp_path):
    path = tmp_path / 'x.geojson'
    path.write_text('[{"geometry": {"type": "Point", "coordinates": [1, 2]}}]')
    with pytest.raises(DataError, match=r'x.geojson: an object is a Point, expected a Polygon'):
        read(path)
