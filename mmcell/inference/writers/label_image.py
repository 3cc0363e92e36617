"""A label map that does not fit in memory: painted anywhere, then taken tile by tile."""

from __future__ import annotations

import functools
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import imagecodecs
import numpy as np
import numpy.typing as npt

from mmcell.functional.rle import numbers_within
from mmcell.structures import FoundObjects

Tile = npt.NDArray[np.int32]

TILE = 512  # pixels; even, so that every second pixel of a tile is every second of the image
# Of 1 MiB each: a window of 4096 pixels touches 81 or more. Tiles leave from left to right, so
# that the levels below are painted a row at a time.
_KEPT_TILES, _KEPT_BELOW = 128, 16
_SMALLEST_LEVEL = 1024  # longer side of the last pyramid level, at most


class _Stored(NamedTuple):
    """A tile in the file."""

    offset: int
    length: int
    dtype: np.dtype[np.integer]
    visible: int  # pixels that are not background


class LabelImage:
    """An int32 image with its pyramid, 0 where nothing was painted.

    Of each level a few tiles are in memory; the others are in a temporary file without a name,
    which the system removes even if the process is killed, and packed already as files want them.
    Painting goes from window to neighbouring window, so that most tiles are packed once. A level
    is every second pixel of the one before, so that ids stay ids.

    Args:
        size: height, width in pixels.
        folder: for the temporary file: where the result goes, so that space is asked of one disk.
    """

    def __init__(self, size: tuple[int, int], folder: Path) -> None:
        self.level_sizes = [size]
        while max(self.level_sizes[-1]) > _SMALLEST_LEVEL:
            height, width = self.level_sizes[-1]
            self.level_sizes.append((-(-height // 2), -(-width // 2)))
        self._largest_id = 0
        self._painted = 0
        self._folder = folder
        self._kept: list[OrderedDict[tuple[int, int], Tile]] = [
            OrderedDict() for _ in self.level_sizes
        ]
        self._stored: list[dict[tuple[int, int], _Stored]] = [{} for _ in self.level_sizes]
        self._file: IO[bytes] | None = None

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """What holds the ids so far."""
        return label_dtype(self._largest_id)

    def add(self, objects: FoundObjects) -> None:
        """Paint the ids of objects inside the image."""
        if not len(objects):
            return
        self._largest_id = max(self._largest_id, int(objects.ids.max()))
        self._painted += int(objects.areas.sum())
        # An object in several tiles has a part in each.
        low, high = objects.boxes[:, :2], objects.boxes[:, 2:]
        first = low // TILE
        across, down = ((high - 1) // TILE - first + 1).T
        count = across * down
        k = np.repeat(np.arange(len(objects)), count)
        row, column = np.divmod(numbers_within(count), across[k])
        tiles = first[k] + np.stack([column, row], axis=1)
        start, stop = np.maximum(low[k], tiles * TILE), np.minimum(high[k], (tiles + 1) * TILE)
        parts = [tiles, start - tiles * TILE, stop - tiles * TILE, start - low[k], stop - low[k]]
        order = np.lexsort(tiles.T)  # tile after tile
        key = None
        columns = np.concatenate([k[:, None], objects.ids[k, None], *parts], axis=1)[order].T
        # No list per object: Python would look through all it holds for garbage, again and again.
        for number, label, x, y, x1, y1, x2, y2, left, top, right, bottom in zip(
            *columns.tolist(), strict=True
        ):
            if key != (y, x):
                key = (y, x)
                tile = self._tile(0, key)
            tile[y1:y2, x1:x2][objects.patches[number][top:bottom, left:right]] = label

    def to_array(self) -> npt.NDArray[np.integer]:
        """The whole image; for those that are small.

        Raises:
            ValueError: If objects shared pixels.
        """
        whole = np.zeros(self.level_sizes[0], self.dtype)
        for x, y, tile in self._tiles(0):
            window = whole[y : y + TILE, x : x + TILE]
            window[:] = tile[: window.shape[0], : window.shape[1]]
        self._check(np.count_nonzero(whole))
        return whole

    def levels(self) -> Iterator[tuple[tuple[int, int], Iterator[tuple[int, int, Tile]]]]:
        """Size of each level, and its tiles row by row where there are any.

        Yields:
            Height and width; x, y of a tile's corner, and the tile (TILE, TILE), 0 beyond the
            image.

        Raises:
            ValueError: If objects shared pixels.
        """
        self._store_all()
        for level, size in enumerate(self.level_sizes):
            yield size, self._tiles(level)

    def packed_levels(self) -> Iterator[tuple[tuple[int, int], Iterator[bytes]]]:
        """Size of each level, and all its tiles row by row, in :attr:`dtype` and by Deflate.

        Raises:
            ValueError: If objects shared pixels.
        """
        self._store_all()
        for level, size in enumerate(self.level_sizes):
            yield size, self._packed(level)

    def close(self) -> None:
        """Free memory and the temporary file."""
        for kept in self._kept:
            kept.clear()
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take is wanted no longer
                self._file.close()

    def _keys(self, level: int) -> Iterator[tuple[int, int]]:
        height, width = self.level_sizes[level]
        return np.ndindex(-(-height // TILE), -(-width // TILE))

    def _tiles(self, level: int) -> Iterator[tuple[int, int, Tile]]:
        for row, column in self._keys(level):
            key = (row, column)
            tile = self._kept[level].get(key)
            if tile is None and key in self._stored[level]:
                tile = self._load(level, key)  # to look at: it pushes no other out of memory
            if tile is not None:
                yield column * TILE, row * TILE, tile

    def _packed(self, level: int) -> Iterator[bytes]:
        for key in self._keys(level):
            stored = self._stored[level].get(key)
            if stored is None:
                yield _empty(self.dtype)
            elif stored.dtype == self.dtype:
                yield self._read(stored)
            else:  # packed before ids were as large
                yield _pack(self._load(level, key), self.dtype)

    def _check(self, visible: int) -> None:
        if visible != self._painted:
            raise ValueError(
                f'objects share {self._painted - visible} pixels: label maps hold flattened objects'
            )

    def _tile(self, level: int, key: tuple[int, int]) -> Tile:
        """A tile to paint on."""
        kept = self._kept[level]
        if key in kept:
            kept.move_to_end(key)
            return kept[key]
        kept[key] = tile = self._load(level, key)
        if len(kept) > (_KEPT_BELOW if level else _KEPT_TILES):
            self._store(level, *kept.popitem(last=False))
        return tile

    def _load(self, level: int, key: tuple[int, int]) -> Tile:
        stored = self._stored[level].get(key)
        if stored is None:
            return np.zeros((TILE, TILE), np.int32)
        tile = np.empty((TILE, TILE), stored.dtype)
        imagecodecs.zlibng_decode(self._read(stored), out=tile.ravel().view(np.uint8))
        return tile.astype(np.int32, copy=False)

    def _read(self, stored: _Stored) -> bytes:
        assert self._file is not None
        self._file.seek(stored.offset)
        return self._file.read(stored.length)

    def _store_all(self) -> None:
        for level, kept in enumerate(self._kept):  # which paints the next level
            while kept:
                self._store(level, *kept.popitem(last=False))
        self._check(sum(stored.visible for stored in self._stored[0].values()))

    def _store(self, level: int, key: tuple[int, int], tile: Tile) -> None:
        """Pack a tile into the file, and paint it on the level below."""
        if level + 1 < len(self.level_sizes):
            (down, y), (across, x) = (divmod(number * TILE // 2, TILE) for number in key)
            half = self._tile(level + 1, (down, across))
            half[y : y + TILE // 2, x : x + TILE // 2] = tile[::2, ::2]
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        packed = _pack(tile, self.dtype)
        # A tile that returns changed goes to the end: its former place is lost, which is cheaper
        # than to manage room that fits no longer.
        offset = self._file.seek(0, 2)
        self._file.write(packed)
        visible = np.count_nonzero(tile)
        self._stored[level][key] = _Stored(offset, len(packed), self.dtype, visible)


def label_dtype(largest_id: int) -> np.dtype[np.integer]:
    """uint16 where it holds the ids, else int32, which all label readers know."""
    return np.dtype(np.uint16 if largest_id <= np.iinfo(np.uint16).max else np.int32)


def _pack(tile: Tile, dtype: np.dtype[np.integer]) -> bytes:
    """By zlib-ng: faster than zlib, and larger."""
    return imagecodecs.zlibng_encode(tile.astype(dtype, copy=False), level=2)


@functools.cache
def _empty(dtype: np.dtype[np.integer]) -> bytes:
    return _pack(np.zeros((TILE, TILE), np.int32), dtype)
