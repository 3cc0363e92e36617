"""From intensities of any kind to the 8 bits that networks and screens take."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

# Percentiles of the whole image that become 0 and 255 where it has not 8 bits already.
DISPLAY_PERCENTILES = (0.1, 99.9)

# Percentiles of larger images are those of evenly spaced windows, this many pixels in all.
MAX_SAMPLED_PIXELS = 2**24
_WINDOWS_PER_SIDE = 32


def sample_windows(
    height: int, width: int, max_pixels: int = MAX_SAMPLED_PIXELS
) -> list[tuple[int, int, int, int]]:
    """Windows that stand for a whole image where intensities are measured.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        max_pixels: larger images are sampled, in 32 x 32 windows of this many pixels in all.

    Returns:
        ``(x1, y1, x2, y2)``, half-open, row by row; the whole image where it is small enough.
    """
    if height * width <= max_pixels:
        return [(0, 0, width, height)]
    # The shorter side first: where it is too short to shrink, the longer one shrinks more.
    shorter = _spread(min(height, width), math.sqrt(max_pixels / (height * width)))
    taken = sum(end - start for start, end in shorter)
    longer = _spread(max(height, width), min(1.0, max_pixels / (taken * max(height, width))))
    rows, columns = (shorter, longer) if height <= width else (longer, shorter)
    return [(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns]


def _spread(side: int, share: float) -> list[tuple[int, int]]:
    """Ranges in the middle of equal parts of a side that are ``share`` of it in all."""
    parts = min(_WINDOWS_PER_SIDE, max(1, int(side * share)))
    length = max(1, int(side * share / parts))
    starts = [int((k + 0.5) * side / parts - length / 2) for k in range(parts)]
    return [(start, start + length) for start in starts]


def display_limits(
    values: npt.NDArray[Any],
    percentiles: tuple[float, float] = DISPLAY_PERCENTILES,
) -> tuple[float, float]:
    """Intensities that become 0 and 255.

    Args:
        values: of any shape, integers or floats. NaN and infinite ones are not counted.
        percentiles: lower and upper, in [0, 100].

    Returns:
        Low and high. The full range where nothing but rare outliers varies; equal where nothing
        does.

    Raises:
        ValueError: If ``percentiles`` are not ascending numbers in [0, 100].
    """
    check_percentiles(percentiles)
    if values.dtype.kind == 'f':
        values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values, percentiles)
    if high <= low:
        low, high = values.min(), values.max()
    return float(low), float(high)


def check_percentiles(percentiles: tuple[float, float]) -> None:
    """Raise a ValueError unless lower < upper, both in [0, 100]."""
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ValueError(
            f'percentiles must be two ascending numbers in [0, 100], got {percentiles}'
        )


def scale_to_uint8(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Map ``low`` to 0 and ``high`` to 255, linearly, rounded and clipped.

    Args:
        values: of any shape, integers or floats. NaN becomes 0.
        low: as :func:`display_limits` gives it.
        high: as :func:`display_limits` gives it; where it is ``low``, everything becomes 0.

    Returns:
        Of the shape of ``values``.
    """
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    # float32 holds 16-bit integers exactly; wider ones and small floats need more.
    is_narrow = values.dtype.kind in 'ui' and values.dtype.itemsize <= 2
    scaled: npt.NDArray[Any] = values.astype(np.float32 if is_narrow else np.float64)
    scaled -= low
    scaled *= 255 / (high - low)
    if values.dtype.kind == 'f':
        scaled[np.isnan(scaled)] = 0
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)
