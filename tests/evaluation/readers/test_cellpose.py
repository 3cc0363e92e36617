import datetime
import pickle
from pathlib import PurePosixPath

import numpy as np
import pytest

from mmcell.evaluation.readers.cellpose import read_cellpose_seg

LABELS = np.array([[0, 3, 3, 0], [0, 0, 70_000, 70_000]])


def save(path, **changes):
    """What Cellpose's ``masks_flows_to_seg`` saves, pickled by numpy."""
    content = {
        'outlines': (LABELS > 0).astype(np.uint16),
        'masks': LABELS.astype(np.uint32),
        'chan_choose': [0, 0],
        'ismanual': np.zeros(2, bool),
        'filename': 'images/a.tif',
        'flows': [np.zeros((1, 2, 4, 3), np.uint8), [], None],
        'diameter': np.float32(17.5),
        'colors': np.array([[1, 2, 3]], np.uint8),
        'normalize_params': {'percentile': [1.0, 99.0], 'norm3D': True},
        **changes,
    }
    np.save(path, content)
    return path


def test_masks_of_a_seg_file_are_the_label_map(tmp_path):
    read = read_cellpose_seg(save(tmp_path / 'a_seg.npy')).label_map
    np.testing.assert_array_equal(read, LABELS)


@pytest.mark.parametrize('protocol', [3, 4, 5])
def test_pickles_of_every_protocol_and_from_before_numpy_2_are_read(tmp_path, protocol):
    path = tmp_path / 'a_seg.npy'
    content = np.array({'masks': LABELS, 'diameter': np.float64(3)}, dtype=object)
    header = np.lib.format.header_data_from_array_1_0(content)
    with open(path, 'wb') as file:
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(content, file, protocol=protocol)
    np.testing.assert_array_equal(read_cellpose_seg(path).label_map, LABELS)
    if protocol == 3:  # numpy 1's, and without lengths that a changed name would break
        new, old = b'numpy._core.multiarray', b'numpy.core.multiarray'
        assert new in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(new, old))
        np.testing.assert_array_equal(read_cellpose_seg(path).label_map, LABELS)


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ('value', 'refused'),
    [
        (datetime.date(2024, 1, 1), 'datetime.date'),
        (PurePosixPath('a'), r'pathlib\S*.PurePosixPath'),
        (Attack(eval, '1'), 'builtins.eval'),
        (Attack(getattr, [], 'append'), 'builtins.getattr'),
        (np.load, r'numpy\S*.load'),
    ],
)
def test_whatever_else_a_pickle_asks_for_is_refused_by_name(tmp_path, value, refused):
    path = save(tmp_path / 'a_seg.npy', filename=value)
    with pytest.raises(ValueError, match=f'a_seg.npy: is not unpickled: it asks for {refused},'):
        read_cellpose_seg(path)


def test_refused_code_has_not_run(tmp_path):
    path = save(tmp_path / 'a_seg.npy', extra=Attack(open, tmp_path / 'written', 'w'))
    with pytest.raises(ValueError, match='it asks for '):
        read_cellpose_seg(path)
    assert not (tmp_path / 'written').exists()


def test_an_only_object_may_be_in_pieces(tmp_path):
    labels = np.zeros((9, 30), np.uint16)
    labels[2:7, 2:7] = labels[2:7, 20:27] = 1
    read = read_cellpose_seg(save(tmp_path / 'a_seg.npy', masks=labels))
    np.testing.assert_array_equal(read.label_map, labels)


def test_a_plain_array_named_seg_is_a_label_map(tmp_path):
    np.save(tmp_path / 'a_seg.npy', LABELS)
    np.testing.assert_array_equal(read_cellpose_seg(tmp_path / 'a_seg.npy').label_map, LABELS)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'outlines': LABELS}, "expected Cellpose's dict with masks, found a dict of outlines"),
        ([{'masks': LABELS}, 1], 'found ndarray'),
        (
            {'masks': LABELS[None, :, :2].repeat(5, axis=0)},
            r'shape \(5, 2, 2\), expected one plane',
        ),
        ({'masks': LABELS.astype(np.float32)}, 'holds float32, expected integers'),
        ({'masks': None}, r'shape \(\), expected one plane'),
    ],
)
def test_a_seg_file_without_a_plane_of_masks_is_refused(tmp_path, content, message):
    np.save(tmp_path / 'a_seg.npy', np.array(content, dtype=object))
    with pytest.raises(ValueError, match=f'a_seg.npy: .*{message}'):
        read_cellpose_seg(tmp_path / 'a_seg.npy')


def test_damaged_seg_files_are_named(tmp_path):
    path = save(tmp_path / 'a_seg.npy')
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:200], whole[:20], b'', b'nothing of the kind'):
        path.write_bytes(damaged)
        with pytest.raises((OSError, ValueError), match='a_seg.npy: (cannot be|is not unpickled)'):
            read_cellpose_seg(path)
