"""Cellpose's ``_seg.npy``: a pickled dict, opened without running what a pickle may run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from mmcell.datasets.label_io import check_label_map, read_label_map
from mmcell.evaluation.readers.instances import Instances, Size

# What arrays and plain containers are rebuilt with; both homes of numpy's functions, before and
# since numpy 2.
_ALLOWED = {
    *((f'numpy.{core}.multiarray', '_reconstruct') for core in ('core', '_core')),
    *((f'numpy.{core}.multiarray', 'scalar') for core in ('core', '_core')),
    *((f'numpy.{core}.numeric', '_frombuffer') for core in ('core', '_core')),
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    *(('builtins', name) for name in ('set', 'frozenset', 'complex')),
    ('collections', 'OrderedDict'),
}
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _ArraysOnly(pickle.Unpickler):
    """Rebuilds numpy arrays and plain containers, refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f'it asks for {module}.{name}, only numpy arrays and plain containers are '
                'unpickled; if you trust it, save its masks as a label map'
            )
        return super().find_class(module, name)


def read_cellpose_seg(path: Path, size: Size | None = None) -> Instances:
    """Read ``masks`` of a ``_seg.npy``; a plain array is read as a label map.

    Args:
        path: as Cellpose's ``save`` functions and its window write it.
        size: not used.

    Raises:
        OSError: If the file cannot be decoded.
        ValueError: If it holds other Python objects, no ``masks``, or masks that are no label map.
    """
    with open(path, 'rb') as file:
        if not _holds_objects(file, path):
            return Instances(read_label_map(path))
        content = _unpickle(file, path)
    if isinstance(content, np.ndarray) and content.ndim == 0:
        content = content.item()
    if not isinstance(content, dict) or 'masks' not in content:
        raise ValueError(f"{path}: expected Cellpose's dict with masks, found {_describe(content)}")
    return Instances(check_label_map(np.asarray(content['masks']), path, in_pieces=True))


def _holds_objects(file: IO[bytes], path: Path) -> bool:
    """Whether pickled objects follow; leaves ``file`` at their beginning."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f'NPY version {version} is not known')
        _, _, dtype = _HEADERS[version](file)
    except (ValueError, EOFError) as error:
        raise OSError(f'{path}: cannot be decoded as NPY: {error}') from error
    return dtype.hasobject


def _unpickle(file: IO[bytes], path: Path) -> Any:
    try:
        return _ArraysOnly(file, encoding='latin1').load()
    except pickle.UnpicklingError as error:
        raise ValueError(f'{path}: is not unpickled: {error}') from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise OSError(f'{path}: cannot be unpickled: {error!r}') from error


def _describe(content: Any) -> str:
    if isinstance(content, dict):
        return f'a dict of {", ".join(map(str, content)) or "nothing"}'
    return f'{type(content).__name__}'
