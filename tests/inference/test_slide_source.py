import pickle
import sys

import numpy as np
import pytest
import tifffile

from mmcell.engine.errors import UserError
from mmcell.inference import slide_source
from mmcell.inference.slide_source import SlideSource
from mmcell.inference.sources import open_sources

openslide = pytest.importorskip('openslide')

RNG = np.random.default_rng(0)
# Smooth, so that JPEG changes little.
RAMP = np.add.outer(np.arange(700) // 7, np.arange(900) // 8).astype(np.uint8)
RGB = np.dstack([RAMP, 255 - RAMP, np.full_like(RAMP, 90)])

APERIO = (
    'Aperio Image Library v11.2.1\r\n900x700 [0,0,900x700] (256x256) JPEG/RGB Q=90|MPP = 0.2520'
)


def write_levels(path, description=None, compression='deflate', resolution=None):
    """A slide of two levels in the way of generic scanners, or of Aperio's with a thumbnail."""
    options = dict(photometric='rgb', compression=compression, metadata=None)
    tiled = dict(tile=(256, 256), **options)
    with tifffile.TiffWriter(path) as writer:
        size = dict(resolution=resolution, resolutionunit='centimeter') if resolution else {}
        writer.write(RGB, description=description, **tiled, **size)
        if description:
            writer.write(RGB[::7, ::7], description=description, **options)
        writer.write(RGB[::4, ::4], description=description, subfiletype=not description, **tiled)
    return path


@pytest.mark.parametrize('suffix', ['.svs', '.tif'])
def test_aperio_slide_is_one_image_with_its_pixel_size(tmp_path, suffix):
    path = write_levels(tmp_path / f'a{suffix}', APERIO, 'jpeg')
    (source,) = open_sources(path)
    assert isinstance(source, SlideSource)
    assert (source.name, source.size, source.mpp) == ('a', (700, 900), 0.252)
    assert source.channels == ('red', 'green', 'blue') and source.dtype == np.uint8
    decoded = tifffile.imread(path, key=0)
    for reader in (source, pickle.loads(pickle.dumps(source))):
        with reader:
            region = reader.read(500, 250, 900, 700)
            # Two JPEG decoders.
            assert np.abs(region.astype(int) - decoded[250:, 500:]).max() <= 3
            thumbnail = reader.thumbnail(225)
    assert thumbnail.shape == (175, 225, 3)
    assert np.abs(thumbnail.astype(int) - tifffile.imread(path, key=2)).max() <= 3
    assert open_sources(path, mpp=0.5)[0].mpp == 0.5


def test_generic_pyramid_is_read_as_openslide_reads_it_with_or_without(tmp_path):
    path = write_levels(tmp_path / 'a.tif', resolution=(40000, 40000))
    (plain,), through_openslide = open_sources(path), SlideSource(path, 'a')
    assert not isinstance(plain, SlideSource)
    with plain, through_openslide:
        assert plain.size == through_openslide.size and plain.mpp == 0.25
        assert through_openslide.mpp == 0.25
        for region in ((0, 0, 900, 700), (130, 5, 600, 511)):
            np.testing.assert_array_equal(plain.read(*region), through_openslide.read(*region))
        np.testing.assert_array_equal(plain.thumbnail(225), through_openslide.thumbnail(225))


def test_region_of_a_pyramid_as_openslide_itself_gives_it(tmp_path):
    path = write_levels(tmp_path / 'a.tif')
    with openslide.OpenSlide(path) as slide, SlideSource(path, 'a') as source:
        expected = np.asarray(slide.read_region((100, 50), 0, (30, 20)))[:, :, :3]
        np.testing.assert_array_equal(source.read(100, 50, 130, 70), expected)


class ScannedPart:
    """Stands in for a MIRAX slide, of which the stage's larger part was not scanned."""

    properties = {
        'openslide.bounds-x': '1000',
        'openslide.bounds-y': '2000',
        'openslide.bounds-width': '400',
        'openslide.bounds-height': '300',
        'openslide.mpp-x': '0.25',
        'openslide.mpp-y': '0.2501',
    }
    dimensions = (5000, 9000)
    level_downsamples = (1.0, 4.0)

    def __init__(self, path):
        self.path = path

    def read_region(self, corner, level, size):
        rgba = np.full((size[1], size[0], 4), 255, np.uint8)
        rgba[..., :3] = corner[0] % 256, corner[1] % 256, level
        rgba[:, -1] = 0  # nothing there
        return rgba

    def close(self):
        pass


def test_scanned_part_is_the_image_and_what_was_not_scanned_is_white(tmp_path, monkeypatch):
    monkeypatch.setattr(openslide, 'OpenSlide', ScannedPart)
    (tmp_path / 'a.mrxs').write_bytes(b'')
    (source,) = open_sources(tmp_path / 'a.mrxs')
    assert source.size == (300, 400) and source.mpp == pytest.approx(0.25005)
    region = source.read(10, 20, 14, 22)
    assert region[0, 0].tolist() == [1010 % 256, 2020 % 256, 0]
    assert region[0, -1].tolist() == [255, 255, 255]
    assert source.thumbnail(100).shape == (75, 100, 3)
    assert source.thumbnail(100)[0, 0, 2] == 1  # of level 1


def test_what_openslide_does_not_open_is_named(tmp_path):
    for content in (b'', b'nothing of this kind' * 20):
        (tmp_path / 'a.svs').write_bytes(content)
        with pytest.raises(OSError, match='a.svs: cannot be decoded as slide'):
            open_sources(tmp_path / 'a.svs')


def test_damaged_tile_is_named(tmp_path):
    path = write_levels(tmp_path / 'a.svs', APERIO, 'jpeg')
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[-1]
    with open(path, 'r+b') as file:
        file.seek(offset)
        file.write(b'nonsense' * 8)
    (source,) = open_sources(path)
    with source:
        assert source.read(0, 0, 9, 9).shape == (9, 9, 3)
        with pytest.raises(OSError, match=r'a.svs: cannot be decoded as slide at \(800, 600, 900'):
            source.read(800, 600, 900, 700)


def test_axes_of_a_slide_are_not_open_to_choice_but_its_channels_are(tmp_path):
    path = write_levels(tmp_path / 'a.svs', APERIO, 'jpeg')
    with pytest.raises(ValueError, match="a.svs: axes are 'CYX', but a slide has YXS"):
        open_sources(path, axes='CYX')
    (source,) = open_sources(path, channels='green')
    with source:
        assert source.shown == (1,)


def test_missing_package_is_named_with_what_to_type(tmp_path, monkeypatch):
    path = write_levels(tmp_path / 'a.svs', APERIO, 'jpeg')
    monkeypatch.setitem(sys.modules, 'openslide', None)
    with pytest.raises(UserError, match=r"a.svs: .*pip install 'mmcell\[slide\]'"):
        open_sources(path)


def test_suffixes_are_those_of_formats_that_openslide_knows():
    assert {'.svs', '.ndpi', '.mrxs'} <= set(slide_source.SLIDE_SUFFIXES)
