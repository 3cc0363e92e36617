import gzip
import json
import uuid

import numpy as np
import pytest
import shapely

from mmcell.evaluation.readers.geojson import read_geojson

FILE = 'geojson/image.geojson'


def features(out, file=FILE):
    collection = json.loads((out / file).read_text(encoding='utf-8'))
    assert list(collection) == ['type', 'features']
    assert collection['type'] == 'FeatureCollection'
    return collection['features']


def label_of(feature):
    return feature['properties']['measurements']['label']


def test_ten_thousand_noisy_shapes_are_valid_and_have_the_area_of_their_pixels(
    tmp_path, save, noisy
):
    labels = noisy(100, 100, side=6)
    save(labels, ['geojson'], tmp_path, batch=1000)
    found = features(tmp_path)
    outlines = shapely.from_geojson([json.dumps(feature['geometry']) for feature in found])
    for shapes in (outlines, shapely.transform(outlines, lambda xy: np.round(xy, 2))):
        assert shapely.is_valid(shapes).all()
    pixels = np.bincount(labels.ravel())[1:]
    ids = np.array([label_of(feature) for feature in found])
    assert len(ids) == np.count_nonzero(pixels) and len(set(ids)) == len(ids) > 9900
    assert (shapely.area(outlines) == pixels[ids - 1]).all()
    assert [f['properties']['measurements']['area_px'] for f in found] == pixels[ids - 1].tolist()


def test_rings_are_closed_holes_are_rings_and_pieces_are_polygons(tmp_path, save, odd_shapes):
    save(odd_shapes, ['geojson'], tmp_path)
    ring, inner, pieces, pixel = (feature['geometry'] for feature in features(tmp_path))
    assert pixel == {
        'type': 'Polygon',
        'coordinates': [[[6, 5], [7, 5], [7, 6], [6, 6], [6, 5]]],
    }
    assert [len(g['coordinates']) for g in (ring, inner, pieces)] == [2, 1, 2]
    assert (ring['type'], pieces['type']) == ('Polygon', 'MultiPolygon')
    assert sorted(ring['coordinates'][1]) == [[1, 1], [1, 1], [1, 4], [4, 1], [4, 4]]
    for rings in (*(g['coordinates'] for g in (ring, inner)), *pieces['coordinates']):
        assert all(points[0] == points[-1] for points in rings)


def test_mmcells_own_reader_gives_the_label_map_back(tmp_path, save, odd_shapes):
    save(odd_shapes, ['geojson'], tmp_path)
    back = read_geojson(tmp_path / FILE, odd_shapes.shape)
    assert (back.label_map == odd_shapes).all() and back.cut == back.lost == 0


def test_a_feature_is_what_qupath_reads(tmp_path, save):
    pixels = np.full((4, 4, 2), np.nan, np.float32)
    pixels[:, :, 0] = 1 / 3
    odd = 'tumor, "grade 3"/Krebs ü\n'
    save(
        np.ones((4, 4), int),
        ['geojson'],
        tmp_path,
        pixels=pixels,
        mpp=0.5,
        channels=['DAPI', 'CD3'],
        classes=[odd],
        palette=[(1, 2, 3)],
    )
    (feature,) = features(tmp_path)
    assert list(feature) == ['type', 'id', 'geometry', 'properties']
    assert uuid.UUID(feature['id']).version == 5
    properties = feature['properties']
    assert properties['objectType'] == 'detection'
    assert properties['classification'] == {'name': odd, 'color': [1, 2, 3]}
    numbers = properties['measurements']
    assert numbers['area_um2'] == 4 and numbers['touches_border'] == 1 and numbers['score'] == 1
    assert numbers['mean_DAPI'] == 0.3333333
    assert not [name for name in numbers if 'CD3' in name]  # NaN
    assert all(type(number) in (int, float) for number in numbers.values())


def test_the_same_objects_give_the_same_bytes_other_images_other_ids(tmp_path, save, squares):
    labels = squares((40, 40), 5, 3)
    names = ['geojson', 'geojson.gz']
    for out in ('a', 'b'):
        save(labels, names, tmp_path / out, batch=7 if out == 'a' else 100)
    for file in (FILE, f'{FILE}.gz'):
        assert (tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes()
    save(labels, names, tmp_path / 'c', name='other')
    ours = {feature['id'] for feature in features(tmp_path / 'a')}
    assert len(ours) == 25
    assert not ours & {
        feature['id'] for feature in features(tmp_path / 'c', 'geojson/other.geojson')
    }


def test_gzipped_is_the_same_text(tmp_path, save, squares):
    save(squares((40, 40), 5, 3), ['geojson', 'geojson.gz'], tmp_path)
    text = gzip.decompress((tmp_path / f'{FILE}.gz').read_bytes())
    assert text == (tmp_path / FILE).read_bytes()


@pytest.mark.parametrize('size', [(1, 1), (3, 5)])
def test_no_objects_are_an_empty_collection(size, tmp_path, save):
    save(np.zeros(size, int), ['geojson'], tmp_path)
    assert features(tmp_path) == []
