"""Reading microscope images and label maps: every file either has one meaning or is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from mmcell.functional.intensity import display_limits, sample_windows, scale_to_uint8

TIFF_SUFFIXES = ('.tif', '.tiff')
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', *TIFF_SUFFIXES)

# How TIFF pixels may encode what one sees; inverted gray, palettes and CMYK would look wrong.
PLAIN_COLOURS = ('MINISBLACK', 'RGB', 'YCBCR')


class RawImage(NamedTuple):
    """Pixels as a file stores them.

    Attributes:
        pixels: the array, colours in RGB order.
        axes: one letter per axis: Y row, X column, S colour sample, any other as tifffile names it.
        colour: TIFF's name of the colour encoding; 'MINISBLACK' or 'RGB' for other files.
    """

    pixels: np.ndarray
    axes: str
    colour: str


def read_image(
    path: str | PathLike[str], dtype: npt.DTypeLike | None = None
) -> npt.NDArray[np.uint8]:
    """Read an image as 8-bit RGB.

    Args:
        path: PNG, JPEG, BMP or TIFF; 8 or 16 bits, or bilevel; gray, RGB or RGBA.
            Alpha is dropped. 16-bit intensities are scaled linearly so that the 0.1 and 99.9
            percentiles over the whole image, all channels together, become 0 and 255 (above 2^24
            pixels: over evenly spaced windows of it).
        dtype: refuse images with pixels of another type.

    Returns:
        (H, W, 3) uint8, RGB; gray is repeated.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file cannot be decoded.
        ValueError: If the file is no image of the kinds above, e.g. a stack of pages or channels,
            or not of ``dtype``.
    """
    path = Path(path)
    raw = read_raw(path)
    if dtype is not None and raw.pixels.dtype != dtype:
        raise ValueError(
            f'{path}: pixels are {raw.pixels.dtype}, expected {np.dtype(dtype)} as the data set is '
            'distributed; take the original file'
        )
    if raw.colour not in PLAIN_COLOURS:
        raise ValueError(
            f'{path}: colours are encoded as {raw.colour}, expected gray (0 = black) or RGB; '
            'convert it'
        )
    image = _channels_last(path, raw)
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * 255
    elif image.dtype == np.uint16:
        # As prediction does: see mmcell.inference.intensity.DisplayRange.
        windows = sample_windows(*image.shape[:2])
        sample = [image[y1:y2, x1:x2].ravel() for x1, y1, x2, y2 in windows]
        image = scale_to_uint8(image, *display_limits(np.concatenate(sample)))
    elif image.dtype != np.uint8:
        raise ValueError(
            f'{path}: pixels are {image.dtype}, expected 8 or 16 bits per channel (uint8, uint16); '
            'save it as uint16 with the intensities you mean'
        )
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def read_raw(path: Path) -> RawImage:
    """Read pixels as the file stores them.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file cannot be decoded.
        ValueError: If the file holds several images of different kinds.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such image file')
    if path.suffix.lower() in TIFF_SUFFIXES:
        return _read_tiff(path)
    # Not cv2.imread: it fails on non-ASCII paths on some systems, and without saying why.
    encoded = np.fromfile(path, dtype=np.uint8)
    pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    if pixels is None:
        raise OSError(
            f'{path}: cannot be decoded; the file is damaged or not one of '
            f'{", ".join(IMAGE_SUFFIXES)}'
        )
    if pixels.ndim == 2:
        return RawImage(pixels, 'YX', 'MINISBLACK')
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}.get(pixels.shape[2])
    return RawImage(pixels if order is None else cv2.cvtColor(pixels, order), 'YXS', 'RGB')


def _read_tiff(path: Path) -> RawImage:
    with decoding(path, 'TIFF'), tifffile.TiffFile(path) as tiff:
        sizes = [series.shape for series in tiff.series]
        if len(sizes) == 1:
            series = tiff.series[0]
            return RawImage(series.asarray(), series.axes, series.keyframe.photometric.name)
    raise ValueError(
        f'{path}: holds {len(sizes)} images, of shapes {sizes}, expected one; save the one you '
        'mean as a file of its own'
    )


@contextmanager
def decoding(path: Path, kind: str) -> Iterator[None]:
    """Turn what decoders raise on a damaged file into an OSError that names it."""
    try:
        yield
    except PermissionError as error:
        raise OSError(f'{path}: cannot be read: {error.strerror or error}') from error
    except Exception as error:  # decoders raise whatever they meet in a damaged file
        # Not above: it brings MMEngine along, which processes that only read do without.
        from mmcell.engine.errors import UserError

        if isinstance(error, UserError):
            raise
        raise OSError(
            f'{path}: cannot be decoded as {kind}: {error or type(error).__name__}'
        ) from error


def _channels_last(path: Path, raw: RawImage) -> np.ndarray:
    """(H, W, 1 or 3) from whatever the file holds, or an error that says what it holds."""
    pixels, axes = raw.pixels, raw.axes
    # Axes of length 1 mean nothing.
    idle = [axis for axis, name in enumerate(axes) if name not in 'YX' and pixels.shape[axis] == 1]
    pixels = pixels.squeeze(tuple(idle))
    axes = ''.join(name for axis, name in enumerate(axes) if axis not in idle)
    if axes == 'YX':
        return pixels[:, :, None]
    if axes == 'SYX':
        pixels, axes = np.moveaxis(pixels, 0, -1), 'YXS'
    if axes == 'YXS' and pixels.shape[2] in (3, 4):
        return pixels[:, :, :3]
    raise ValueError(
        f'{path}: has shape {raw.pixels.shape} with axes {raw.axes}, expected one gray (H, W), RGB '
        '(H, W, 3) or RGBA (H, W, 4) image; save a single page with one, three or four channels'
    )
