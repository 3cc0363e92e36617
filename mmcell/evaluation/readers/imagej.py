"""ImageJ's ROI sets, as its ROI manager and Cellpose write them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from mmcell.evaluation.readers.instances import Instances, Size, flatten, require_size
from mmcell.functional.rasterize import polygons_to_rle

_AREAS = ('POLYGON', 'RECT', 'OVAL', 'FREEHAND', 'TRACED')


def read_imagej_rois(path: Path, size: Size | None = None) -> Instances:
    """Read a zip of ROIs; an earlier one keeps shared pixels.

    Args:
        path: a zip of ``.roi`` entries with areas: polygon, freehand, traced, rectangle, oval, or a
            composite of them, whose holes count (even-odd rule).
        size: height, width in pixels, which the format does not store.

    Raises:
        ModuleNotFoundError: If roifile is not installed; says how to.
        OSError: If the file cannot be decoded.
        ValueError: If a ROI has no area, such as a point; names it.
    """
    try:
        from roifile import ImagejRoi
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: ImageJ's ROIs need the package roifile: pip install 'mmcell[imagej]' or pip "
            'install roifile'
        ) from error

    size = require_size(size)
    try:
        rois = [ImagejRoi.frombytes(entry) for entry in _entries(path)]
    except Exception as error:  # roifile raises whatever its parser meets in a damaged file
        raise OSError(f'{path}: cannot be decoded as ROI set: {error}') from error
    rles = []
    for roi in rois:
        try:
            rles.append(polygons_to_rle([_rings(roi)], size))
        except ValueError as error:
            raise ValueError(f'{path}: ROI {roi.name}: {error}') from error
    return flatten(rles, size)


def _entries(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as packed:
        files = [name for name in packed.namelist() if not name.endswith('/')]
        # Without what a Mac adds, which has the same suffix.
        names = [n for n in files if n.lower().endswith('.roi') and not n.startswith('__MACOSX/')]
        if files and not names:
            raise ValueError(f'it holds {files[0]} and no .roi')
        return [packed.read(name) for name in names]


def _rings(roi: Any) -> list[Any]:
    if roi.roitype.name not in _AREAS:
        raise ValueError(f'is a {roi.roitype.name}, expected an area: {", ".join(_AREAS)}')
    return roi.coordinates(multi=True)
