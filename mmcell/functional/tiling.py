"""How a large image is divided into tiles: what each owns, answers for and reads.

Three boxes per tile, each inside the next, all cut off at the image border:

* ``core``: cores divide the image. A tile owns the objects whose box has its centre in the core.
* ``region``: the core and ``overlap`` pixels around it. An owned object of at most 2 * overlap
  pixels in width and height lies inside, whole. Wherever it is not, neighbours see it, too, and
  what they share of it tells that it is one object.
* ``window``: the region and ``halo`` pixels around it, read and shown to the network but not
  believed, since the network sees the window's border there instead of tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

# Stride-2 stages of a ResNet: 3 x 3 convolutions in each.
_RESNET_CONVOLUTIONS = {
    18: (4, 4, 4, 4),
    34: (6, 8, 12, 6),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class Box(NamedTuple):
    """Whole pixels of an image, ``x2`` and ``y2`` exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int


class Tile(NamedTuple):
    """One tile; see the module for the boxes.

    Attributes:
        number: in raster order.
        core: what it owns.
        region: what it answers for.
        window: what it reads.
        inner: the part of the core that no other tile's region reaches; may be empty
            (``x1 >= x2`` or ``y1 >= y2``).
    """

    number: int
    core: Box
    region: Box
    window: Box
    inner: Box


@dataclass(frozen=True)
class TilePlan:
    """The tiles of an image, in raster order.

    Args:
        size: height and width of the image in pixels.
        tile: largest side of a core. The image is divided evenly, so that no tile is a sliver.
        overlap: how far regions reach beyond their core.
        halo: how far windows reach beyond their region, at least.
        align: the upper left corners of windows are multiples of it. With the network's largest
            stride every pixel lies in the same place of the network's grids as it does untiled.
        margin: the network sees an object a little different in another window, and its centre
            elsewhere. Objects whose centre is this close to a core's border are candidates of both
            tiles, of which one is kept.

    Raises:
        ValueError: If a number is out of range, or there are several tiles but no overlap.
    """

    size: tuple[int, int]
    tile: int = 1024
    overlap: int = 64
    halo: int = 64
    align: int = 32
    margin: int = 16

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f'size must be positive (height, width), got {self.size}')
        for name, least in (('tile', 1), ('overlap', 0), ('halo', 0), ('align', 1), ('margin', 0)):
            if getattr(self, name) < least:
                raise ValueError(f'{name} must be >= {least} pixels, got {getattr(self, name)}')
        if len(self) > 1 and self.overlap < 1:
            raise ValueError('overlap must be >= 1 pixel where there are several tiles, got 0')

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return -(-self.size[0] // self.tile)

    @property
    def columns(self) -> int:
        """Number of columns of tiles."""
        return -(-self.size[1] // self.tile)

    def __len__(self) -> int:
        return self.rows * self.columns

    def __getitem__(self, index: int) -> Tile:
        """The tile with this number.

        Raises:
            IndexError: If there is none.
        """
        if not 0 <= index < len(self):
            raise IndexError(f'tile {index} is out of range for {len(self)} tiles')
        row, column = divmod(index, self.columns)
        across = self._spans(column, self.columns, self.size[1])
        down = self._spans(row, self.rows, self.size[0])
        boxes = (Box(x[0], y[0], x[1], y[1]) for x, y in zip(across, down, strict=True))
        return Tile(index, *boxes)

    def _spans(self, k: int, count: int, length: int) -> list[tuple[int, int]]:
        """Core, region, window and inner part of the k-th of ``count`` tiles along one axis."""
        start, stop = k * length // count, (k + 1) * length // count
        low, high = max(start - self.overlap, 0), min(stop + self.overlap, length)
        first = max(low - self.halo, 0) // self.align * self.align
        last = min(-(-(high + self.halo) // self.align) * self.align, length)
        inner = (start + (self.overlap if k else 0), stop - (self.overlap if k < count - 1 else 0))
        return [(start, stop), (low, high), (first, last), inner]

    def edges(self) -> tuple[IntArray, IntArray]:
        """Where cores begin and end: columns (columns + 1,) and rows (rows + 1,) in pixels."""
        height, width = self.size
        return (
            np.arange(self.columns + 1) * width // self.columns,
            np.arange(self.rows + 1) * height // self.rows,
        )

    def last_tile(self, boxes: IntArray) -> IntArray:
        """The last tile whose region meets each box: after it, nothing there can change.

        Args:
            boxes: (N, 4) x1, y1, x2, y2 inside the image, not empty.

        Returns:
            (N,) numbers of tiles.
        """
        columns, rows = self.edges()
        column = np.searchsorted(columns[:-1] - self.overlap, boxes[:, 2], side='left') - 1
        row = np.searchsorted(rows[:-1] - self.overlap, boxes[:, 3], side='left') - 1
        return row * self.columns + column

    def tiles_with(self, mask: npt.NDArray[np.bool_]) -> IntArray:
        """Numbers of the tiles in whose region a mask of the whole image is True somewhere.

        Args:
            mask: (h, w), the image at any lower resolution, e.g. where there is tissue.

        Raises:
            ValueError: If it is not a two-dimensional boolean array.
        """
        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.dtype != bool or 0 in mask.shape:
            raise ValueError(f'mask must be (h, w) bool, got {mask.shape} {mask.dtype}')
        scale = np.array(mask.shape) / self.size
        numbers = []
        for index in range(len(self)):
            region = self[index].region
            y1, x1 = np.floor(np.array([region.y1, region.x1]) * scale).astype(int)
            y2, x2 = np.ceil(np.array([region.y2, region.x2]) * scale).astype(int)
            if mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].any():
                numbers.append(index)
        return np.array(numbers, dtype=np.int64)


def resnet_receptive_field(depth: int) -> int:
    """Side of the square of input pixels that one value of a ResNet's last stage depends on.

    Args:
        depth: 18, 34, 50, 101 or 152; strides in the 3 x 3 convolutions, as in MMDetection's
            ``style='pytorch'``.

    Raises:
        ValueError: If there is no such ResNet.
    """
    if depth not in _RESNET_CONVOLUTIONS:
        raise ValueError(f'depth must be one of {list(_RESNET_CONVOLUTIONS)}, got {depth}')
    field, stride = 7 + 2 * 2, 4  # the 7 x 7 convolution and the 3 x 3 pooling, stride 2 each
    for stage, convolutions in enumerate(_RESNET_CONVOLUTIONS[depth]):
        field += 2 * stride  # the first one of a stage does the striding
        stride *= 2 if stage else 1
        field += 2 * stride * (convolutions - 1)
    return field


def default_halo(receptive_field: int, tile: int, overlap: int, max_work: float = 1.75) -> int:
    """Halo that covers the receptive field, as far as that is affordable.

    Half the receptive field is as far as a pixel can matter. The theoretical field of a deep
    network (971 pixels for ResNet-101) is far beyond what the window could be, and what does
    matter is a small part in its middle (Luo et al., Understanding the effective receptive field,
    NeurIPS 2016); so the halo ends where windows would have ``max_work`` times the pixels of the
    cores.

    Args:
        receptive_field: in pixels, e.g. :func:`resnet_receptive_field`.
        tile: side of a core in pixels.
        overlap: of the regions, in pixels; part of the work, too.
        max_work: pixels of a window over pixels of its core, >= 1.

    Returns:
        In pixels, >= 0.
    """
    affordable = int(tile * (max_work**0.5 - 1) / 2) - overlap
    return max(min(-(-receptive_field // 2), affordable), 0)
