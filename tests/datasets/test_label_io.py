import cv2
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from mmcell.datasets.label_io import (
    read_ascii_map,
    read_colour_map,
    read_component_map,
    read_inst_map,
    read_label_map,
)

LABELS = np.array([[0, 1, 1], [0, 0, 250]])


def write(path, values):
    if path.suffix == '.npy':
        np.save(path, values)
    elif path.suffix == '.tif':
        tifffile.imwrite(path, values, compression='zlib')
    else:
        cv2.imwrite(str(path), values)
    return path


@pytest.mark.parametrize(
    ('name', 'dtype', 'highest'),
    [
        ('a.png', np.uint8, 255),
        ('a.png', np.uint16, 65_535),
        ('a.tif', np.uint8, 255),
        ('a.tif', np.uint16, 65_535),
        ('a.tif', np.uint32, 70_000),
        ('a.tif', np.int32, 70_000),
        ('a.npy', np.int64, 2**40),
        ('a.npy', np.uint16, 65_535),
    ],
)
def test_ids_survive_whatever_their_width(tmp_path, name, dtype, highest):
    labels = np.where(LABELS == 250, highest, LABELS).astype(dtype)
    read = read_label_map(write(tmp_path / name, labels))
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, labels)


def test_indices_of_a_palette_are_labels(tmp_path):
    colours = np.random.default_rng(0).integers(0, 65_536, (3, 256), dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / 'a.tif', LABELS.astype(np.uint8), photometric='palette', colormap=colours
    )
    np.testing.assert_array_equal(read_label_map(tmp_path / 'a.tif'), LABELS)
    picture = Image.fromarray(LABELS.astype(np.uint8), mode='P')
    picture.putpalette((colours // 256).T.astype(np.uint8).tobytes())
    picture.save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_label_map(tmp_path / 'a.png'), LABELS)


def test_idle_axes_are_dropped_and_all_background_is_legal(tmp_path):
    np.testing.assert_array_equal(
        read_label_map(write(tmp_path / 'a.npy', LABELS[None, :, :, None])), LABELS
    )
    assert read_label_map(write(tmp_path / 'b.png', np.zeros((4, 5), np.uint8))).sum() == 0
    # One column of pixels is an image, not an idle axis.
    assert read_label_map(write(tmp_path / 'c.npy', LABELS[:, :1])).shape == (2, 1)


def test_one_object_in_one_piece_is_a_label_map(tmp_path):
    one = np.where(LABELS == 1, 255, 0).astype(np.uint8)
    assert (read_label_map(write(tmp_path / 'a.png', one)) == one).all()


@pytest.mark.parametrize(
    ('name', 'values', 'message'),
    [
        ('a.tif', LABELS.astype(np.float32), 'holds float32, expected integers'),
        ('a.npy', LABELS - 1, 'holds negative numbers down to -1'),
        ('a.png', np.zeros((4, 5, 3), np.uint8), r'colour image \(4, 5, 3\)'),
        ('a.npy', np.zeros((6, 4, 5), np.uint8), r'shape \(6, 4, 5\), expected one plane'),
        ('a.npy', LABELS > 0, 'foreground mask'),
        ('a.png', np.diag([255, 0, 255]).astype(np.uint8), 'everything is 255'),
    ],
)
def test_what_is_no_label_map_is_refused_with_what_would_be_right(tmp_path, name, values, message):
    with pytest.raises(ValueError, match=f'{name}: .*{message}'):
        read_label_map(write(tmp_path / name, values))


def test_only_object_may_have_crumbs(tmp_path):
    labels = np.zeros((9, 9), np.uint8)
    labels[:5, :5], labels[5, 5], labels[8, 0] = 7, 7, 7  # one pixel joined by a corner, one apart
    np.testing.assert_array_equal(read_label_map(write(tmp_path / 'a.png', labels)), labels)
    labels[8, :3] = 7  # more than a tenth
    with pytest.raises(ValueError, match='everything is 7'):
        read_label_map(write(tmp_path / 'a.png', labels))


def test_only_object_in_pieces_is_legal_where_that_is_said(tmp_path):
    pieces = np.array([[7, 0, 7]], np.uint8)
    path = write(tmp_path / 'a.png', pieces)
    np.testing.assert_array_equal(read_label_map(path, in_pieces=True), pieces)
    with pytest.raises(ValueError, match='everything is 7'):
        read_label_map(path)
    # True and false say nothing of objects, whatever is expected.
    with pytest.raises(ValueError, match='everything is true'):
        read_label_map(write(tmp_path / 'a.npy', pieces > 0), in_pieces=True)


@pytest.mark.parametrize('background', [0, 90, 255])
def test_every_colour_is_an_object_and_gray_is_background(tmp_path, background):
    values = np.full((2, 4, 3), background, np.uint8)
    # Blue, green, red, as OpenCV writes them; two pieces of one colour are one object.
    values[0, 0] = values[1, 3] = (0, 0, 1)
    values[0, 1], values[1, 1] = (3, 2, 1), (1, 0, 0)
    expected = [[2, 3, 0, 0], [0, 1, 0, 2]]
    np.testing.assert_array_equal(read_colour_map(write(tmp_path / 'a.png', values)), expected)
    alpha = np.dstack([values, np.full((2, 4), 200, np.uint8)])
    np.testing.assert_array_equal(read_colour_map(write(tmp_path / 'b.png', alpha)), expected)
    # Without background, numbers begin at 1 all the same.
    painted = write(tmp_path / 'c.png', values[:1, :2])
    np.testing.assert_array_equal(read_colour_map(painted), [[1, 2]])


def test_colour_map_of_one_channel_is_a_label_map(tmp_path):
    path = write(tmp_path / 'a.tif', LABELS.astype(np.uint16))
    np.testing.assert_array_equal(read_colour_map(path), LABELS)
    with pytest.raises(ValueError, match=r'b.png: is a colour image \(4, 5, 3\)'):
        read_colour_map(write(tmp_path / 'b.png', np.ones((4, 5, 3), np.uint16)))


@pytest.mark.parametrize('name', ['a.png', 'a.npy', 'a.tif'])
def test_missing_and_damaged_files_are_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=name):
        read_label_map(tmp_path / name)
    (tmp_path / name).write_bytes(b'nothing of the kind')
    with pytest.raises(OSError, match=f'{name}: cannot be decoded'):
        read_label_map(tmp_path / name)


def test_components_differ_in_place_or_in_value_of_the_first_channel(tmp_path):
    # Two pieces of 9 that meet in a corner are one, a third is far off, 7 touches them.
    values = np.array([[9, 9, 0, 0, 9], [0, 0, 9, 7, 0], [0, 0, 0, 0, 0]], np.uint8)
    red_only = np.dstack([np.full_like(values, 5), np.full_like(values, 6), values])
    expected = [[1, 1, 0, 0, 2], [0, 0, 1, 3, 0], [0, 0, 0, 0, 0]]
    for name, pixels in (('gray.png', values), ('bgr.png', red_only)):
        found = read_component_map(write(tmp_path / name, pixels))
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, expected)
    alpha = np.dstack([red_only, np.full_like(values, 255)])
    np.testing.assert_array_equal(read_component_map(write(tmp_path / 'c.png', alpha)), expected)
    with pytest.raises(ValueError, match=r'd.tif: has shape \(6, 4, 5\), expected one plane'):
        read_component_map(write(tmp_path / 'd.tif', np.zeros((6, 4, 5), np.uint8)))


@pytest.mark.parametrize('dtype', [np.float64, np.int32, np.uint16, np.uint8])
def test_inst_map_of_a_mat_file_is_read(tmp_path, dtype):
    arrays = {'inst_map': LABELS.astype(dtype), 'inst_centroid': np.zeros((2, 2))}
    scipy.io.savemat(tmp_path / 'a.mat', arrays)
    np.testing.assert_array_equal(read_inst_map(tmp_path / 'a.mat'), LABELS)


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'type_map': LABELS, 'x': 1}, 'has no inst_map, holds type_map, x'),
        ({}, 'has no inst_map, holds nothing'),
        ({'inst_map': LABELS / 2}, 'holds float64, expected integers'),
        ({'inst_map': LABELS - 1.0}, 'holds negative numbers down to -1'),
        ({'inst_map': np.full((2, 3), np.nan)}, 'holds float64, expected integers'),
        ({'inst_map': np.zeros((2, 3, 5))}, r'has shape \(2, 3, 5\), expected one plane'),
        ({'inst_map': 'text'}, r'has shape \(1,\), expected one plane'),
    ],
)
def test_mat_files_without_an_inst_map_are_refused(tmp_path, arrays, message):
    scipy.io.savemat(tmp_path / 'a.mat', arrays)
    with pytest.raises(ValueError, match=f'a.mat: {message}'):
        read_inst_map(tmp_path / 'a.mat')


def test_damaged_and_hdf5_mat_files_are_named(tmp_path):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, {'inst_map': LABELS}, do_compression=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match='a.mat: cannot be decoded as MAT'):
        read_inst_map(path)
    path.write_bytes(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM' + bytes(64))
    with pytest.raises(ValueError, match='a.mat: is of MATLAB 7.3 .* save it with -v7'):
        read_inst_map(path)


def test_ascii_map_goes_row_by_row(tmp_path):
    # The example of the challenge's README: 5 wide, 4 high.
    rows = [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [1, 1, 2, 0, 0], [0, 2, 2, 2, 0]]
    text = '5 4\r\n' + ''.join(f'{value}\r\n' for row in rows for value in row)
    (tmp_path / 'a.txt').write_text(text)
    np.testing.assert_array_equal(read_ascii_map(tmp_path / 'a.txt'), rows)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('2 2\n0\n1\n1', r'holds 3 pixels, but says 2 x 2 \(width, height\)'),
        ('2 2\n0\n1\n1\n0\n0', r'holds 5 pixels, but says 2 x 2'),
        ('2 1\n0\nx', 'expected whole numbers only'),
        ('2 1\n0\n1.5', 'expected whole numbers only'),
        ('2 1\n0\n-1', 'expected "width height", then numbers >= 0'),
        ('', 'expected "width height", then numbers >= 0'),
    ],
)
def test_faulty_ascii_maps_are_refused(tmp_path, text, message):
    (tmp_path / 'a.txt').write_text(text)
    with pytest.raises(ValueError, match=f'a.txt: {message}'):
        read_ascii_map(tmp_path / 'a.txt')


@pytest.mark.parametrize(
    ('read', 'name'),
    [(read_component_map, 'a.png'), (read_inst_map, 'a.mat'), (read_ascii_map, 'a.txt')],
)
def test_label_files_that_are_not_there_or_damaged_are_named(tmp_path, read, name):
    with pytest.raises(FileNotFoundError, match=name):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(b'\x93nothing of the kind' * 20)
    with pytest.raises((OSError, ValueError), match=f'{name}: '):
        read(tmp_path / name)
