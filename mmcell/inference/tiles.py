"""The objects of an image of any size, tile by tile, as if it had been one.

Each tile is read, shown to the network and sorted out on its own, in any process; putting tiles
together is light and happens in one place, in raster order, so that the result does not depend on
who did which tile. See :mod:`mmcell.functional.tiling` for cores, overlap and halo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from mmcell.functional.tiling import TilePlan
from mmcell.inference.tile_merging import Batch, Frontier
from mmcell.inference.tile_objects import TileResult, sort_out
from mmcell.structures import FoundObjects

# Segments uint8 (h, w, 3) RGB: every object above the score threshold, overlaps allowed, boxes in
# the coordinates of the pixels it got.
Detect = Callable[[npt.NDArray[np.uint8]], FoundObjects]
Item = TypeVar('Item')
Result = TypeVar('Result')
# ``ordered_map(factory, items)``: ``factory()(item)`` for every item, in the order of the items.
# ``factory`` can be pickled and is called once per worker.
OrderedMap = Callable[[Callable[[], Callable[[Any], Any]], Iterable[Any]], Iterator[Any]]


class Source(Protocol):
    """An image that is read piece by piece, as ``ImageSource``."""

    size: tuple[int, int]

    def read(self, x1: int, y1: int, x2: int, y2: int) -> npt.NDArray[Any]:
        """(h, w, C) stored pixels."""


class Display(Protocol):
    """Makes stored pixels what the network was trained on, as ``DisplayRange``."""

    def to_rgb8(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """(h, w, 3)."""


def in_process(
    factory: Callable[[], Callable[[Item], Result]], items: Iterable[Item]
) -> Iterator[Result]:
    """The ordered map without workers."""
    work = factory()
    for item in items:
        yield work(item)


@dataclass(frozen=True)
class TileWork:
    """What a worker does: ``TileWork(...)()(index)`` is a :class:`TileResult`.

    Attributes:
        source: the image, read in the worker.
        detect_factory: builds the network; called once per worker.
        plan: the tiles.
        display_range: how stored pixels become what the network sees.
    """

    source: Source
    detect_factory: Callable[[], Detect]
    plan: TilePlan
    display_range: Display

    def __call__(self) -> Callable[[int], TileResult]:
        """Get ready for tiles."""
        detect = self.detect_factory()
        return lambda index: self._do(detect, index)

    def _do(self, detect: Detect, index: int) -> TileResult:
        tile = self.plan[index]
        x, y, *_ = tile.window
        stored = self.source.read(*tile.window)
        found = detect(self.display_range.to_rgb8(stored))
        shifted = replace(found, boxes=found.boxes + np.array([x, y, x, y]))
        settled, candidates = sort_out(shifted, tile, self.plan)
        x1, y1, x2, y2 = tile.region
        has_objects = len(settled) or len(candidates.objects)
        # A copy where it is a part, so that the rest of the window is freed.
        pixels = np.ascontiguousarray(stored[y1 - y : y2 - y, x1 - x : x2 - x])
        return TileResult(index, settled, candidates, pixels if has_objects else None, (x1, y1))


def find_objects(
    source: Source,
    detect_factory: Callable[[], Detect],
    plan: TilePlan,
    *,
    display_range: Display,
    ordered_map: OrderedMap = in_process,
    tiles: Sequence[int] | npt.NDArray[np.int64] | None = None,
    on_tile: Callable[[int, int], object] = lambda done, total: None,
) -> Iterator[Batch]:
    """Segment an image tile by tile.

    Pixels that several masks cover go to the one of highest rank, of equal ranks to the one whose
    box begins further up, then further left: nothing depends on the tiles or on who does them.
    Masks that keep no pixel are left out.

    Args:
        source: the image.
        detect_factory: builds the network; pickled if there are workers.
        plan: the tiles, of the image's size; one tile for an image that fits in memory.
        display_range: how stored pixels become what the network sees.
        ordered_map: does the tiles, here or elsewhere.
        tiles: numbers of the tiles to do, ascending, e.g. those with tissue
            (:meth:`TilePlan.tiles_with`); all if None.
        on_tile: called with the numbers of tiles done and in all.

    Yields:
        Objects that are final, each once, with ids 1 to N in the order in which they come; the
        stored pixels (h, w, C) of a part of the image that covers them, and the x, y of its upper
        left pixel. Memory is that of a tile for each worker, and what lies within the overlap of
        the lower border of one row of tiles.

    Raises:
        ValueError: If plan and image differ in size, or ``tiles`` is not ascending.
    """
    if tuple(plan.size) != tuple(source.size):
        raise ValueError(f'plan is for an image of {plan.size}, this one is {source.size}')
    numbers = list(range(len(plan))) if tiles is None else [int(number) for number in tiles]
    if any(a >= b for a, b in zip(numbers, numbers[1:], strict=False)):
        raise ValueError('tiles must be numbers of tiles in ascending order')
    frontier = Frontier(plan, source.read)
    count = 0
    work = TileWork(source, detect_factory, plan, display_range)
    # Tiles that are left out are done as soon as those before them are.
    done_after = [number - 1 for number in numbers[1:]] + [len(plan) - 1]
    for k, result in enumerate(ordered_map(work, numbers)):
        for objects, pixels, corner in frontier.add(result, done_after[k]):
            ids = np.arange(count + 1, count + len(objects) + 1)
            count += len(objects)
            yield replace(objects, ids=ids), pixels, corner
        on_tile(k + 1, len(numbers))
