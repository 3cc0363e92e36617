"""Files that hold a label map: TIFF, PNG, NPY, HoVer-Net's MAT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmcell.datasets.label_io import read_inst_map, read_label_map_among
from mmcell.evaluation.readers.instances import Instances, Size


def read_label_file(path: Path, size: Size | None = None, others: Sequence[Path] = ()) -> Instances:
    """Read TIFF, PNG or NPY, as :func:`~mmcell.datasets.label_io.read_label_map_among`.

    Args:
        path: the file.
        size: not used.
        others: of the same side.
    """
    return Instances(read_label_map_among(others, path))


def read_hovernet_mat(path: Path, size: Size | None = None) -> Instances:
    """Read a MAT file, as :func:`~mmcell.datasets.label_io.read_inst_map`."""
    return Instances(read_inst_map(path))
