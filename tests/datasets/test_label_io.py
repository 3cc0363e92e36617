import cv2
import numpy as np
import pytest
import tifffile

from mmcell.datasets.label_io import read_label_map

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
        ('a.npy', LABELS - 1, 'negative numbers down to -1'),
        ('a.png', np.zeros((4, 5, 3), np.uint8), r'colour image \(4, 5, 3\)'),
        ('a.npy', np.zeros((6, 4, 5), np.uint8), r'shape \(6, 4, 5\), expected one plane'),
        ('a.npy', LABELS > 0, 'foreground mask'),
        ('a.png', np.eye(5, 5, dtype=np.uint8) * 255, 'everything is 255'),
    ],
)
def test_what_is_no_label_map_is_refused_with_what_would_be_right(tmp_path, name, values, message):
    with pytest.raises(ValueError, match=f'{name}: .*{message}'):
        read_label_map(write(tmp_path / name, values))


@pytest.mark.parametrize('name', ['a.png', 'a.npy', 'a.tif'])
def test_missing_and_damaged_files_are_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=name):
        read_label_map(tmp_path / name)
    (tmp_path / name).write_bytes(b'nothing of the kind')
    with pytest.raises(OSError, match=f'{name}: cannot be decoded'):
        read_label_map(tmp_path / name)
