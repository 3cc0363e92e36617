"""What was read of an image, for a look before a long run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmcell.functional.intensity import DISPLAY_PERCENTILES, check_percentiles
from mmcell.inference.image_source import ImageSource
from mmcell.inference.intensity import sample_pixels

# Enough for percentiles, little enough for thousands of files.
_MAX_PIXELS = 2**20


class Description(NamedTuple):
    """An image as it was understood.

    Attributes:
        path: the file.
        name: stem of its output files.
        size: height, width in pixels.
        axes: a letter per axis of what is stored.
        dtype: of the pixels as stored.
        mpp: microns per pixel; None if unknown.
        channels: names of all channels.
        shown: names of those that the network sees.
        minimum, maximum: per channel, as stored; NaN where nothing is finite.
        low, high: per channel, its percentiles.
        is_sampled: whether intensities are those of a sample of the pixels.
    """

    path: Path
    name: str
    size: tuple[int, int]
    axes: str
    dtype: str
    mpp: float | None
    channels: tuple[str, ...]
    shown: tuple[str, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    is_sampled: bool


def describe(
    source: ImageSource, percentiles: tuple[float, float] = DISPLAY_PERCENTILES
) -> Description:
    """Describe an image from about a million of its pixels.

    Args:
        source: the image.
        percentiles: lower and upper, in [0, 100].
    """
    check_percentiles(percentiles)
    sample = sample_pixels(source, range(len(source.channels)), _MAX_PIXELS)
    ranks = (0, *percentiles, 100)
    rows = []
    for channel in sample.T:
        finite = channel[np.isfinite(channel)]
        values = finite.astype(np.uint8) if finite.dtype == np.bool_ else finite
        rows.append(np.percentile(values, ranks).tolist() if len(values) else [np.nan] * 4)
    minimum, low, high, maximum = (tuple(column) for column in zip(*rows, strict=True))
    return Description(
        source.path,
        source.name,
        source.size,
        source.axes,
        str(source.dtype),
        source.mpp,
        source.channels,
        tuple(source.channels[k] for k in source.shown),
        minimum,
        maximum,
        low,
        high,
        is_sampled=len(sample) < source.size[0] * source.size[1],
    )
