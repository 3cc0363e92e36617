import json
import pickle
import shutil
import sys
import tracemalloc

import numpy as np
import pytest

from mmcell.engine.errors import UserError
from mmcell.inference.sources import open_sources

IMAGE = np.random.default_rng(0).integers(0, 4096, (5, 200, 170), dtype=np.uint16)
AXES = [
    {'name': 'c', 'type': 'channel'},
    {'name': 'y', 'type': 'space', 'unit': 'micrometer'},
    {'name': 'x', 'type': 'space', 'unit': 'micrometer'},
]
NAMES = ('DAPI', 'CD3', 'CD8', 'CD20', 'PanCK')

zarr = pytest.importorskip('zarr')


def require_same(source, expected):
    """A source reads what an (H, W, C) array holds, here and in another process."""
    assert source.size == expected.shape[:2]
    for reader in (source, pickle.loads(pickle.dumps(source))):
        with reader:
            region = reader.read(33, 50, 97, 163)
        assert region.dtype == expected.dtype
        np.testing.assert_array_equal(region, expected[50:163, 33:97])


def write_ome(path, image, axes, scale, version='0.5', channels=()):
    """An OME-Zarr of two levels, by hand, as the specification has it."""
    group = zarr.open_group(path, mode='w', zarr_format=3 if version == '0.5' else 2)
    datasets = []
    for level in range(2):
        step = 2**level
        pixels = image[..., ::step, ::step]
        group.create_array(str(level), data=pixels, chunks=(1,) * (image.ndim - 2) + (64, 64))
        level_scale = [*scale[:-2], scale[-2] * step, scale[-1] * step]
        datasets.append(
            {
                'path': str(level),
                'coordinateTransformations': [{'type': 'scale', 'scale': level_scale}],
            }
        )
    ome = {'multiscales': [{'axes': axes, 'datasets': datasets, 'version': version}]}
    if channels:
        ome['omero'] = {'channels': [{'label': name} for name in channels]}
    group.attrs.update({'ome': {'version': '0.5', **ome}} if version == '0.5' else ome)
    return path


@pytest.mark.parametrize('version', ['0.4', '0.5'])
def test_ome_zarr_names_axes_channels_and_pixel_size(tmp_path, version):
    path = write_ome(tmp_path / 'a.ome.zarr', IMAGE, AXES, [1, 0.25, 0.25], version, NAMES)
    with pytest.raises(ValueError, match='1 DAPI, 2 CD3, 3 CD8, 4 CD20, 5 PanCK'):
        open_sources(path)
    (source,) = open_sources(path, channels='PanCK')
    assert (source.name, source.axes, source.mpp) == ('a', 'CYX', 0.25)
    assert source.channels == NAMES and source.shown == (4,) and source.dtype == np.uint16
    require_same(source, np.moveaxis(IMAGE, 0, -1))
    with source:
        assert source.thumbnail(100).shape == (100, 85, 5)


def test_what_ome_zarr_writes_is_read(tmp_path):
    writer = pytest.importorskip('ome_zarr.writer')
    writer.write_image(
        IMAGE[:3],
        zarr.open_group(tmp_path / 'a.zarr', mode='w'),
        axes=AXES,
        scale_factors=[2],
        scale={'c': 1.0, 'y': 0.5, 'x': 0.5},
        axes_units={'y': 'micrometer', 'x': 'micrometer'},
    )
    (source,) = open_sources(tmp_path / 'a.zarr')
    assert source.mpp == 0.5 and not source.is_colour
    require_same(source, np.moveaxis(IMAGE[:3], 0, -1))


def test_other_axes_are_images_of_their_own_and_units_are_honoured(tmp_path):
    axes = [{'name': 'z', 'type': 'space', 'unit': 'nanometer'}] + [
        {**axis, 'unit': 'nanometer'} for axis in AXES[1:]
    ]
    path = write_ome(tmp_path / 'a.zarr', IMAGE, axes, [1000, 250, 250])
    sources = open_sources(path)
    assert [source.name for source in sources] == [f'a_page00{k}' for k in range(1, 6)]
    assert {source.mpp for source in sources} == {0.25}
    require_same(sources[3], IMAGE[3, :, :, None])


def test_scales_of_level_and_image_multiply_and_none_is_no_pixel_size(tmp_path):
    path = write_ome(tmp_path / 'a.zarr', IMAGE[:1], AXES, [1, 0.25, 0.25])
    metadata = json.loads((path / 'zarr.json').read_text())
    multiscale = metadata['attributes']['ome']['multiscales'][0]
    multiscale['coordinateTransformations'] = [{'type': 'scale', 'scale': [1, 2, 2]}]
    (path / 'zarr.json').write_text(json.dumps(metadata))
    assert open_sources(path)[0].mpp == 0.5
    del (
        multiscale['coordinateTransformations'],
        multiscale['datasets'][0]['coordinateTransformations'],
    )
    (path / 'zarr.json').write_text(json.dumps(metadata))
    assert open_sources(path)[0].mpp is None


@pytest.mark.parametrize('axes', [None, ['t', 'c', 'z', 'y', 'x']])
def test_early_ome_zarr_has_five_axes_or_their_letters(tmp_path, axes):
    path = write_ome(tmp_path / 'a.zarr', IMAGE[None, :3, None], axes, [1] * 5, version='0.1')
    metadata = json.loads((path / '.zattrs').read_text())
    if axes is None:
        del metadata['multiscales'][0]['axes']
        (path / '.zattrs').write_text(json.dumps(metadata))
    (source,) = open_sources(path)
    assert (source.axes, source.mpp) == ('TCZYX', None)
    require_same(source, np.moveaxis(IMAGE[:3], 0, -1))


@pytest.mark.parametrize('zarr_format', [2, 3])
def test_plain_array_is_read_as_its_shape_or_names_say(tmp_path, zarr_format):
    rgb = np.moveaxis(IMAGE[:3], 0, -1)
    zarr.create_array(tmp_path / 'a.zarr', data=rgb, chunks=(64, 64, 3), zarr_format=zarr_format)
    (source,) = open_sources(tmp_path / 'a.zarr')
    assert source.is_colour and source.mpp is None
    require_same(source, rgb)
    path = tmp_path / 'b.zarr'
    zarr.create_array(path, data=IMAGE, zarr_format=zarr_format)
    with pytest.raises(ValueError, match=r'b.zarr: has shape \(5, 200, 170\) with axes QYX'):
        open_sources(path)
    assert len(open_sources(path, axes='ZYX')) == 5


def test_dimension_names_are_axes(tmp_path):
    names = ['c', 'y', 'x']
    zarr.create_array(tmp_path / 'a.zarr', data=IMAGE, dimension_names=names)
    (source,) = open_sources(tmp_path / 'a.zarr', channels=[1])
    require_same(source, np.moveaxis(IMAGE, 0, -1))
    array = zarr.create_array(tmp_path / 'b.zarr', data=IMAGE, zarr_format=2)
    array.attrs['_ARRAY_DIMENSIONS'] = ['z', 'y', 'x']
    assert len(open_sources(tmp_path / 'b.zarr')) == 5


def test_series_of_bio_formats_are_images_of_their_own(tmp_path):
    root = zarr.open_group(tmp_path / 'a.zarr', mode='w')
    root.attrs['ome'] = {'version': '0.5', 'bioformats2raw.layout': 3}
    zarr.open_group(tmp_path / 'a.zarr' / 'OME', mode='w')
    for k in (0, 1, 10):
        write_ome(tmp_path / 'a.zarr' / str(k), IMAGE[:1] + k, AXES, [1, 1, 1])
    sources = open_sources(tmp_path / 'a.zarr')
    assert [source.name for source in sources] == ['a_page001', 'a_page002', 'a_page003']
    require_same(sources[2], IMAGE[0, :, :, None] + 10)


def test_fields_of_a_well_are_read_and_a_plate_names_its_wells(tmp_path):
    plate = zarr.open_group(tmp_path / 'p.zarr', mode='w')
    plate.attrs['ome'] = {'plate': {'wells': [{'path': 'A/1'}]}}
    well = zarr.open_group(tmp_path / 'p.zarr' / 'A' / '1', mode='w')
    well.attrs['ome'] = {'well': {'images': [{'path': '0'}]}}
    write_ome(tmp_path / 'p.zarr' / 'A' / '1' / '0', IMAGE[:1], AXES, [1, 1, 1])
    with pytest.raises(
        ValueError, match='is a plate of 1 wells; predict on the wells, such as .*A/1'
    ):
        open_sources(tmp_path / 'p.zarr')
    (source,) = open_sources(tmp_path / 'p.zarr' / 'A' / '1')
    assert source.name == 'p_A_1'
    require_same(source, IMAGE[0, :, :, None])


def test_group_without_metadata_names_its_members(tmp_path):
    zarr.open_group(tmp_path / 'a.zarr', mode='w').create_array('raw', data=IMAGE)
    with pytest.raises(ValueError, match=r'a.zarr: is a zarr group without multiscales.*\(raw\)'):
        open_sources(tmp_path / 'a.zarr')
    (source,) = open_sources(tmp_path / 'a.zarr' / 'raw', axes='CYX', channels='2')
    assert source.name == 'a_raw' and source.shown == (1,)


def test_damage_is_named(tmp_path):
    path = write_ome(tmp_path / 'a.zarr', IMAGE[:1], AXES, [1, 1, 1])
    (source,) = open_sources(path)
    (path / '0' / 'c' / '0' / '0' / '0').write_bytes(b'nonsense')
    with source, pytest.raises(OSError, match=r'a.zarr: cannot be decoded at \(0, 0, 9, 9\)'):
        source.read(0, 0, 9, 9)
    shutil.rmtree(path / '0')
    with pytest.raises(OSError, match='a.zarr: cannot be decoded as OME-Zarr'):
        open_sources(path)
    (path / 'zarr.json').write_text('{')
    with pytest.raises(OSError, match='a.zarr: cannot be decoded as zarr'):
        open_sources(path)
    (tmp_path / 'empty.zarr').mkdir()
    with pytest.raises(OSError, match='empty.zarr: cannot be decoded as zarr'):
        open_sources(tmp_path / 'empty.zarr')


def test_missing_package_is_named_with_what_to_type(tmp_path, monkeypatch):
    path = write_ome(tmp_path / 'a.zarr', IMAGE[:1], AXES, [1, 1, 1])
    monkeypatch.setitem(sys.modules, 'zarr', None)
    with pytest.raises(UserError, match=r"a.zarr: .*pip install 'mmcell\[zarr\]'"):
        open_sources(path)


def test_memory_is_that_of_the_region(tmp_path):
    zarr.create_array(
        tmp_path / 'a.zarr', shape=(8192, 8192), chunks=(256, 256), dtype=np.uint16, fill_value=7
    )[:600, :600] = 9
    tracemalloc.start()
    try:
        (source,) = open_sources(tmp_path / 'a.zarr')
        with source:
            assert set(source.read(500, 500, 1000, 1000).ravel()) == {7, 9}
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20  # of 128 MiB
    finally:
        tracemalloc.stop()
