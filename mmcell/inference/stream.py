"""The objects of images of any size, tile by tile, as if each had been segmented at once.

Each tile is read, shown to the network and sorted out on its own, in any process; putting tiles
together is light and happens in one place, in raster order, so that the result does not depend on
who did which tile. See :mod:`mmcell.functional.tiling` for cores, overlap and halo.

Tiles of all images stand in one queue, so that a slide and a folder of small images keep workers
busy alike, and several tiles of either pass through the network together. What goes wrong with an
image ends that image alone.
"""

from __future__ import annotations

import functools
import pickle
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mmcell.functional.tiling import TilePlan
from mmcell.inference.distribution import OrderedMap, in_process
from mmcell.inference.tile_merging import Frontier
from mmcell.inference.tile_objects import TileResult, sort_out
from mmcell.structures import FoundObjects

# Segments uint8 (h, w, 3) RGB: every object above the score threshold, overlaps allowed, boxes in
# the coordinates of the pixels it got.
Detect = Callable[[npt.NDArray[np.uint8]], FoundObjects]

# Detectors that a process keeps: images of one run differ in pixel size at most.
_KEPT_DETECTORS = 8
# Images that a process keeps open.
_KEPT_IMAGES = 4


class Source(Protocol):
    """An image that is read piece by piece, as ``ImageSource``."""

    size: tuple[int, int]

    def read(self, x1: int, y1: int, x2: int, y2: int) -> npt.NDArray[Any]:
        """(h, w, C) stored pixels."""


class Display(Protocol):
    """Makes stored pixels what the network was trained on, as ``DisplayRange``."""

    def to_rgb8(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """(h, w, 3)."""


@dataclass(frozen=True)
class ImageTask:
    """An image and how it is to be segmented; can be pickled.

    Attributes:
        source: the image.
        detect_factory: builds what finds objects in a window; hashable. Windows of equal factories
            share what it builds, and go to its ``batch(windows)`` together where it has one.
        plan: the tiles.
        display_range: how stored pixels become what the network sees.
        tiles: numbers of the tiles to do, ascending, e.g. those with tissue
            (:meth:`TilePlan.tiles_with`); all if None.

    Raises:
        ValueError: If plan and image differ in size, or ``tiles`` is not ascending.
    """

    source: Source
    detect_factory: Callable[[], Detect]
    plan: TilePlan
    display_range: Display
    tiles: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if tuple(self.plan.size) != tuple(self.source.size):
            raise ValueError(
                f'plan is for an image of {self.plan.size}, this one is {self.source.size}'
            )
        if self.tiles is not None and any(
            a >= b for a, b in zip(self.tiles, self.tiles[1:], strict=False)
        ):
            raise ValueError('tiles must be numbers of tiles in ascending order')

    @property
    def numbers(self) -> Sequence[int]:
        """The tiles to do."""
        return range(len(self.plan)) if self.tiles is None else self.tiles


@dataclass
class Found:
    """Some final objects of an image.

    Attributes:
        task: the image.
        objects: they share no pixel, and ids go on from 1 within the image.
        pixels: (h, w, C) as stored, of a part of the image that covers them.
        corner: x, y of its upper left pixel.
        error: set by whoever cannot use them, such as on a full disk: the image ends there.
    """

    task: ImageTask
    objects: FoundObjects
    pixels: npt.NDArray[Any]
    corner: tuple[int, int]
    error: Exception | None = None


@dataclass(frozen=True)
class TileDone:
    """A tile of an image is done; ``limits`` are those of the model that it reached."""

    task: ImageTask
    done: int
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """An image is done; ``error`` is what went wrong, None if nothing did."""

    task: ImageTask
    error: Exception | None = None


def find_in_images(
    tasks: Iterable[ImageTask], ordered_map: OrderedMap = in_process, batch_size: int = 1
) -> Iterator[Found | TileDone | Finished]:
    """Segment images.

    Pixels that several masks cover go to the one of highest rank, of equal ranks to the one whose
    box begins further up, then further left: nothing depends on the tiles or on who does them.
    Masks that keep no pixel are left out.

    Args:
        tasks: taken as they are needed: with workers some images ahead.
        ordered_map: does the tiles, here or elsewhere.
        batch_size: tiles that are done together, of one or of several images.

    Yields:
        Of one image after the other: :class:`Found` where there are objects, a :class:`TileDone`
        after each tile, one :class:`Finished` at the end. Memory is that of a tile for each worker,
        and what lies within the overlap of the lower border of one row of tiles.
    """
    open_images: deque[_OpenImage] = deque()
    items = _tiles_of(tasks, open_images)
    yield from _events(_TileWork, items, open_images, ordered_map, batch_size)


def find_in_image(
    task: ImageTask, ordered_map: OrderedMap = in_process
) -> Iterator[Found | TileDone | Finished]:
    """The same for one image; what the task holds travels to workers once, not with each tile."""
    open_images: deque[_OpenImage] = deque()
    items = (item._replace(task=None) for item in _tiles_of([task], open_images))
    yield from _events(functools.partial(_TileWork, task), items, open_images, ordered_map, 1)


def find_tile(task: ImageTask, index: int) -> TileResult:
    """Do one tile of an image, here and now.

    Raises:
        Exception: Whatever goes wrong.
    """
    (outcome,) = _TileWork(task)([_TileItem('', None, index)])
    if isinstance(outcome, _TileFailure):
        raise outcome.error
    return outcome[0]


class _TileItem(NamedTuple):
    image: str  # differs between images and runs
    task: ImageTask | None  # None: the one that the worker has already
    index: int


class _TileFailure:
    """What went wrong with a tile; travels even if the error cannot."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.loads(pickle.dumps(self.error))
        except Exception:  # whatever a library's error does there
            return _TileFailure, (RuntimeError(str(self.error)),)
        return _TileFailure, (self.error,)


class _Window(NamedTuple):
    """A tile that is read."""

    task: ImageTask
    index: int
    stored: npt.NDArray[Any]
    rgb: npt.NDArray[np.uint8]


_TileOutcome = tuple[TileResult, tuple[str, ...]] | _TileFailure


class _TileWork:
    """What a worker does with a few tiles: ``_TileWork()(items)``."""

    def __init__(self, task: ImageTask | None = None) -> None:
        self._task = task
        self._images: OrderedDict[str, ImageTask] = OrderedDict()
        self._detector = functools.lru_cache(_KEPT_DETECTORS)(lambda factory: factory())

    def __call__(self, items: Sequence[_TileItem]) -> list[_TileOutcome]:
        """Read, show to the network and sort out; an outcome for each item."""
        return self.compute(self.prepare(items))

    def prepare(self, items: Sequence[_TileItem]) -> list[_Window | _TileFailure]:
        """Read, and scale to what the network sees."""
        return [self._read(self._task or self._kept(item), item.index) for item in items]

    def compute(self, windows: Sequence[_Window | _TileFailure]) -> list[_TileOutcome]:
        """Show to the network and sort out; an outcome for each window."""
        outcomes: list[Any] = list(windows)
        together: dict[Any, list[int]] = {}
        for k, window in enumerate(windows):
            if isinstance(window, _Window):
                together.setdefault(window.task.detect_factory, []).append(k)
        for factory, members in together.items():
            pictures = [outcomes[k].rgb for k in members]
            for k, found in zip(members, self._detect(factory, pictures), strict=True):
                is_failure = isinstance(found, _TileFailure)
                outcomes[k] = found if is_failure else _sorted_out(outcomes[k], found)
        return outcomes

    def _read(self, task: ImageTask, index: int) -> _Window | _TileFailure:
        try:
            stored = task.source.read(*task.plan[index].window)
            return _Window(task, index, stored, task.display_range.to_rgb8(stored))
        except Exception as error:  # whatever is wrong with one image, the others count
            return _TileFailure(error)

    def _kept(self, item: _TileItem) -> ImageTask:
        """The image of an item as it came first, so that its file is opened once."""
        task = self._images.setdefault(item.image, item.task)
        self._images.move_to_end(item.image)
        if len(self._images) > _KEPT_IMAGES:
            _, oldest = self._images.popitem(last=False)
            getattr(oldest.source, 'close', lambda: None)()
        return task

    def _detect(
        self, factory: Callable[[], Detect], windows: list[npt.NDArray[np.uint8]]
    ) -> list[FoundObjects | _TileFailure]:
        detect = self._detector(factory)
        try:
            if len(windows) > 1 and hasattr(detect, 'batch'):
                return detect.batch(windows)
            return [detect(window) for window in windows]
        except Exception as error:
            if len(windows) == 1:
                return [_TileFailure(error)]
            # One of them; the others are innocent.
            return [found for window in windows for found in self._detect(factory, [window])]


def _sorted_out(window: _Window, found: FoundObjects) -> _TileOutcome:
    task, index, stored, _ = window
    tile = task.plan[index]
    x, y, *_ = tile.window
    settled, candidates = sort_out(found.moved(x, y), tile, task.plan)
    x1, y1, x2, y2 = tile.region
    has_objects = len(settled) or len(candidates.objects)
    pixels = stored[y1 - y : y2 - y, x1 - x : x2 - x] if has_objects else None
    return TileResult(index, settled, candidates, pixels, (x1, y1)), found.limits


@dataclass
class _OpenImage:
    """An image some of whose tiles are under way."""

    task: ImageTask
    frontier: Frontier = field(init=False)
    taken: int = 0
    count: int = 0
    error: Exception | None = None
    issued: int = 0

    def __post_init__(self) -> None:
        self.frontier = Frontier(self.task.plan, self.task.source.read)

    @property
    def is_done(self) -> bool:
        """Whether no outcome is to come; a failed image gets no more tiles."""
        return self.taken == (len(self.task.numbers) if self.error is None else self.issued)

    def take(self, outcome: _TileOutcome) -> Iterator[Found | TileDone]:
        """Use the outcome of the next tile; after an error, nothing is used any more."""
        numbers = self.task.numbers
        # Tiles that are left out are done as soon as those before them are.
        following = self.taken + 1
        done = (numbers[following] if following < len(numbers) else len(self.task.plan)) - 1
        self.taken += 1
        if self.error is not None:
            return
        if isinstance(outcome, _TileFailure):
            self.error = outcome.error
            return
        result, limits = outcome
        try:
            batches = self.frontier.add(result, done)
        except Exception as error:  # such as a part of the image that cannot be read again
            self.error = error
            return
        for objects, pixels, corner in batches:
            found = Found(self.task, objects.numbered(self.count + 1), pixels, corner)
            self.count += len(objects)
            yield found
            if found.error is not None:
                self.error = found.error
                return
        yield TileDone(self.task, self.taken, limits)


def _finished(open_images: deque[_OpenImage]) -> Iterator[Finished]:
    while open_images and open_images[0].is_done:
        image = open_images.popleft()
        yield Finished(image.task, image.error)


def _events(
    work: Callable[[], _TileWork],
    items: Iterator[_TileItem],
    open_images: deque[_OpenImage],
    ordered_map: OrderedMap,
    batch_size: int,
) -> Iterator[Found | TileDone | Finished]:
    for results in ordered_map(work, _chunks(items, batch_size)):
        for result in results:
            yield from _finished(open_images)
            yield from open_images[0].take(result)
            yield from _finished(open_images)
    yield from _finished(open_images)


def _tiles_of(tasks: Iterable[ImageTask], open_images: deque[_OpenImage]) -> Iterator[_TileItem]:
    """All tiles; an image that has failed meanwhile gets no more of them."""
    run = uuid.uuid4().hex
    for number, task in enumerate(tasks):
        image = _OpenImage(task)
        open_images.append(image)
        bare = replace(task, tiles=None)  # thousands of numbers, of no use to a worker
        for index in task.numbers:
            if image.error is not None:
                break
            image.issued += 1
            yield _TileItem(f'{run} {number}', bare, index)


def _chunks(items: Iterator[_TileItem], size: int) -> Iterator[list[_TileItem]]:
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
