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
    assert label_image.label_dtype(65_535) == np.uint16
    assert label_image.label_dtype(65_536) == np.int32


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


def paint_here_and_there(image, count=80, first_id=1):
    """Objects anywhere, so that every tile leaves memory and returns; gives what is painted."""
    rng = np.random.default_rng(0)
    height, width = image.level_sizes[0]
    expected = np.zeros((height, width), np.int32)
    ones, zeros = np.ones(1, np.float32), np.zeros(1, np.int64)
    for k in range(first_id, first_id + count):
        y, x = rng.integers(0, height - 100), rng.integers(0, width - 100)
        part = expected[y : y + 100, x : x + 100]
        patch = (rng.random((100, 100)) < 0.7) & (part == 0)
        part[patch] = k
        box = np.array([[x, y, x + 100, y + 100]])
        image.add(FoundObjects(box, [patch], ones, zeros, np.array([k]), ones))
        assert len(image._kept[0]) <= 2 and len(image._kept[1]) <= 1
    return expected


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(label_image, '_KEPT_TILES', 2)
    monkeypatch.setattr(label_image, '_KEPT_BELOW', 1)


def test_tiles_that_leave_memory_come_back(tmp_path, little_memory):
    image = LabelImage((1100, 2300), tmp_path)
    expected = paint_here_and_there(image)
    back = image.to_array()
    assert (back == expected).all() and back.dtype == np.uint16
    assert not list(tmp_path.iterdir())  # the temporary file has no name
    image.close()


def test_levels_hold_every_second_pixel_also_of_tiles_that_returned(tmp_path, little_memory):
    image = LabelImage((1100, 2300), tmp_path)
    expected = paint_here_and_there(image)
    levels = list(image.levels())
    assert [size for size, _ in levels] == [(1100, 2300), (550, 1150), (275, 575)]
    for k, (size, tiles) in enumerate(levels):
        back = np.zeros(size, np.int32)
        for x, y, tile in tiles:
            part = back[y : y + 512, x : x + 512]
            part[:] = tile[: len(part), : part.shape[1]]
            assert not tile[len(part) :].any() and not tile[:, part.shape[1] :].any()
        assert (back == expected[:: 2**k, :: 2**k]).all()
    image.close()


def test_tiles_packed_before_ids_became_large_are_packed_anew(
    tmp_path, save, squares, monkeypatch, little_memory
):
    monkeypatch.setattr(labels, '_MAX_STRIP_PIXELS', 0)
    expected = squares((1500, 1050), side=2, gap=1)
    assert expected.max() > 70_000
    save(expected, ['labels'], tmp_path, batch=20_000)
    with tifffile.TiffFile(tmp_path / FILE) as tiff:
        levels = tiff.series[0].levels
        assert {level.dtype for level in levels} == {np.dtype(np.int32)} and len(levels) == 2
        for k, level in enumerate(levels):
            assert (level.asarray() == expected[:: 2**k, :: 2**k]).all()


def test_objects_that_share_pixels_are_refused(tmp_path):
    two, zeros = np.ones(2, np.float32), np.zeros(2, np.int64)
    boxes = np.array([[0, 0, 4, 4], [3, 3, 6, 6]])
    patches = [np.ones((4, 4), bool), np.ones((3, 3), bool)]
    for take in (LabelImage.to_array, lambda image: next(image.packed_levels())):
        image = LabelImage((9, 9), tmp_path)
        image.add(FoundObjects(boxes, patches, two, zeros, np.array([1, 2]), two))
        with pytest.raises(ValueError, match='objects share 1 pixels'):
            take(image)
        image.close()
