"""A label map that does not fit in memory: painted anywhere, then read tile by tile."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import IO

import imagecodecs
import numpy as np
import numpy.typing as npt

from mmcell.functional.patches import shared_box, view
from mmcell.structures import FoundObjects

Tile = npt.NDArray[np.int32]

TILE = 512  # pixels; even, so that every second pixel of a tile is every second of the image
_KEPT_TILES = 128  # of 1 MiB each; a window of 4096 pixels touches 81 or more
_SMALLEST_LEVEL = 1024  # longer side of the last pyramid level, at most


class LabelImage:
    """An int32 image, 0 where nothing was painted.

    A few tiles are in memory; the others are compressed in a temporary file without a name, which
    the system removes even if the process is killed. Label maps compress thirtyfold and more, and
    painting goes from window to neighbouring window, so that a tile is seldom moved.

    Args:
        size: height, width in pixels.
        folder: for the temporary file: where the result goes, so that space is asked of one disk.
    """

    def __init__(self, size: tuple[int, int], folder: Path) -> None:
        self.size = size
        self.largest_id = 0
        self._painted = 0
        self._folder = folder
        self._kept: OrderedDict[tuple[int, int], Tile] = OrderedDict()
        self._stored: dict[tuple[int, int], tuple[int, int]] = {}  # offset, bytes
        self._file: IO[bytes] | None = None

    def add(self, objects: FoundObjects) -> None:
        """Paint the ids of objects inside the image."""
        self.largest_id = max(self.largest_id, int(objects.ids.max(initial=0)))
        self._painted += int(objects.areas.sum())
        first, last = objects.boxes[:, :2] // TILE, (objects.boxes[:, 2:] - 1) // TILE
        order = np.lexsort((first[:, 0], first[:, 1]))  # tile after tile
        columns = (objects.ids, objects.boxes, first, last)
        for k, label, box, (left, top), (right, bottom) in zip(
            order.tolist(), *(column[order].tolist() for column in columns), strict=True
        ):
            patch = objects.patches[k]
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    x, y = column * TILE, row * TILE
                    region = (x, y, x + TILE, y + TILE)
                    both = shared_box(box, region)
                    view(self._tile(row, column), region, both)[view(patch, box, both)] = label

    def tiles(self) -> Iterator[tuple[int, int, Tile]]:
        """All tiles row by row: x, y of the corner, and (TILE, TILE), 0 beyond the image.

        Raises:
            ValueError: At the end, if objects shared pixels.
        """
        visible = 0
        for row in range(-(-self.size[0] // TILE)):
            for column in range(-(-self.size[1] // TILE)):
                # Reading moves none into memory, where it would push out another.
                tile = self._kept.get((row, column))
                tile = self._load(row, column) if tile is None else tile
                visible += np.count_nonzero(tile)
                yield column * TILE, row * TILE, tile
        if visible != self._painted:
            raise ValueError(
                f'objects share {self._painted - visible} pixels: label maps hold flattened objects'
            )

    def level_sizes(self) -> list[tuple[int, int]]:
        """Sizes of the image and of its pyramid, every level half as large as the one before."""
        sizes = [self.size]
        while max(sizes[-1]) > _SMALLEST_LEVEL:
            height, width = sizes[-1]
            sizes.append((-(-height // 2), -(-width // 2)))
        return sizes

    def pyramid(self) -> Iterator[tuple[tuple[int, int], Iterator[tuple[int, int, Tile]]]]:
        """Size and :meth:`tiles` of this image, then of each level.

        A level is every second pixel of the one before, so that ids stay ids. It is painted while
        the tiles of that one are taken, all of which must be taken; then that one is closed.
        """
        level = self
        with ExitStack() as opened:
            for size in self.level_sizes()[1:]:
                below = opened.enter_context(closing(LabelImage(size, self._folder)))
                yield level.size, level._painted_below(below)
                level.close()
                level = below
            yield level.size, level.tiles()

    def _painted_below(self, below: LabelImage) -> Iterator[tuple[int, int, Tile]]:
        for x, y, tile in self.tiles():
            half = tile[::2, ::2]
            visible = np.count_nonzero(half)
            below._painted += visible
            if visible:
                whole = below._tile(y // 2 // TILE, x // 2 // TILE)
                top, left = y // 2 % TILE, x // 2 % TILE
                whole[top : top + TILE // 2, left : left + TILE // 2] = half
            yield x, y, tile

    def to_array(self, dtype: npt.DTypeLike) -> npt.NDArray[np.integer]:
        """The whole image; for those that are small."""
        whole = np.zeros(self.size, dtype)
        for x, y, tile in self.tiles():
            window = whole[y : y + TILE, x : x + TILE]
            window[:] = tile[: window.shape[0], : window.shape[1]]
        return whole

    def close(self) -> None:
        """Free memory and the temporary file."""
        self._kept.clear()
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take is wanted no longer
                self._file.close()

    def _tile(self, row: int, column: int) -> Tile:
        key = (row, column)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        self._kept[key] = tile = self._load(row, column)
        if len(self._kept) > _KEPT_TILES:
            self._store(*self._kept.popitem(last=False))
        return tile

    def _load(self, row: int, column: int) -> Tile:
        if (row, column) not in self._stored:
            return np.zeros((TILE, TILE), np.int32)
        offset, length = self._stored[row, column]
        assert self._file is not None
        self._file.seek(offset)
        tile = np.empty((TILE, TILE), np.int32)
        imagecodecs.zstd_decode(self._file.read(length), out=tile.ravel().view(np.uint8))
        return tile

    def _store(self, key: tuple[int, int], tile: Tile) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        encoded = imagecodecs.zstd_encode(tile, 1)
        # A tile that returns changed goes to the end: its former place is lost, which is cheaper
        # than to manage room that fits no longer.
        offset = self._file.seek(0, 2)
        self._file.write(encoded)
        self._stored[key] = offset, len(encoded)
