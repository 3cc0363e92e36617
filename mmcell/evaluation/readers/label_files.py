"""Files that hold a label map: TIFF, PNG, NPY, HoVer-Net's MAT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io

from mmcell.datasets.label_io import check_label_map, read_label_map
from mmcell.evaluation.readers.instances import Instances, Size

_INSTANCE_MAP = 'inst_map'


def read_label_file(path: Path, size: Size | None = None) -> Instances:
    """Read TIFF, PNG or NPY, as :func:`~mmcell.datasets.label_io.read_label_map`."""
    return Instances(read_label_map(path))


def read_hovernet_mat(path: Path, size: Size | None = None) -> Instances:
    """Read ``inst_map`` of a MAT file, as HoVer-Net and the data sets of its authors have it.

    Args:
        path: MATLAB 4 to 7.2. Whole numbers may be stored as floats, MATLAB's default.
        size: not used.

    Raises:
        OSError: If the file cannot be decoded.
        ValueError: If it has no ``inst_map``, or that is no label map.
    """
    try:
        content = scipy.io.loadmat(path, variable_names=[_INSTANCE_MAP])
    except NotImplementedError as error:
        raise ValueError(f'{path}: is of MATLAB 7.3 (HDF5); save it with -v7') from error
    except Exception as error:  # scipy raises whatever its parser meets in a damaged file
        raise OSError(f'{path}: cannot be decoded as MAT: {error}') from error
    if _INSTANCE_MAP not in content:
        names = ', '.join(name for name, _, _ in scipy.io.whosmat(path)) or 'nothing'
        raise ValueError(f'{path}: has no {_INSTANCE_MAP}, holds {names}')
    values = content[_INSTANCE_MAP]
    if np.issubdtype(values.dtype, np.floating) and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    return Instances(check_label_map(values, path))
