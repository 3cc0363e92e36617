import cv2
import numpy as np
import pytest
import tifffile

from mmcell.datasets.image_io import read_image


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)


def write_cv2(path, image):
    ok, encoded = cv2.imencode(path.suffix, image)
    assert ok
    encoded.tofile(path)
    return path


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.tif'])
def test_rgb_comes_back_unchanged_in_rgb_order(tmp_path, rgb, suffix):
    path = tmp_path / f'Zellkérne{suffix}'
    if suffix == '.tif':
        tifffile.imwrite(path, rgb, photometric='rgb')
    else:
        write_cv2(path, rgb[:, :, ::-1])
    np.testing.assert_array_equal(read_image(path), rgb)


def test_jpeg_keeps_the_colour_order(tmp_path):
    red = np.zeros((16, 16, 3), dtype=np.uint8)
    red[:, :, 0] = 250
    read = read_image(write_cv2(tmp_path / 'a.jpg', red[:, :, ::-1])).astype(int)
    assert np.abs(read - red).max() < 6


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_alpha_is_dropped(tmp_path, rgb, suffix):
    path = tmp_path / f'a{suffix}'
    alpha = np.full((7, 9, 1), 77, dtype=np.uint8)
    if suffix == '.tif':
        tifffile.imwrite(
            path, np.dstack([rgb, alpha]), photometric='rgb', extrasamples=['unassalpha']
        )
    else:
        write_cv2(path, np.dstack([rgb[:, :, ::-1], alpha]))
    np.testing.assert_array_equal(read_image(path), rgb)


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_gray_is_repeated(tmp_path, rgb, suffix):
    path, gray = tmp_path / f'a{suffix}', rgb[:, :, 0]
    tifffile.imwrite(path, gray) if suffix == '.tif' else write_cv2(path, gray)
    np.testing.assert_array_equal(read_image(path), np.dstack([gray] * 3))


@pytest.mark.parametrize('compression', [None, 'lzw', 'zlib'])
def test_twelve_bit_data_fill_the_display_range(tmp_path, compression):
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    tifffile.imwrite(tmp_path / 'a.tif', ramp, compression=compression)
    read = read_image(tmp_path / 'a.tif')[:, :, 0]
    # Percentiles of 0..4095: 4.095 and 4090.905.
    expected = np.clip(np.rint((ramp - 4.095) * 255 / (4090.905 - 4.095)), 0, 255)
    np.testing.assert_array_equal(read, expected)


def test_sixteen_bit_colour_shares_one_scale(tmp_path):
    image = np.zeros((10, 10, 3), dtype=np.uint16)
    image[:, 5:] = 1000, 2000, 4000
    write_cv2(tmp_path / 'a.png', image[:, :, ::-1])
    read = read_image(tmp_path / 'a.png')
    np.testing.assert_array_equal(read[0, 9], [64, 128, 255])


def test_outlier_alone_does_not_divide_by_zero(tmp_path):
    image = np.full((100, 100), 5, dtype=np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', image)
    assert (read_image(tmp_path / 'a.tif') == 0).all()
    image[0, 0] = 9
    tifffile.imwrite(tmp_path / 'b.tif', image)
    assert (read_image(tmp_path / 'b.tif')[0, 0] == 255).all()


def test_bilevel_and_planar_and_single_page_axes(tmp_path, rgb):
    tifffile.imwrite(tmp_path / 'bool.tif', rgb[:, :, 0] > 99, photometric='minisblack')
    np.testing.assert_array_equal(
        read_image(tmp_path / 'bool.tif')[:, :, 1], np.where(rgb[:, :, 0] > 99, 255, 0)
    )
    planar = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    tifffile.imwrite(tmp_path / 'planar.tif', planar, photometric='rgb', planarconfig='separate')
    np.testing.assert_array_equal(read_image(tmp_path / 'planar.tif'), rgb)
    tifffile.imwrite(
        tmp_path / 'ome.ome.tif', rgb[None, None, :, :, 0], metadata={'axes': 'TCYX'}, ome=True
    )
    np.testing.assert_array_equal(read_image(tmp_path / 'ome.ome.tif')[:, :, 2], rgb[:, :, 0])


@pytest.mark.parametrize(
    ('shape', 'axes'), [((4, 8, 9), 'ZYX'), ((2, 8, 9), 'CYX'), ((5, 8, 9), 'CYX')]
)
def test_stacks_and_odd_channel_counts_are_refused_with_their_shape(tmp_path, shape, axes):
    path = tmp_path / 'stack.tif'
    tifffile.imwrite(path, np.zeros(shape, np.uint8), metadata={'axes': axes}, ome=True)
    with pytest.raises(ValueError, match=rf'stack.tif: has shape \({shape[0]}, 8, 9\).*expected'):
        read_image(path)


def test_two_pages_of_different_size_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        writer.write(np.zeros((8, 9), np.uint8))
        writer.write(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match='holds 2 images'):
        read_image(tmp_path / 'a.tif')


def test_float_and_wide_integers_are_refused(tmp_path):
    for name, dtype in (('float', np.float32), ('wide', np.int32)):
        tifffile.imwrite(tmp_path / f'{name}.tif', np.zeros((8, 9), dtype))
        with pytest.raises(ValueError, match=f'{name}.tif: pixels are .*expected 8 or 16 bits'):
            read_image(tmp_path / f'{name}.tif')


def test_encodings_that_would_look_wrong_are_refused(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(
        tmp_path / 'p.tif', np.zeros((8, 9), np.uint8), photometric='palette', colormap=colours
    )
    tifffile.imwrite(tmp_path / 'w.tif', np.zeros((8, 9), np.uint8), photometric='miniswhite')
    for name, colour in (('p', 'PALETTE'), ('w', 'MINISWHITE')):
        with pytest.raises(ValueError, match=f'{name}.tif: colours are encoded as {colour}'):
            read_image(tmp_path / f'{name}.tif')


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.tif'])
def test_damaged_file_is_named(tmp_path, name):
    for content in (b'', b'this is no image' * 20):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OSError, match=f'{name}: cannot be decoded'):
            read_image(tmp_path / name)


def test_cut_off_files_are_named(tmp_path, rgb):
    image = np.tile(rgb, (40, 40, 1))
    write_cv2(tmp_path / 'a.png', image)
    tifffile.imwrite(tmp_path / 'a.tif', image, compression='zlib', photometric='rgb')
    for name in ('a.png', 'a.tif'):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(OSError, match=f'{name}: cannot be decoded'):
            read_image(tmp_path / name)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing.png: no such image file'):
        read_image(tmp_path / 'nothing.png')


def test_other_than_the_asked_bit_depth_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((4, 5), np.uint8))
    assert read_image(tmp_path / 'a.tif', np.uint8).shape == (4, 5, 3)
    with pytest.raises(ValueError, match=r'a.tif: pixels are uint8, expected uint16 as the data'):
        read_image(tmp_path / 'a.tif', np.uint16)
