"""TIFF files: what their tags and the metadata of OME and ImageJ say, and how to read regions."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import tifffile

from mmcell.datasets.image_io import PLAIN_COLOURS, TIFF_SUFFIXES, decoding
from mmcell.inference.image_source import Opened, Sliceable
from mmcell.inference.stored_images import StoredImages, microns
from mmcell.inference.tiff_array import SegmentCache, TiffArray

BIG_TIFF_SUFFIXES = ('.btf', '.tf2', '.tf8')

# Pictures of the slide that scanners store beside the image.
_SIDE_PICTURES = ('thumbnail', 'label', 'macro', 'overview')

# Compressions of which the decoder turns YCbCr into RGB.
_JPEGS = (6, 7, 33007, 34892)

# Larger pixels than this come from the 72 to 600 dots per inch that programs write into resolution
# tags without knowing any better.
_MAX_MPP_FROM_TAGS = 20.0
_COARSE_UNIT = 1e4  # microns: a centimetre

_INCH, _CENTIMETRE = 2, 3


def is_scanner_tiff(path: Path) -> bool:
    """Whether a TIFF is a scanner's own format under a common suffix, which OpenSlide knows."""
    if path.suffix.casefold() not in TIFF_SUFFIXES or not path.is_file():
        return False
    with contextlib.suppress(Exception), tifffile.TiffFile(path) as tiff:
        # What Aperio's program exports keeps its description, but not the tiles OpenSlide wants.
        is_aperio = tiff.is_svs and tiff.pages.first.is_tiled
        return any([is_aperio, tiff.is_ndpi, tiff.is_scn, tiff.is_bif, tiff.is_philips])
    return False  # what is wrong with it, its reader will say


def tiff_images(path: Path) -> list[StoredImages]:
    """The series of a file, without thumbnails and pictures of the label.

    Raises:
        OSError: If the file cannot be decoded, or is cut off.
        ValueError: If it encodes colours in a way that would look wrong, or is part of a set.
    """
    with decoding(path, 'TIFF'), tifffile.TiffFile(path) as tiff:
        described = []
        for series, ome in zip(tiff.series, _ome_pixels(tiff), strict=True):
            _require_complete(series)
            described.append(
                (series, _pixel_size(tiff, series, ome), _channel_names(tiff, series, ome))
            )
    images = []
    for number, (series, pixel_size, names) in enumerate(described):
        keyframe = series.keyframe
        if number and (keyframe.is_reduced or series.name.casefold() in _SIDE_PICTURES):
            continue
        _require_readable(path, series)
        num_alpha, is_colour = _sample_kinds(keyframe)
        images.append(
            StoredImages(
                tuple(series.shape),
                series.axes,
                np.dtype(series.dtype),
                partial(_open_series, path, number),
                pixel_size,
                names,
                num_alpha,
                is_colour,
            )
        )
    return images


def _open_series(path: Path, number: int) -> Opened:
    with decoding(path, 'TIFF'):
        tiff = tifffile.TiffFile(path)
        try:
            cache = SegmentCache()
            levels = [_array(path, level, cache) for level in tiff.series[number].levels]
        except BaseException:
            tiff.close()
            raise
        if any(isinstance(level, TiffArray) for level in levels):
            return Opened(levels, tiff.close)
        tiff.close()
        return Opened(levels)


def _array(path: Path, series: tifffile.TiffPageSeries, cache: SegmentCache) -> Sliceable:
    if series.dataoffset is not None:
        dtype = series.dtype.newbyteorder(series.keyframe.parent.byteorder)
        return np.memmap(path, dtype, 'r', series.dataoffset, tuple(series.shape))
    if TiffArray.can_read(series):
        return TiffArray(series, cache)
    return _whole(series)


def _whole(series: tifffile.TiffPageSeries) -> npt.NDArray[Any]:
    """Pages that are volumes: as a whole or not at all."""
    return series.asarray()


def _require_complete(series: tifffile.TiffPageSeries) -> None:
    """Raise an EOFError if the file ends before its pixels do."""
    if series.is_multifile:
        return  # offsets are of several files, none of which will be read
    needed = 0
    for level in series.levels:
        if level.dataoffset is not None:
            needed = max(needed, level.dataoffset + level.nbytes)
        for page in level._pages:
            if page is not None and page.dataoffsets and level.dataoffset is None:
                spans = zip(page.dataoffsets, page.databytecounts, strict=False)
                needed = max(needed, *(offset + count for offset, count in spans))
    size = series.keyframe.parent.filehandle.size
    if needed > size:
        raise EOFError(
            f'the file is cut off: it has {size:,} bytes and its pixels reach to {needed:,}; copy '
            'it again'
        )


def _require_readable(path: Path, series: tifffile.TiffPageSeries) -> None:
    keyframe = series.keyframe
    colour = keyframe.photometric.name
    if colour not in PLAIN_COLOURS or (colour == 'YCBCR' and keyframe.compression not in _JPEGS):
        raise ValueError(
            f'{path}: colours are encoded as {colour}, expected gray (0 = black) or RGB; convert it'
        )
    if series.is_multifile:
        raise ValueError(
            f'{path}: is one file of an OME-TIFF that spreads over several; save it as one file'
        )
    missing = sum(page is None for page in series._pages)
    if missing:
        raise ValueError(
            f'{path}: {missing} of the {len(series._pages)} planes of its metadata are not in this '
            'file, as in an OME-TIFF that spreads over several; save it as one file'
        )


def _sample_kinds(keyframe: tifffile.TiffPage) -> tuple[int, bool | None]:
    """How many samples at the end are alpha, and whether the others are red, green and blue."""
    extra = [int(kind) for kind in keyframe.extrasamples]
    num_alpha = 0
    while num_alpha < len(extra) and extra[-1 - num_alpha] in (1, 2):
        num_alpha += 1
    is_rgb = keyframe.photometric.name != 'MINISBLACK'
    if is_rgb and len(extra) == 1:
        num_alpha = 1  # nobody means anything else by a fourth sample
    # Three gray samples are how some programs write colours.
    return num_alpha, keyframe.samplesperpixel - num_alpha == 3


def _pixel_size(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, ome: ElementTree.Element | None
) -> tuple[float | None, float | None]:
    """Width and height of a pixel in microns: OME's, else ImageJ's, else that of the tags."""
    if tiff.is_ome:
        if ome is None:
            return None, None
        width, height = (
            microns(ome.get(f'PhysicalSize{a}'), ome.get(f'PhysicalSize{a}Unit', 'µm'))
            for a in 'XY'
        )
        return width, height
    tags = series.keyframe.tags
    steps = [_ratio(tags.valueof(name)) for name in ('XResolution', 'YResolution')]
    if tiff.is_imagej:
        unit = (tiff.imagej_metadata or {}).get('unit')
    else:
        unit = {_INCH: 'inch', _CENTIMETRE: 'cm'}.get(tags.valueof('ResolutionUnit', default=_INCH))
    width, height = (microns(step, unit) for step in steps)
    # ImageJ takes inches and centimetres over from tags.
    is_coarse = (microns(1, unit) or 0) >= _COARSE_UNIT
    if is_coarse and max(width or 0, height or 0) > _MAX_MPP_FROM_TAGS:
        return None, None
    return width, height


def _ratio(pixels_per_unit: tuple[int, int] | None) -> float | None:
    """Units per pixel."""
    if not pixels_per_unit or not all(pixels_per_unit):
        return None
    return pixels_per_unit[1] / pixels_per_unit[0]


def _channel_names(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, ome: ElementTree.Element | None
) -> tuple[str, ...]:
    """Names of separate channels; nothing where the file does not name them."""
    if tiff.is_ome:
        channels = [] if ome is None else ome.findall('{*}Channel')
        return tuple(channel.get('Name', '') for channel in channels)
    if tiff.is_imagej and series.axes == 'CYX':
        labels = (tiff.imagej_metadata or {}).get('Labels') or ()
        return tuple(str(label).strip() for label in labels)
    return ()


def _ome_pixels(tiff: tifffile.TiffFile) -> Sequence[ElementTree.Element | None]:
    """The element that describes each series; None for all where it is not clear which one does."""
    pixels = ElementTree.fromstring(tiff.ome_metadata or '<OME/>').findall('{*}Image/{*}Pixels')
    is_clear = len(pixels) == len(tiff.series)
    return pixels if is_clear else [None] * len(tiff.series)
