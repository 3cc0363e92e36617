"""Reading label maps, in which every object has a number of its own, in the forms they come in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.io
from PIL import Image, UnidentifiedImageError
from scipy import ndimage
from skimage.measure import label as label_components

from mmcell.datasets.image_io import TIFF_SUFFIXES, read_raw

# Not JPEG: its losses invent objects.
LABEL_SUFFIXES = ('.png', '.npy', *TIFF_SUFFIXES)

COMPARED_FILES = 20
"""So many label maps of a folder are asked whether they number their objects."""

# Larger pieces are objects of a foreground mask.
_LARGEST_CRUMB_PX = 4


class ForegroundMaskError(ValueError):
    """All objects of a file have the same value."""


def read_label_map(path: str | PathLike[str], *, in_pieces: bool = False) -> npt.NDArray[np.int64]:
    """Read a label map.

    Args:
        path: TIFF, PNG or NPY with integers of any width; axes of length 1 are dropped. Of a PNG
            with a palette, the indices are the numbers.
        in_pieces: an only object may be in separate pieces. Else that is taken for a mask of many
            objects, which is refused.

    Returns:
        (H, W) int64, 0 = background.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file cannot be decoded.
        ForegroundMaskError: If it holds one value for many separate objects.
        ValueError: If it holds colours, fractions, negative numbers or a stack.
    """
    path = Path(path)
    return check_label_map(_read_values(path), path, in_pieces=in_pieces)


def read_label_map_among(others: Sequence[Path], path: Path) -> npt.NDArray[np.int64]:
    """Read a label map that lies among others.

    Args:
        others: of the same folder; a few are enough. Where one of them numbers its objects, a file
            in which everything has one value is no foreground mask: its only object is in pieces.
        path: as in :func:`read_label_map`, as are the errors.
    """
    try:
        return read_label_map(path)
    except ForegroundMaskError:
        if not any(_numbers_objects(other, _changed(other)) for other in others):
            raise
        return read_label_map(path, in_pieces=True)


@lru_cache(maxsize=256)
def _numbers_objects(path: Path, changed: int) -> bool:
    """Whether a file holds numbers of two objects; asked again once it has changed."""
    with suppress(OSError, ValueError):
        return len(np.unique(read_label_map(path))) > 2  # with the background
    return False


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def check_label_map(
    values: np.ndarray, path: Path, *, in_pieces: bool = False
) -> npt.NDArray[np.int64]:
    """An array read from ``path`` as a label map.

    Args:
        values: integers of any width; axes of length 1 are dropped.
        path: named in errors.
        in_pieces: as in :func:`read_label_map`.

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
    if not in_pieces and len(ids[ids > 0]) == 1 and not _is_one_object(labels > 0):
        raise _foreground_only(path, str(ids[-1]))
    return labels


def read_component_map(path: str | PathLike[str]) -> npt.NDArray[np.int64]:
    """Read objects from a mask in which touching ones differ in value, and distant ones need not.

    Args:
        path: PNG or TIFF, one channel or several, of which the first counts.

    Returns:
        (H, W) int64, 0 = background; each 8-connected region of one value has its own number.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file cannot be decoded.
        ValueError: If it is a stack.
    """
    values = _read_values(Path(path))
    if values.ndim == 3 and values.shape[2] in (2, 3, 4):
        values = values[:, :, 0]
    if values.ndim != 2:
        raise ValueError(f'{path}: has shape {values.shape}, expected one plane (H, W)')
    return label_components(values.astype(np.int64)).astype(np.int64)


def read_colour_map(path: str | PathLike[str]) -> npt.NDArray[np.int64]:
    """Read objects painted in a colour each, on black, white or the gray image itself.

    Args:
        path: PNG or TIFF, 8 bits; alpha is dropped. One of one channel, or with a palette, is a
            label map.

    Returns:
        (H, W) int64, 0 = background, which is where the channels are equal.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file cannot be decoded.
        ValueError: If it is neither.
    """
    path = Path(path)
    values = _read_values(path)
    if values.ndim != 3 or values.shape[2] not in (3, 4) or values.dtype != np.uint8:
        return check_label_map(values, path)
    red, green, blue = np.moveaxis(values[:, :, :3].astype(np.int64), 2, 0)
    coloured = (red != green) | (green != blue)
    colours = np.where(coloured, (red << 16) + (green << 8) + blue, 0)
    return numbered_from_one(colours)


def require_size_of(path: Path, labels: npt.NDArray, pixels: npt.NDArray) -> None:
    """Raise a :class:`ValueError` if the labels in ``path`` are of another size than their image.

    Args:
        path: for the error.
        labels: (H, W).
        pixels: (H, W) or (H, W, C), the image.
    """
    if labels.shape != pixels.shape[:2]:
        raise ValueError(f'{path} is {labels.shape} (height, width), its image {pixels.shape[:2]}')


def numbered_from_one(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Labels >= 0 without gaps, in the order of their numbers; 0 stays background."""
    return np.searchsorted(np.unique(np.append(labels, 0)), labels)


def read_inst_map(path: str | PathLike[str]) -> npt.NDArray[np.int64]:
    """Read ``inst_map`` of a MAT file, as HoVer-Net and the data sets of its authors have it.

    Args:
        path: MATLAB 4 to 7.2. Whole numbers may be stored as floats, MATLAB's default.

    Returns:
        (H, W) int64, 0 = background.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file cannot be decoded.
        ValueError: If it has no ``inst_map``, or that is no label map.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such label map')
    try:
        arrays = scipy.io.loadmat(path)
    except NotImplementedError as error:
        raise ValueError(f'{path}: is of MATLAB 7.3 (HDF5); save it with -v7') from error
    except Exception as error:  # scipy raises whatever its parser meets in a damaged file
        raise OSError(f'{path}: cannot be decoded as MAT: {error}') from error
    if 'inst_map' not in arrays:
        names = ', '.join(name for name in arrays if not name.startswith('__')) or 'nothing'
        raise ValueError(f'{path}: has no inst_map, holds {names}')
    values = arrays['inst_map']
    if np.issubdtype(values.dtype, np.floating) and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    return check_label_map(values, path, in_pieces=True)


def read_ascii_map(path: str | PathLike[str]) -> npt.NDArray[np.int64]:
    """Read a label map as text: ``width height``, then one number per pixel, row after row.

    Returns:
        (H, W) int64, 0 = background.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything but whole numbers >= 0, or more or fewer than it says.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such label map')
    try:
        values = np.array(path.read_text(encoding='ascii').split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f'{path}: expected whole numbers only: {error}') from error
    if len(values) < 2 or values.min() < 0:
        raise ValueError(f'{path}: expected "width height", then numbers >= 0')
    width, height = values[:2]
    if len(values) - 2 != width * height:
        raise ValueError(
            f'{path}: holds {len(values) - 2} pixels, but says {width} x {height} (width, height)'
        )
    return values[2:].reshape(height, width)


def _read_values(path: Path) -> np.ndarray:
    if path.suffix.lower() == '.npy':
        return _load_npy(path)
    if path.suffix.lower() == '.png' and path.is_file():
        # OpenCV would give the colours of the palette, not the indices.
        skipped = (UnidentifiedImageError, Image.DecompressionBombError)
        with suppress(*skipped), Image.open(path) as image:
            if image.mode == 'P':
                return np.array(image)
    return read_raw(path).pixels


def _is_one_object(foreground: np.ndarray) -> bool:
    """Whether the only number is that of an object, which may have lost crumbs of a few pixels."""
    sizes = np.bincount(ndimage.label(foreground, np.ones((3, 3)))[0][foreground])
    *crumbs, largest = np.sort(sizes[sizes > 0])
    return not crumbs or bool(crumbs[-1] <= min(_LARGEST_CRUMB_PX, largest // 10))


def _foreground_only(path: Path, value: str) -> ForegroundMaskError:
    return ForegroundMaskError(
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
