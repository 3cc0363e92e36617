"""What every writer shares: a batch of objects, and files that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmcell.functional.polygons import Rings, label_map_to_polygons
from mmcell.inference.measurements import measure, round_floats
from mmcell.structures import FoundObjects

if TYPE_CHECKING:
    import pandas as pd

    from mmcell.inference.intensity import DisplayRange
    from mmcell.inference.sources import ImageSource

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ImageContext:
    """What writers need to know besides the objects.

    Attributes:
        source: the image; its name, size, channels, dtype and pixel size are used, its pixels only
            for pictures.
        classes: the model's class names.
        colors: RGB of each class.
        display_range: from stored pixels to RGB; for pictures.
    """

    source: ImageSource
    classes: Sequence[str]
    colors: Sequence[Color]
    display_range: DisplayRange | None = None

    def thumbnail(self, max_side: int) -> npt.NDArray[np.uint8]:
        """(h, w, 3) RGB, the image as it is shown, the longer side at most ``max_side`` pixels."""
        shown_as = self.display_range
        if shown_as is None:
            from mmcell.inference.intensity import DisplayRange

            shown_as = DisplayRange.of(self.source)
        # Of many channels at most three are shown: no others are averaged.
        pixels = self.source.thumbnail(max_side, shown_as.shown)
        return replace(shown_as, shown=tuple(range(len(shown_as.shown)))).to_rgb8(pixels)

    def no_objects(self) -> Batch:
        """A batch without objects, whose table has the columns of those with."""
        nothing = np.zeros((0, 0, len(self.source.channels)), self.source.dtype)
        return Batch(FoundObjects.empty(), nothing, (0, 0), self)


@dataclass(frozen=True)
class Batch:
    """Objects of one call, and what several writers compute from them, each once.

    Attributes:
        objects: as ``Writers.write`` takes them.
        pixels: (h, w, C).
        corner: x, y.
        context: of the image.
    """

    objects: FoundObjects
    pixels: npt.NDArray
    corner: tuple[int, int]
    context: ImageContext = field(repr=False)

    def check(self) -> None:
        """Refuse objects outside the window and empty ones.

        Raises:
            ValueError: As ``Writers.write``, but for shared pixels.
        """
        height, width = self.pixels.shape[:2]
        x, y = self.corner
        boxes = self.objects.boxes - [x, y, x, y]
        outside = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > (width, height)).any(axis=1)
        if outside.any():
            raise ValueError(
                f'object {self.objects.ids[outside.argmax()]} reaches out of the window of '
                f'{height} x {width} pixels at x, y = {self.corner}'
            )
        areas = self.objects.areas
        if not areas.all():
            raise ValueError(f'object {self.objects.ids[areas.argmin()]} has no pixel')

    @cached_property
    def label_map(self) -> npt.NDArray[np.int32]:
        """(h, w) of the window: the id of the object at each pixel, 0 where there is none.

        Raises:
            ValueError: If objects share pixels.
        """
        painted = np.zeros(self.pixels.shape[:2], dtype=np.int32)
        self.objects.paint(painted, self.corner)
        if np.count_nonzero(painted) != self.objects.areas.sum():
            losers = self._losers(painted)
            raise ValueError(
                f'objects share pixels, {losers[:5]} lose some: writers take flattened objects'
            )
        return painted

    def _losers(self, painted: npt.NDArray[np.int32]) -> list[int]:
        """Ids of objects that others have painted over."""
        visible = np.bincount(painted.ravel(), minlength=int(self.objects.ids.max()) + 1)
        return self.objects.ids[visible[self.objects.ids] < self.objects.areas].tolist()

    @cached_property
    def polygons(self) -> list[list[Rings]]:
        """Outlines of each object in the image, as ``trace_polygons`` gives them."""
        by_id = label_map_to_polygons(self.label_map, self.corner)
        return [by_id[label] for label in self.objects.ids.tolist()]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per object, as :func:`~mmcell.inference.measurements.measure` makes it."""
        source = self.context.source
        return measure(
            self.objects,
            self.pixels,
            self.corner,
            image=source.name,
            size=source.size,
            channels=source.channels,
            classes=self.context.classes,
            mpp=source.mpp,
        )

    @cached_property
    def text_table(self) -> pd.DataFrame:
        """The table with 7 significant digits, which is what formats of text hold."""
        return round_floats(self.table)


class FileWriter(ABC):
    """A writer of one file (or folder), under the name ``<path>.part`` until it is complete.

    Subclasses implement :meth:`add` and :meth:`finish`, and extend :meth:`discard` where they hold
    anything else.

    Args:
        path: of the complete file; its folder is made. A file of this name is replaced at the end.
        context: of the image.
    """

    def __init__(self, path: Path, context: ImageContext) -> None:
        self.path = path
        self.part = part_of(path)
        self.context = context
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(self.part)  # of a run that was killed

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Add the objects of a batch."""

    @abstractmethod
    def finish(self) -> None:
        """Complete ``part``, and close it."""

    def publish(self) -> None:
        """Give the complete file its name."""
        if self.path.is_dir():
            shutil.rmtree(self.path)  # what os.replace does for files
        os.replace(self.part, self.path)

    def discard(self) -> None:
        """Remove what was written under the name ``part``."""
        remove(self.part)


def part_of(path: Path) -> Path:
    """The name of a file until it is complete."""
    return path.with_name(f'{path.name}.part')


def remove(path: Path) -> None:
    """Delete a file or folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
