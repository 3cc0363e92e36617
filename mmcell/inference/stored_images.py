"""What the readers of single formats say about a file, before anybody asks for its pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mmcell.inference.image_source import Opened

# In microns; names casefolded, which also makes one of both micro signs.
_UNITS = {
    **dict.fromkeys(['pm', 'picometer', 'picometre'], 1e-6),
    **dict.fromkeys(['å', 'angstrom'], 1e-4),
    **dict.fromkeys(['nm', 'nanometer', 'nanometre'], 1e-3),
    **dict.fromkeys(['μm', r'\u00b5m', 'um', 'micron', 'microns', 'micrometer', 'micrometre'], 1.0),
    **dict.fromkeys(['mm', 'millimeter', 'millimetre'], 1e3),
    **dict.fromkeys(['cm', 'centimeter', 'centimetre'], 1e4),
    **dict.fromkeys(['m', 'meter', 'metre'], 1e6),
    **dict.fromkeys(['in', 'inch', 'inches'], 25400.0),
}

# Pixels are square where their sides differ by no more.
_MAX_RELATIVE_DIFFERENCE = 0.01


class StoredImages(NamedTuple):
    """An array in a file, which holds one image or several.

    Attributes:
        shape: of the array.
        axes: as the file says or its shape tells; see :func:`mmcell.inference.layout.find_layout`.
        dtype: of the pixels.
        open_file: opens the file to read from the array; can be pickled.
        pixel_size: width, height of a pixel in microns; None where the file does not say.
        names: of the channels, where the file says.
        num_alpha: samples at the end that are not colours.
        is_colour: whether samples are colours; None where the file does not say.
        opened: what ``open_file`` would give, where the pixels had to be decoded already.
    """

    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[Any]
    open_file: Callable[[], Opened]
    pixel_size: tuple[float | None, float | None] = (None, None)
    names: tuple[str, ...] = ()
    num_alpha: int = 0
    is_colour: bool | None = None
    opened: Opened | None = None


def microns(length: float | str | None, unit: str | None) -> float | None:
    """A length in microns; None where length or unit are unknown or the length is not > 0."""
    factor = _UNITS.get(unit.strip().casefold()) if unit else None
    try:
        value = float(length) * factor if length is not None and factor else 0.0
    except ValueError:
        return None
    return value if 0 < value < float('inf') else None


def square_mpp(what: str, pixel_size: tuple[float | None, float | None]) -> float | None:
    """Microns per pixel, both sides being equal.

    Raises:
        ValueError: If they differ by more than 1 %.
    """
    width, height = pixel_size
    if width is None or height is None:
        return width or height
    if abs(width - height) > _MAX_RELATIVE_DIFFERENCE * max(width, height):
        raise ValueError(
            f'{what}: its pixels are {width:.4g} x {height:.4g} microns (width x height), expected '
            'square ones; say which size to go by with --mpp, or resample the image'
        )
    return (width + height) / 2
