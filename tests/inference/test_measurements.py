import numpy as np
import pandas as pd
import pytest
import shapely
from scipy import ndimage
from skimage.measure import label, regionprops_table

from mmcell.functional.polygons import trace_polygons
from mmcell.inference.measurements import measure
from mmcell.structures import FoundObjects

SHARED = {
    'label': 'label',
    'area': 'area_px',
    'perimeter': 'perimeter_px',
    'axis_major_length': 'major_axis_px',
    'axis_minor_length': 'minor_axis_px',
    'eccentricity': 'eccentricity',
    'solidity': 'solidity',
    'bbox-0': 'y1_px',
    'bbox-1': 'x1_px',
    'bbox-2': 'y2_px',
    'bbox-3': 'x2_px',
}


def noisy_label_map(size=300, seed=0):
    """Blobs of all sizes with holes, cut by the border; touching ones have ids of their own."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(size, size)), 3)
    blobs = label((smooth > 0.02) & (rng.random((size, size)) < 0.97), connectivity=1)
    split = blobs * 2 - (np.arange(size) % 60 < 30) * (blobs > 0)
    return split * 3  # gaps between ids


def table(labels, pixels=None, **options):
    pixels = np.zeros((*labels.shape, 1), np.uint8) if pixels is None else pixels
    objects = FoundObjects.from_label_map(labels)
    known = dict(image='a', size=labels.shape, classes=['cell'])
    known['channels'] = [str(k) for k in range(pixels.shape[2])]
    return measure(objects, pixels, (0, 0), **{**known, **options})


@pytest.mark.filterwarnings('ignore:.*convex hull')  # regionprops, of single pixels
def test_every_property_is_that_of_regionprops():
    labels = noisy_label_map()
    pixels = np.random.default_rng(1).integers(0, 60_000, (*labels.shape, 2), dtype=np.uint16)
    ours = table(labels, pixels)
    assert len(ours) > 100 and ours.area_px.min() == 1
    intensities = [f'intensity_{name}' for name in ('mean', 'min', 'max', 'std')]
    names = {name.rsplit('-')[0] for name in SHARED} | {'centroid', *intensities}
    expected = regionprops_table(labels, pixels, properties=sorted(names))
    for theirs, name in SHARED.items():
        np.testing.assert_allclose(ours[name], expected[theirs], atol=1e-6, err_msg=name)
    # regionprops counts from pixel centres, polygons and boxes from the image's corner.
    np.testing.assert_allclose(ours.centroid_y_px, expected['centroid-0'] + 0.5)
    np.testing.assert_allclose(ours.centroid_x_px, expected['centroid-1'] + 0.5)
    for k in (0, 1):
        for name in ('mean', 'min', 'max', 'std'):
            np.testing.assert_allclose(ours[f'{name}_{k}'], expected[f'intensity_{name}-{k}'])


def test_area_and_centroid_are_those_of_the_polygon():
    labels = noisy_label_map(100)
    for row in table(labels).itertuples():
        outline = shapely.MultiPolygon(trace_polygons(labels == row.label))
        assert outline.area == row.area_px
        assert outline.centroid.x == pytest.approx(row.centroid_x_px)
        assert outline.bounds == (row.x1_px, row.y1_px, row.x2_px, row.y2_px)


def test_microns_are_there_where_the_pixel_size_is_known():
    labels = np.zeros((9, 9), int)
    labels[2:4, 1:7] = 5
    row = table(labels, mpp=0.5).iloc[0]
    assert row.area_um2 == 12 * 0.25
    assert (row.centroid_x_um, row.centroid_y_um) == (2.0, 1.5)
    assert row.perimeter_um == row.perimeter_px / 2 and row.major_axis_um == row.major_axis_px / 2
    assert row.minor_axis_um == row.minor_axis_px / 2
    names = ['centroid_x', 'centroid_y', 'area', 'perimeter', 'major_axis', 'minor_axis']
    columns = [column for column in table(labels, mpp=0.5) if 'um' in column]
    assert columns == [f'{name}_um2' if name == 'area' else f'{name}_um' for name in names]
    assert not [column for column in table(labels) if 'um' in column]


def test_a_window_gives_what_the_whole_image_gives():
    labels = noisy_label_map(120)
    pixels = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
    whole = table(labels, pixels)
    objects = FoundObjects.from_label_map(labels)
    inner = (objects.boxes[:, :2] >= 20).all(axis=1) & (objects.boxes[:, 2:] <= 100).all(axis=1)
    part = measure(
        objects[inner],
        pixels[20:100, 10:110],
        (10, 20),
        image='a',
        size=(120, 120),
        channels='012',
        classes=['cell'],
    )
    assert len(part) > 5
    pd.testing.assert_frame_equal(part, whole[inner].reset_index(drop=True))


def test_a_loose_box_changes_nothing():
    labels = noisy_label_map(60)
    objects = FoundObjects.from_label_map(labels)
    loose = FoundObjects(
        objects.boxes + np.array([-2, -1, 3, 4]),
        [np.pad(patch, ((1, 4), (2, 3))) for patch in objects.patches],
        objects.scores,
        objects.classes,
        objects.ids,
        objects.ranks,
    )
    known = dict(image='a', size=(60, 60), channels=['0'], classes=['cell'])
    pixels = np.pad(np.arange(3600).reshape(60, 60, 1), ((4, 4), (4, 4), (0, 0)))
    tight = measure(objects, pixels, (-4, -4), **known)
    pd.testing.assert_frame_equal(measure(loose, pixels, (-4, -4), **known), tight)


@pytest.mark.parametrize(('y', 'x'), [(0, 3), (3, 0), (7, 3), (3, 7)])
def test_objects_at_each_border_touch_it(y, x):
    labels = np.zeros((8, 8), int)
    labels[y, x] = 1
    labels[2:7, 5:7] = 2
    assert table(labels).touches_border.tolist() == [True, False]


def test_one_pixel_is_an_object():
    row = table(np.ones((1, 1), int), np.full((1, 1, 1), 7, np.uint8)).iloc[0]
    assert (row.area_px, row.perimeter_px, row.major_axis_px, row.eccentricity) == (1, 0, 0, 0)
    assert (row.solidity, row.mean_0, row.min_0, row.max_0, row.std_0) == (1, 7, 7, 7, 0)


def test_intensities_of_booleans_are_numbers():
    found = table(np.ones((1, 2), int), np.array([[[True], [False]]]))
    assert found[['mean_0', 'min_0', 'max_0']].iloc[0].tolist() == [0.5, 0, 1]
    assert found.min_0.dtype == found.max_0.dtype == np.uint8


def test_no_objects_give_a_table_with_the_same_columns_and_types():
    full, empty = table(np.ones((3, 3), int), mpp=1.0), table(np.zeros((3, 3), int), mpp=1.0)
    assert len(empty) == 0 and full.dtypes.to_dict() == empty.dtypes.to_dict()


def test_five_channels_keep_their_names_and_equal_names_are_numbered():
    names = ['DAPI', 'CD3 (Opal 520)', 'CD8,x', 'autofluorescence', 'β-catenin']
    pixels = np.arange(5, dtype=np.float32) * np.ones((4, 4, 1), np.float32)
    row = table(np.ones((4, 4), int), pixels, channels=names).iloc[0]
    assert [row[f'mean_{name}'] for name in names] == [0, 1, 2, 3, 4]
    twice = table(np.ones((4, 4), int), pixels[:, :, :2], channels=['DAPI', 'DAPI'])
    assert {'mean_DAPI_1', 'mean_DAPI_2'} <= set(twice.columns)


def test_what_cannot_be_measured_is_refused():
    labels = np.ones((4, 4), int)
    with pytest.raises(ValueError, match=r'pixels must be \(h, w, 3\), got \(4, 4, 1\)'):
        table(labels, channels='RGB')
    with pytest.raises(ValueError, match='there is a class 0, but names: '):
        table(labels, classes=[])
    objects = FoundObjects.from_label_map(labels)
    objects.patches[0][:] = False
    with pytest.raises(ValueError, match='object 1 has no pixel'):
        measure(
            objects,
            np.zeros((4, 4, 1)),
            (0, 0),
            image='a',
            size=(4, 4),
            channels='a',
            classes=['cell'],
        )
