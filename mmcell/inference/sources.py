"""Every image that can be predicted on: which files hold it, and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.datasets.image_io import read_raw
from mmcell.inference.image_source import (
    ArraySource,
    ImageSource,
    Opened,
    StoredSource,
    check_dtype,
)
from mmcell.inference.layout import choose_channels, find_layout

__all__ = ['ArraySource', 'ImageSource', 'open_sources']


def open_sources(
    path: str | Path,
    *,
    axes: str | None = None,
    channels: str | Sequence[str | int] | None = None,
    mpp: float | None = None,
) -> list[ImageSource]:
    """The images of a file, without reading more of it than needed.

    Args:
        path: the file.
        axes: a letter per axis of what the file stores, instead of what it says itself.
        channels: one to three channels for the network: names, or numbers from 1.
        mpp: microns per pixel, instead of what the file says.

    Returns:
        One source per image, in the file's order.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be decoded.
        ValueError: If it is not clear what it holds; says what would settle it.
    """
    path = Path(path)
    raw = read_raw(path)
    check_dtype(str(path), raw.pixels.dtype)
    layout = find_layout(str(path), raw.pixels.shape, raw.axes, axes)
    shown = choose_channels(str(path), layout.channels, channels)
    several = len(layout.pages) > 1
    return [
        StoredSource(
            path,
            f'{path.stem}_page{number:03d}' if several else path.stem,
            layout,
            page,
            shown,
            raw.pixels.dtype,
            mpp,
            partial(_decode, path),
            Opened([raw.pixels]),
        )
        for number, page in enumerate(layout.pages, start=1)
    ]


def _decode(path: Path) -> Opened:
    return Opened([np.asarray(read_raw(path).pixels)])
