"""A series of TIFF pages as an array of which only the needed strips and tiles are decoded."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

# Decoded strips and tiles kept, per file: neighbouring regions share them, and a strip is as wide
# as the image. The last one is kept whatever its size: it may be all of the image.
_CACHE_BYTES = 64 * 2**20


class SegmentCache:
    """The strips and tiles of a file that were decoded last."""

    def __init__(self, max_bytes: int = _CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._segments: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, offset: int) -> npt.NDArray[Any] | None:
        """The segment at an offset in the file, if kept."""
        with self._lock:
            if offset in self._segments:
                self._segments.move_to_end(offset)
            return self._segments.get(offset)

    def put(self, offset: int, segment: npt.NDArray[Any]) -> None:
        """Keep a segment in the place of those not used for longest."""
        with self._lock:
            if offset in self._segments:
                return
            self._segments[offset] = segment
            self._bytes += segment.nbytes
            while self._bytes > self._max_bytes and len(self._segments) > 1:
                _, dropped = self._segments.popitem(last=False)
                self._bytes -= dropped.nbytes


class TiffArray:
    """A series of pages, which are strips or tiles, plain or compressed.

    Args:
        series: of an open file.
        cache: shared by all series of the file.

    Attributes:
        shape: of the series.
        dtype: in native byte order.
    """

    def __init__(self, series: tifffile.TiffPageSeries, cache: SegmentCache) -> None:
        self.shape = tuple(series.shape)
        self.dtype = np.dtype(series.dtype)
        self._series = series
        self._cache = cache
        self._page_shape = tuple(series.keyframe.shape)
        self._leading = self.shape[: len(self.shape) - len(self._page_shape)]

    @classmethod
    def can_read(cls, series: tifffile.TiffPageSeries) -> bool:
        """Whether pages are planes, as in all files but those with three-dimensional tiles."""
        array = cls(series, SegmentCache())
        is_flat = series.keyframe.imagedepth == 1 and series.transform is None
        pages_fit = math.prod(array._leading) == len(series._pages)
        return is_flat and pages_fit and array.shape == array._leading + array._page_shape

    def __getitem__(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        """Read a region.

        Args:
            index: an integer or a slice per axis; slices have a start, a stop and no step.
        """
        spans = [slice(k, k + 1) if isinstance(k, int) else k for k in index]
        depth = len(self._leading)
        pages = itertools.product(*(range(span.start, span.stop) for span in spans[:depth]))
        planes = [
            self._read_page(int(np.ravel_multi_index(page, self._leading)), spans[depth:])
            if page
            else self._read_page(0, spans)
            for page in pages
        ]
        stacked = np.stack(planes) if len(planes) > 1 else planes[0]
        sides = [span.stop - span.start for span in spans]
        kept = [side for side, k in zip(sides, index, strict=True) if isinstance(k, slice)]
        return stacked.reshape(kept)

    def _read_page(self, number: int, spans: Sequence[slice]) -> npt.NDArray[Any]:
        """Read a region of a page, a slice per axis of the page."""
        keyframe, page = self._series.keyframe, self._series._pages[number]
        where = dict(zip(keyframe.axes, spans, strict=True))
        y, x, samples = where['Y'], where['X'], where.get('S', slice(0, 1))
        is_planar = keyframe.shaped[0] > 1
        # Rows, columns, samples; separate samples are segments of their own.
        shape = (y.stop - y.start, x.stop - x.start, samples.stop - samples.start)
        out = np.full(shape, keyframe.nodata, self.dtype)
        if is_planar:
            for k, plane in enumerate(range(samples.start, samples.stop)):
                self._fill(out[:, :, k : k + 1], page, plane, y, x, slice(0, 1))
        else:
            self._fill(out, page, 0, y, x, samples)
        return np.moveaxis(out, -1, keyframe.axes.index('S')) if 'S' in where else out

    def _fill(
        self,
        out: npt.NDArray[Any],
        page: tifffile.TiffPage | tifffile.TiffFrame,
        plane: int,
        y: slice,
        x: slice,
        samples: slice,
    ) -> None:
        """Decode the segments that a region touches into it."""
        keyframe = self._series.keyframe
        height, width = keyframe.imagelength, keyframe.imagewidth
        if keyframe.is_tiled:
            rows, columns = keyframe.tilelength, keyframe.tilewidth
        else:
            rows, columns = min(keyframe.rowsperstrip, height), width
        down, across = -(-height // rows), -(-width // columns)
        for row in range(y.start // rows, -(-y.stop // rows)):
            for column in range(x.start // columns, -(-x.stop // columns)):
                segment = self._segment(page, (plane * down + row) * across + column)
                if segment is None:
                    continue
                top, left = row * rows, column * columns
                y1, x1 = max(y.start, top), max(x.start, left)
                y2, x2 = min(y.stop, top + rows), min(x.stop, left + columns)
                out[y1 - y.start : y2 - y.start, x1 - x.start : x2 - x.start] = segment[
                    y1 - top : y2 - top, x1 - left : x2 - left, samples
                ]

    def _segment(
        self, page: tifffile.TiffPage | tifffile.TiffFrame, number: int
    ) -> npt.NDArray[Any] | None:
        """Rows, columns, samples of a strip or tile; None where the file leaves it out."""
        offset, count = page.dataoffsets[number], page.databytecounts[number]
        if not count:
            return None
        segment = self._cache.get(offset)
        if segment is None:
            file = page.parent.filehandle
            with file.lock:
                file.seek(offset)
                data = file.read(count)
            if len(data) < count:
                raise EOFError(f'the file ends at byte {offset + len(data)} of {offset + count}')
            tables = dict(jpegtables=page.jpegtables, jpegheader=page.keyframe.jpegheader)
            segment = page.keyframe.decode(data, number, **tables)[0][0]
            self._cache.put(offset, segment)
        return segment
