"""Reading label maps: integer images in which every object has a number of its own."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mmcell.datasets.image_io import TIFF_SUFFIXES, read_raw

# Not JPEG: its losses invent objects.
LABEL_SUFFIXES = ('.png', '.npy', *TIFF_SUFFIXES)


def read_label_map(path: str | PathLike[str]) -> npt.NDArray[np.int64]:
    """Read a label map.

    Args:
        path: TIFF, PNG or NPY with integers of any width; axes of length 1 are dropped.

    Returns:
        (H, W) int64, 0 = background.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file cannot be decoded.
        ValueError: If it holds colours, fractions, negative numbers, a stack, or one value for many
            separate objects.
    """
    path = Path(path)
    is_npy = path.suffix.lower() == '.npy'
    return check_label_map(_load_npy(path) if is_npy else read_raw(path).pixels, path)


def check_label_map(values: np.ndarray, path: Path) -> npt.NDArray[np.int64]:
    """An array read from ``path`` as a label map.

    Args:
        values: integers of any width; axes of length 1 are dropped.
        path: named in errors.

    Returns:
        (H, W) int64, 0 = background.

    Raises:
        ValueError: As :func:`read_label_map`.
    """
    labels = values.squeeze() if values.ndim > 2 else values
    if labels.ndim == 3 and labels.shape[2] in (3, 4):
        raise ValueError(
            f'{path}: is a colour image {labels.shape}, expected one channel (H, W) with a number '
            'for each object; save the label map itself, not a picture of it'
        )
    if labels.ndim != 2:
        raise ValueError(f'{path}: has shape {values.shape}, expected one plane (H, W)')
    if labels.dtype == np.bool_:
        raise _foreground_only(path, 'true')
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f'{path}: holds {labels.dtype}, expected integers; save it as uint16 or int32'
        )
    labels = labels.astype(np.int64)
    if labels.min(initial=0) < 0:
        raise ValueError(
            f'{path}: holds negative numbers down to {labels.min()}, expected 0 for background and '
            'numbers > 0 for objects'
        )
    ids = np.unique(labels)
    if len(ids[ids > 0]) == 1 and ndimage.label(labels)[1] > 1:
        raise _foreground_only(path, str(ids[-1]))
    return labels


def _foreground_only(path: Path, value: str) -> ValueError:
    return ValueError(
        f'{path}: is a foreground mask (everything is {value}), expected a different number for '
        'each object; label its pieces, e.g. with skimage.measure.label'
    )


def _load_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such label map')
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise OSError(f'{path}: cannot be decoded as NPY: {error}') from error
