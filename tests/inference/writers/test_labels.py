import numpy as np
import pytest
import tifffile

from mmcell.inference.writers import label_image, labels
from mmcell.inference.writers.label_image import LabelImage
from mmcell.structures import FoundObjects

FILE = 'labels/image.tif'


def test_a_small_label_map_is_a_plain_compressed_uint16_strip_tiff(tmp_path, save, squares):
    expected = squares((70, 90), side=7, gap=2)
    save(expected, ['labels'], tmp_path, batch=9)
    with tifffile.TiffFile(tmp_path / FILE) as tiff:
        (page,) = tiff.pages
        assert page.dtype == np.uint16 and page.compression.name == 'ADOBE_DEFLATE'
        assert not page.is_tiled and not tiff.is_bigtiff
        assert (page.asarray() == expected).all()
        assert 'ResolutionUnit' not in page.tags or page.tags['ResolutionUnit'].value == 1


@pytest.mark.parametrize('mpp', [0.25, 0.2527, 1.0])
def test_the_pixel_size_is_in_the_resolution_tags(mpp, tmp_path, save, squares):
    save(squares((9, 9), 2, 1), ['labels'], tmp_path, mpp=mpp)
    with tifffile.TiffFile(tmp_path / FILE) as tiff:
        tags = tiff.pages[0].tags
        assert tags['ResolutionUnit'].value == tifffile.RESUNIT.CENTIMETER
        for axis in ('XResolution', 'YResolution'):
            numerator, denominator = tags[axis].value
            assert numerator / denominator == pytest.approx(10_000 / mpp, rel=1e-6)


def test_ids_above_65535_make_an_int32_file(tmp_path, save, squares):
    expected = squares((600, 1050), side=2, gap=1)
    assert expected.max() == 70_000
    save(expected, ['labels'], tmp_path, batch=20_000)
    back = tifffile.imread(tmp_path / FILE)
    assert back.dtype == np.int32 and (back == expected).all()


def test_65535_is_the_last_id_of_uint16():
    assert labels.label_dtype(65_535) == np.uint16
    assert labels.label_dtype(65_536) == np.int32


@pytest.mark.parametrize('size', [(1, 1), (5, 8)])
def test_an_image_without_objects_gets_its_file(size, tmp_path, save):
    save(np.zeros(size, int), ['labels'], tmp_path)
    back = tifffile.imread(tmp_path / FILE)
    assert back.shape == size and not back.any() and back.dtype == np.uint16


def test_a_single_pixel_that_is_an_object(tmp_path, save):
    save(np.ones((1, 1), int), ['labels'], tmp_path)
    assert tifffile.imread(tmp_path / FILE).tolist() == [[1]]


def test_a_large_label_map_is_a_tiled_ome_tiff_with_a_pyramid_of_ids(
    tmp_path, save, squares, monkeypatch
):
    monkeypatch.setattr(labels, '_MAX_STRIP_PIXELS', 1000 * 1000)
    expected = squares((1101, 2300), side=19, gap=4)
    save(expected, ['labels'], tmp_path, mpp=0.5)
    with tifffile.TiffFile(tmp_path / FILE) as tiff:
        assert tiff.is_ome and not tiff.is_bigtiff and len(tiff.series) == 1
        assert 'PhysicalSizeX="0.5"' in tiff.ome_metadata
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == [(1101, 2300), (551, 1150), (276, 575)]
        for k, level in enumerate(levels):
            assert level.keyframe.is_tiled and level.keyframe.tile == (512, 512)
            assert level.keyframe.get_resolution() == (20_000 / 2**k, 20_000 / 2**k)
            assert (level.asarray() == expected[:: 2**k, :: 2**k]).all()


def test_bigtiff_where_classic_tiff_might_be_too_small(tmp_path, save, squares, monkeypatch):
    monkeypatch.setattr(labels, '_MAX_STRIP_PIXELS', 0)
    monkeypatch.setattr(labels, '_CLASSIC_TIFF_BYTES', 100 * 100 * 2)
    expected = squares((100, 100), side=9, gap=1)
    save(expected, ['labels'], tmp_path)
    with tifffile.TiffFile(tmp_path / FILE) as tiff:
        assert tiff.is_bigtiff and (tiff.asarray() == expected).all()


def test_tiles_that_leave_memory_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(label_image, '_KEPT_TILES', 2)
    rng = np.random.default_rng(0)
    size = (1100, 1300)
    expected = np.zeros(size, np.int32)
    image = LabelImage(size, tmp_path)
    ones, zeros = np.ones(1, np.float32), np.zeros(1, np.int64)
    for k in range(1, 80):  # here and there, so that all six tiles leave and return
        y, x = rng.integers(0, 1000), rng.integers(0, 1200)
        part = expected[y : y + 100, x : x + 100]
        patch = (rng.random((100, 100)) < 0.7) & (part == 0)
        part[patch] = k
        box = np.array([[x, y, x + 100, y + 100]])
        image.add(FoundObjects(box, [patch], ones, zeros, np.array([k]), ones))
        assert len(image._kept) <= 2
    assert (image.to_array(np.int32) == expected).all()
    assert image.largest_id == 79
    assert not list(tmp_path.iterdir())  # the temporary file has no name
    image.close()
