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
