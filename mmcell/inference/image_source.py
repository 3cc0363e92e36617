"""One image to predict on, read region by region, wherever its pixels are stored."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from mmcell.inference.layout import Channels, Layout, choose_channels, find_layout, guess_axes

# Values, of all channels, in the windows in which a whole image is gone through.
_WINDOW_VALUES = 2**20


class ImageSource(ABC):
    """One image of a file.

    Reading takes the memory of the region, not of the image, where the file's format allows it.
    A source can be pickled; the copy opens the file again when it reads. Use it as a context
    manager, or close it. Threads may share it: what it does for one, others wait for.

    Attributes:
        path: the file.
        name: stem of every output file; ends in ``_page003`` for one image of several in a file.
        size: height, width in pixels.
        channels: their names, all that :meth:`read` gives.
        shown: indices of the one to three channels that networks see: gray, or red, green, blue.
        is_colour: whether the channels are the red, green and blue of a picture.
        dtype: of the pixels as stored.
        mpp: microns per pixel; None if neither the file nor the user says.
        axes: what was read: a letter per axis of what is stored.
    """

    def __init__(
        self,
        path: str | Path,
        name: str,
        size: tuple[int, int],
        channels: Sequence[str],
        shown: Sequence[int],
        is_colour: bool,
        dtype: npt.DTypeLike,
        mpp: float | None,
        axes: str,
    ) -> None:
        self.path = Path(path)
        self.name = name
        self.size = size
        self.channels = tuple(channels)
        self.shown = tuple(shown)
        self.is_colour = is_colour
        self.dtype = np.dtype(dtype)
        self.mpp = check_mpp(mpp)
        self.axes = axes
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != '_lock'}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def read(self, x1: int, y1: int, x2: int, y2: int) -> npt.NDArray[Any]:
        """Read a region.

        Args:
            x1: left end, in pixels of the image.
            y1: upper end.
            x2: right end, exclusive.
            y2: lower end, exclusive.

        Returns:
            (y2 - y1, x2 - x1, C), pixels as stored, every channel but alpha.

        Raises:
            OSError: If the file cannot be decoded there.
            ValueError: If the region is not inside the image.
        """
        x1, y1, x2, y2 = int(x1), int(y1), int(x2), int(y2)  # numpy's, often
        height, width = self.size
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise ValueError(
                f'{self.path}: region {(x1, y1, x2, y2)} (x1, y1, x2, y2) is not inside the image '
                f'of width {width} and height {height}'
            )
        with self._lock:
            return self._read_level(0, x1, y1, x2, y2)

    def thumbnail(self, max_side: int, channels: Sequence[int] | None = None) -> npt.NDArray[Any]:
        """The whole image, small: averages of the pixels that each of its pixels covers.

        Args:
            max_side: of the result, in pixels; an image that is smaller is not enlarged.
            channels: indices of those wanted; all if None.

        Returns:
            (h, w, C) of the stored type. h / w is that of the image to within half a pixel.
        """
        factor = min(1, max_side / max(self.size))
        height, width = (max(1, round(side * factor)) for side in self.size)
        with self._lock:
            sizes = self._level_sizes()
            large_enough = [k for k, (h, w) in enumerate(sizes) if h >= height and w >= width]
            level = max(large_enough, default=0)
            small = self._averaged(
                level,
                max(1, min(sizes[level][0] // height, sizes[level][1] // width)),
                list(range(len(self.channels)) if channels is None else channels),
            )
        if small.shape[:2] != (height, width):
            resized = [
                cv2.resize(channel, (width, height), interpolation=cv2.INTER_AREA)
                for channel in np.moveaxis(small, -1, 0)
            ]
            small = np.stack(resized, axis=-1)
        return _of_type(small, self.dtype)

    def _averaged(
        self, level: int, factor: int, channels: list[int]
    ) -> npt.NDArray[np.floating[Any]]:
        """A level shrunk by a whole factor; the last row and column may cover fewer pixels."""
        height, width = self._level_sizes()[level]
        small = np.empty(
            (-(-height // factor), -(-width // factor), len(channels)),
            np.result_type(self.dtype, np.float32),
        )
        window = math.isqrt(_WINDOW_VALUES // len(self.channels))
        step = max(1, window // factor) * factor
        for y in range(0, height, step):
            for x in range(0, width, step):
                y2, x2 = min(y + step, height), min(x + step, width)
                mean = _block_mean(self._read_level(level, x, y, x2, y2)[..., channels], factor)
                top, left = y // factor, x // factor
                small[top : top + mean.shape[0], left : left + mean.shape[1]] = mean
        return small

    @abstractmethod
    def _level_sizes(self) -> list[tuple[int, int]]:
        """Height, width of each level of the pyramid, the image itself first."""

    @abstractmethod
    def _read_level(self, level: int, x1: int, y1: int, x2: int, y2: int) -> npt.NDArray[Any]:
        """(h, w, C) of a region in pixels of a level."""

    def close(self) -> None:
        """Let go of the file; reading opens it again."""
        with self._lock:
            self._close()

    @abstractmethod
    def _close(self) -> None:
        """Let go of the file, if it is open."""

    def __enter__(self) -> ImageSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Sliceable(Protocol):
    """What numpy, memory-mapped, zarr and TIFF arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> Any:
        """Type of the pixels."""

    def __getitem__(self, index: Any) -> Any: ...


class Opened(NamedTuple):
    """An open file.

    Attributes:
        levels: the same stored array at falling resolution, the image itself first.
        close: lets go of the file.
    """

    levels: Sequence[Sliceable]
    close: Callable[[], None] = lambda: None


class StoredSource(ImageSource):
    """One image of a stored array that may hold several.

    Args:
        path: the file.
        name: as in :class:`ImageSource`.
        layout: how images lie in the array.
        page: where this image lies along ``layout.page_axes``.
        shown: as in :class:`ImageSource`.
        dtype: of the array.
        mpp: as in :class:`ImageSource`.
        open_file: opens the file; can be pickled.
        opened: what it would give now, if that is at hand.
    """

    def __init__(
        self,
        path: str | Path,
        name: str,
        layout: Layout,
        page: tuple[int, ...],
        shown: Sequence[int],
        dtype: npt.DTypeLike,
        mpp: float | None,
        open_file: Callable[[], Opened],
        opened: Opened | None = None,
    ) -> None:
        super().__init__(
            path,
            name,
            layout.size,
            layout.channels,
            shown,
            layout.is_colour,
            np.dtype(dtype).newbyteorder('='),
            mpp,
            layout.axes,
        )
        self._layout = layout
        self._page = page
        self._open_file = open_file
        self._opened = opened

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), '_opened': None}

    def _levels(self) -> Sequence[Sliceable]:
        if self._opened is None:
            self._opened = self._open_file()
        return self._opened.levels

    def _level_sizes(self) -> list[tuple[int, int]]:
        row, column = self._layout.axes.index('Y'), self._layout.axes.index('X')
        return [(level.shape[row], level.shape[column]) for level in self._levels()]

    def _read_level(self, level: int, x1: int, y1: int, x2: int, y2: int) -> npt.NDArray[Any]:
        layout = self._layout
        where: dict[str, slice] = {'Y': slice(y1, y2), 'X': slice(x1, x2)}
        if layout.channel_axis:
            where[layout.channel_axis] = slice(0, len(layout.channels))
        page = iter(self._page)
        index = tuple(where[axis] if axis in where else next(page) for axis in layout.axes)
        try:
            region = np.asarray(self._levels()[level][index])
        except FileNotFoundError:
            raise
        except Exception as error:  # decoders raise whatever they meet in a damaged file
            raise OSError(
                f'{self.path}: cannot be decoded at {(x1, y1, x2, y2)} (x1, y1, x2, y2), the file '
                f'is damaged: {error}'
            ) from error
        kept = [axis for axis in layout.axes if axis in where]
        if not layout.channel_axis:
            region, kept = region[..., None], [*kept, '']
        region = region.transpose([kept.index(axis) for axis in ('Y', 'X', layout.channel_axis)])
        # A copy: neither may callers write into an array, nor does anything keep a file mapped.
        return np.array(region, dtype=self.dtype, order='C')


class ArraySource(StoredSource):
    """An image in memory.

    Args:
        array: one image with pixels of any type, boolean, integer or float.
        name: stem of output files.
        mpp: microns per pixel, if known.
        axes: a letter per axis: Y, X and C or S. Default: (H, W) gray or (H, W, 3 or 4) colour.
        channels: one to three channels for the network, as :func:`choose_channels` has them.

    Raises:
        ValueError: If the axes are not clear, or the array holds more than one image.
    """

    def __init__(
        self,
        array: npt.NDArray[Any],
        name: str = 'image',
        mpp: float | None = None,
        axes: str | None = None,
        channels: Channels = None,
    ) -> None:
        array = np.asarray(array)
        check_dtype(name, array.dtype)
        layout = find_layout(name, array.shape, guess_axes(array.shape), axes)
        if len(layout.pages) != 1:
            raise ValueError(
                f'{name}: holds {len(layout.pages)} images along {layout.page_axes}, its shape is '
                f'{array.shape}; give them one by one'
            )
        super().__init__(
            name,
            name,
            layout,
            layout.pages[0],
            choose_channels(name, layout.channels, channels),
            array.dtype,
            mpp,
            _InMemory(array),
        )


class _InMemory(NamedTuple):
    """Opens an array that is there already."""

    array: npt.NDArray[Any]

    def __call__(self) -> Opened:
        return Opened([self.array])


def check_mpp(mpp: float | None) -> float | None:
    """Return ``mpp``, or raise a ValueError if it is no length."""
    if mpp is not None and not 0 < mpp < float('inf'):
        raise ValueError(f'mpp (microns per pixel) is {mpp}, expected a number > 0')
    return mpp


def check_dtype(what: str, dtype: np.dtype[Any]) -> None:
    """Raise a ValueError unless pixels of this type are intensities."""
    if dtype.kind not in 'buif':
        raise ValueError(
            f'{what}: pixels are {dtype}, expected boolean, integer or float intensities'
        )


def _block_mean(pixels: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float64]:
    """Mean of every ``factor`` x ``factor`` block of (h, w, C); those at the end may be smaller."""
    means = pixels.astype(np.float64)
    for axis in (0, 1):
        length = means.shape[axis]
        starts = np.arange(0, length, factor)
        counts = np.minimum(starts + factor, length) - starts
        sums = np.add.reduceat(means, starts, axis=axis)
        means = sums / counts.reshape(-1, *[1] * (2 - axis))
    return means


def _of_type(values: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind == 'b':
        return values >= 0.5
    return (np.rint(values) if dtype.kind in 'ui' else values).astype(dtype)
