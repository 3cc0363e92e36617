"""Every image that can be predicted on: which files hold it, and how it is read."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mmcell.datasets.image_io import TIFF_SUFFIXES, decoding, read_raw
from mmcell.inference.image_source import (
    ArraySource,
    ImageSource,
    Opened,
    StoredSource,
    check_dtype,
)
from mmcell.inference.inputs import find_inputs
from mmcell.inference.layout import Channels, choose_channels, find_layout, guess_axes
from mmcell.inference.slide_source import SLIDE_SUFFIXES, SlideSource
from mmcell.inference.stored_images import StoredImages, square_mpp
from mmcell.inference.tiff_source import BIG_TIFF_SUFFIXES, is_scanner_tiff, tiff_images
from mmcell.inference.zarr_source import is_zarr, zarr_images

__all__ = ['ArraySource', 'ImageSource', 'find_inputs', 'open_sources']

_TIFF_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_NPY_MAGIC = b'\x93NUMPY'


def open_sources(
    path: str | Path,
    *,
    axes: str | None = None,
    channels: Channels = None,
    mpp: float | None = None,
) -> list[ImageSource]:
    """The images of a file, reading no more of it than needed.

    PNG, JPEG and BMP are decoded as a whole and held until the source is closed. Of TIFF, NPY,
    Zarr and slides nothing but the description is read, and no file is left open.

    Args:
        path: the file, or the folder of a Zarr.
        axes: a letter per axis of what the file stores, instead of what it says itself.
        channels: one to three channels for the network: names, or numbers from 1.
        mpp: microns per pixel, instead of what the file says.

    Returns:
        One source per image, in the file's order; several are named ``<stem>_page001`` on.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be decoded.
        UserError: If reading it needs a package that is not installed.
        ValueError: If it is not clear what it holds; says what would settle it.
    """
    path = Path(path)
    with decoding(path, 'image'):
        exists = path.exists()
    if not exists:
        raise FileNotFoundError(f'{path}: no such image file')
    name = output_name(path)
    if path.suffix.casefold() in SLIDE_SUFFIXES or is_scanner_tiff(path):
        if axes is not None and axes.upper() != 'YXS':
            raise ValueError(f'{path}: axes are {axes!r}, but a slide has YXS')
        return [SlideSource(path, name, channels, mpp)]
    found = []
    for stored in _stored_images(path):
        check_dtype(str(path), stored.dtype)
        layout = find_layout(
            str(path),
            stored.shape,
            stored.axes,
            axes,
            stored.names,
            stored.num_alpha,
            stored.is_colour,
        )
        shown = choose_channels(str(path), layout.channels, channels)
        pixel_mpp = square_mpp(str(path), stored.pixel_size) if mpp is None else mpp
        found += [(layout, page, shown, pixel_mpp, stored) for page in layout.pages]
    digits = max(3, len(str(len(found))))
    return [
        StoredSource(
            path,
            f'{name}_page{number:0{digits}d}' if len(found) > 1 else name,
            layout,
            page,
            shown,
            stored.dtype,
            pixel_mpp,
            stored.open_file,
            stored.opened,
        )
        for number, (layout, page, shown, pixel_mpp, stored) in enumerate(found, start=1)
    ]


def output_name(path: Path) -> str:
    """Stem of the output files of an image: ``a`` for ``a.tif``, ``a.ome.tif`` and ``a.ome.zarr``.

    For a part of a Zarr, such as ``plate.zarr/A/1``, it is ``plate_A_1``.
    """
    # Links are not followed: what they are called is the name, not where the data are kept.
    resolved = Path(os.path.abspath(path))
    roots = [p for p in resolved.parents if p.suffix.casefold() == '.zarr' and is_zarr(p)]
    if not roots:
        stem = resolved.stem
        return Path(stem).stem if stem.casefold().endswith('.ome') else stem
    return '_'.join([output_name(roots[-1]), *resolved.relative_to(roots[-1]).parts])


def _stored_images(path: Path) -> list[StoredImages]:
    if path.is_dir():
        if not is_zarr(path):
            raise OSError(f'{path}: is a folder, expected an image file or the folder of a Zarr')
        return zarr_images(path)
    with decoding(path, 'image'), open(path, 'rb') as file:
        magic = file.read(8)
    suffix = path.suffix.casefold()
    if suffix in (*TIFF_SUFFIXES, *BIG_TIFF_SUFFIXES) or magic.startswith(_TIFF_MAGIC):
        return tiff_images(path)
    if suffix == '.npy' or magic.startswith(_NPY_MAGIC):
        opened = _open_npy(path)
        (array,) = opened.levels
        return [
            StoredImages(
                array.shape, guess_axes(array.shape), array.dtype, partial(_open_npy, path)
            )
        ]
    opened = _open_picture(path)
    (pixels,) = opened.levels
    axes = 'YX' if len(pixels.shape) == 2 else 'YXS'
    open_file = partial(_open_picture, path)
    return [StoredImages(pixels.shape, axes, pixels.dtype, open_file, opened=opened)]


def _open_npy(path: Path) -> Opened:
    with decoding(path, 'NPY'):
        return Opened([np.load(path, mmap_mode='r', allow_pickle=False)])


def _open_picture(path: Path) -> Opened:
    try:
        return Opened([read_raw(path).pixels])
    except cv2.error as error:
        raise OSError(f'{path}: cannot be decoded: {error}') from error
