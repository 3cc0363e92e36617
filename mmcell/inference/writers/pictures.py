"""Pictures to look at: the image with outlines, and the image alone, small."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmcell.inference.writers.base import Batch, FileWriter, ImageContext
from mmcell.visualization.overlay import overlay_objects, write_png

_OVERLAY_SIDE = 2560  # larger images are shrunk to it
_THUMBNAIL_SIDE = 512


class OverlayWriter(FileWriter):
    """The image with the outline of every object, the number of objects above.

    With one class neighbours differ in colour, with several the colour is that of the class. The
    longer side is at most 2,560 pixels; of larger images outlines are those of the objects as they
    look at that size.
    """

    def __init__(self, path: Path, context: ImageContext) -> None:
        super().__init__(path, context)
        scale = min(1, _OVERLAY_SIDE / max(context.source.size))
        self._sides = [max(1, round(side * scale)) for side in context.source.size]
        # The row and column of the image that each row and column of the picture shows.
        self._rows, self._columns = (
            ((np.arange(side) + 0.5) * whole / side).astype(np.int64)
            for side, whole in zip(self._sides, context.source.size, strict=True)
        )
        self._labels = np.zeros(self._sides, dtype=np.int32)
        self._classes = np.zeros(self._sides, dtype=np.int16)
        self._count = 0

    def add(self, batch: Batch) -> None:
        """Paint the objects."""
        self._count += len(batch.objects)
        (left, top), (height, width) = batch.corner, batch.label_map.shape
        rows = slice(*np.searchsorted(self._rows, (top, top + height)))
        columns = slice(*np.searchsorted(self._columns, (left, left + width)))
        labels = batch.label_map[self._rows[rows, None] - top, self._columns[columns] - left]
        shown = labels > 0
        by_id = batch.objects.ids.argsort()
        place = np.searchsorted(batch.objects.ids, labels[shown], sorter=by_id)
        self._labels[rows, columns][shown] = labels[shown]
        self._classes[rows, columns][shown] = batch.objects.classes[by_id[place]]

    def finish(self) -> None:
        """Draw."""
        context = self.context
        image = context.thumbnail(max(self._sides))
        colors, legend = None, []
        if len(context.classes) > 1:
            colors = np.zeros((self._labels.max() + 1, 3), dtype=np.uint8)
            shown = self._labels > 0
            colors[self._labels[shown]] = np.array(context.colors)[self._classes[shown]]
            legend = list(zip(context.colors, context.classes, strict=False))
        picture = overlay_objects(
            image,
            self._labels,
            context.source.name,
            colors=colors,
            count=self._count,
            legend=legend,
        )
        write_png(self.part, picture)


class ThumbnailWriter(FileWriter):
    """The image as the network sees it, longer side at most 512 pixels."""

    def add(self, batch: Batch) -> None:
        """Nothing: objects are not shown."""

    def finish(self) -> None:
        """Read and write the picture."""
        write_png(self.part, self.context.thumbnail(_THUMBNAIL_SIDE))
