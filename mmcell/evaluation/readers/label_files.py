"""Files that hold a label map: TIFF, PNG, NPY, HoVer-Net's MAT."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from mmcell.datasets.label_io import ForegroundMaskError, read_inst_map, read_label_map
from mmcell.evaluation.readers.instances import Instances, Size


def read_label_file(path: Path, size: Size | None = None, others: Sequence[Path] = ()) -> Instances:
    """Read TIFF, PNG or NPY, as :func:`~mmcell.datasets.label_io.read_label_map`.

    Args:
        path: the file.
        size: not used.
        others: of the same side. Where one of them numbers its objects, a file in which everything
            has one value is no foreground mask: its only object is in pieces.
    """
    try:
        return Instances(read_label_map(path))
    except ForegroundMaskError:
        if not any(_numbers_objects(other) for other in others):
            raise
        return Instances(read_label_map(path, in_pieces=True))


def _numbers_objects(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return len(np.unique(read_label_map(path))) > 2  # background, and two objects
    return False


def read_hovernet_mat(path: Path, size: Size | None = None) -> Instances:
    """Read a MAT file, as :func:`~mmcell.datasets.label_io.read_inst_map`."""
    return Instances(read_inst_map(path))
