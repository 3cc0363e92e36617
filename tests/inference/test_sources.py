import pickle
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmcell.inference.sources import open_sources, output_name

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (50, 40, 3), dtype=np.uint8)


def write_picture(path, image):
    ok, encoded = cv2.imencode(path.suffix, image)
    assert ok
    encoded.tofile(path)
    return path


def require_same(source, expected):
    assert source.size == expected.shape[:2] and source.mpp is None
    for reader in (source, pickle.loads(pickle.dumps(source))):
        with reader:
            region = reader.read(3, 4, 10, 20)
        assert region.dtype == expected.dtype == reader.dtype
        np.testing.assert_array_equal(region, expected[4:20, 3:10])


@pytest.mark.parametrize('suffix', ['.png', '.bmp'])
def test_pictures_are_read_in_rgb_order(tmp_path, suffix):
    path = write_picture(tmp_path / f'Zellkérne{suffix}', RGB[:, :, ::-1])
    (source,) = open_sources(path)
    assert source.name == 'Zellkérne' and source.is_colour
    require_same(source, RGB)
    gray = write_picture(tmp_path / f'gray{suffix}', RGB[:, :, 0])
    require_same(open_sources(gray)[0], RGB[:, :, :1])


def test_png_of_sixteen_bits_and_alpha(tmp_path):
    deep = RNG.integers(0, 4096, (50, 40, 4), dtype=np.uint16)
    path = write_picture(tmp_path / 'a.png', deep[:, :, [2, 1, 0, 3]])
    require_same(open_sources(path)[0], deep[:, :, :3])


def test_png_with_a_palette_shows_its_colours(tmp_path):
    image = Image.fromarray(RGB[:, :, 0]).convert('P')
    image.putpalette(RGB[:, :, 1].ravel()[:768].tolist())
    image.save(tmp_path / 'a.png')
    require_same(open_sources(tmp_path / 'a.png')[0], np.asarray(image.convert('RGB')))


def test_jpeg_is_what_opencv_decodes(tmp_path):
    path = write_picture(tmp_path / 'a.jpg', RGB)
    require_same(open_sources(path)[0], cv2.imread(str(path))[:, :, ::-1])


@pytest.mark.parametrize('dtype', [bool, np.uint8, np.uint16, np.int32, np.float64, '>f4'])
def test_npy_is_read_by_region(tmp_path, dtype):
    image = RGB.astype(dtype)
    np.save(tmp_path / 'a.npy', image)
    (source,) = open_sources(tmp_path / 'a.npy')
    require_same(source, image.astype(np.dtype(dtype).newbyteorder('=')))
    np.save(tmp_path / 'b.npy', np.asfortranarray(image[:, :, 0]))
    require_same(open_sources(tmp_path / 'b.npy')[0], source.read(0, 0, 40, 50)[:, :, :1])


def test_npy_of_unknown_axes_is_refused(tmp_path):
    np.save(tmp_path / 'a.npy', np.moveaxis(RGB, -1, 0))
    with pytest.raises(ValueError, match=r'a.npy: has shape \(3, 50, 40\) with axes QYX'):
        open_sources(tmp_path / 'a.npy')
    require_same(open_sources(tmp_path / 'a.npy', axes='CYX')[0], RGB)


def test_memory_of_npy_is_that_of_the_region(tmp_path):
    large = np.lib.format.open_memmap(
        tmp_path / 'a.npy', mode='w+', dtype=np.uint16, shape=(8192, 8192)
    )
    large[5000, 6000] = 9
    large.flush()
    tracemalloc.start()
    try:
        with open_sources(tmp_path / 'a.npy')[0] as source:
            assert source.read(5990, 4990, 6010, 5010)[10, 10, 0] == 9
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.bmp', 'a.npy', 'a.xyz'])
@pytest.mark.parametrize('content', [b'', b'this is no image' * 20])
def test_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError, match=f'{name}: cannot be decoded'):
        open_sources(tmp_path / name)


@pytest.mark.parametrize('name', ['a.png', 'a.npy'])
def test_cut_off_file_is_named(tmp_path, name):
    large = np.tile(RGB, (40, 40, 1))
    path = tmp_path / name
    np.save(path, large) if name == 'a.npy' else write_picture(path, large)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OSError, match=f'{name}: cannot be decoded'):
        open_sources(path)


def test_arrays_that_are_no_intensities_are_refused(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((8, 9), np.complex64))
    with pytest.raises(ValueError, match='a.npy: pixels are complex64'):
        open_sources(tmp_path / 'a.npy')
    np.save(tmp_path / 'b.npy', np.zeros((0, 9)))
    with pytest.raises(ValueError, match=r'b.npy: has no pixels, its shape is \(0, 9\)'):
        open_sources(tmp_path / 'b.npy')
    np.save(tmp_path / 'c.npy', np.array([{}]), allow_pickle=True)
    with pytest.raises(OSError, match='c.npy: cannot be decoded as NPY'):
        open_sources(tmp_path / 'c.npy')


def test_missing_file_folder_and_forbidden_file_are_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match='nothing.png: no such image file'):
        open_sources(tmp_path / 'nothing.png')
    with pytest.raises(OSError, match='is a folder, expected an image file or the folder of a Z'):
        open_sources(tmp_path)
    path = write_picture(tmp_path / 'a.png', RGB)

    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr('builtins.open', refuse)
    with pytest.raises(OSError, match='a.png: cannot be read: Permission denied'):
        open_sources(path)


def test_file_that_is_gone_when_a_worker_reads_it_is_named(tmp_path):
    path = write_picture(tmp_path / 'a.png', RGB)
    copy = pickle.loads(pickle.dumps(open_sources(path)[0]))
    path.unlink()
    with pytest.raises(FileNotFoundError, match='a.png: no such image file'):
        copy.read(0, 0, 1, 1)


def test_tiff_is_known_by_its_content_whatever_its_name(tmp_path):
    tifffile.imwrite(tmp_path / 'a.lsm2', RGB[:, :, 0])
    require_same(open_sources(tmp_path / 'a.lsm2')[0], RGB[:, :, :1])


@pytest.mark.parametrize(
    ('path', 'name'),
    [
        ('x/a.tif', 'a'),
        ('a.b.png', 'a.b'),
        ('a.ome.tif', 'a'),
        ('a.ome.zarr', 'a'),
        ('.ome', '.ome'),
    ],
)
def test_output_is_named_after_the_file(path, name):
    assert output_name(Path(path)) == name


def test_output_is_named_after_a_link_not_after_what_it_links_to(tmp_path, monkeypatch):
    (tmp_path / 'SHA256-abc.tif').touch()
    (tmp_path / 'patient.ome.tif').symlink_to(tmp_path / 'SHA256-abc.tif')
    assert output_name(tmp_path / 'patient.ome.tif') == 'patient'
    monkeypatch.chdir(tmp_path)
    assert output_name(Path('patient.ome.tif')) == 'patient'
