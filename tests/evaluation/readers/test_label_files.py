import numpy as np
import pytest
import scipy.io

from mmcell.evaluation.readers.label_files import read_hovernet_mat

LABELS = np.array([[0, 7, 7, 0], [0, 0, 70_000, 70_000]])


@pytest.mark.parametrize('dtype', [np.int32, np.uint32, np.float64])
def test_inst_map_of_hovernet_keeps_its_ids_whatever_matlab_stored(tmp_path, dtype):
    more = {'inst_type': np.ones((2, 1)), 'inst_centroid': np.zeros((2, 2))}
    scipy.io.savemat(tmp_path / 'a.mat', {'inst_map': LABELS.astype(dtype), **more})
    read = read_hovernet_mat(tmp_path / 'a.mat').label_map
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, LABELS)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'inst_map': LABELS + 0.5}, 'holds float64, expected integers'),
        ({'inst_map': LABELS - 1}, 'negative numbers down to -1'),
        ({'inst_map': np.full((2, 2), np.nan)}, 'holds float64'),
        ({'type_map': LABELS, 'x': 1}, 'has no inst_map, holds type_map, x'),
    ],
)
def test_a_mat_file_without_a_label_map_is_refused(tmp_path, content, message):
    scipy.io.savemat(tmp_path / 'a.mat', content)
    with pytest.raises(ValueError, match=f'a.mat: .*{message}'):
        read_hovernet_mat(tmp_path / 'a.mat')


def test_damaged_and_hdf5_mat_files_are_named(tmp_path):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, {'inst_map': LABELS}, do_compression=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match='a.mat: cannot be decoded as MAT'):
        read_hovernet_mat(path)
    path.write_bytes(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM' + bytes(64))
    with pytest.raises(ValueError, match='a.mat: is of MATLAB 7.3 .* save it with -v7'):
        read_hovernet_mat(path)
