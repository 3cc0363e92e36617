"""What a model found in one image, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mmcell.engine.errors import DataError
from mmcell.functional.polygons import trace_polygons
from mmcell.inference.stream import Found, ImageTask
from mmcell.inference.writers import format_of, open_files, open_writers
from mmcell.inference.writers.base import Batch, ImageContext
from mmcell.structures import FoundObjects, RoiMasks

if TYPE_CHECKING:
    import pandas as pd
    import shapely

FOLDER_FORMATS = ('labels', 'geojson', 'csv', 'overlay')


class Part(NamedTuple):
    """Objects, and the box x1, y1, x2, y2 of image pixels that covers them."""

    objects: FoundObjects
    window: tuple[int, int, int, int]

    @classmethod
    def of(cls, found: Found) -> Part:
        """Without the pixels."""
        (x, y), (height, width) = found.corner, found.pixels.shape[:2]
        return cls(found.objects, (x, y, x + width, y + height))


class Prediction:
    """The objects of one image. They share no pixel and are numbered 1 to N.

    Everything is made when it is asked for, from masks in their boxes; pixels are read from the
    image again.

    Args:
        task: the image, and how it was segmented.
        parts: its objects, with the pixels that measurements need.
        classes: names of the model's classes.
        palette: their RGB colours, if the model has some.
        remarks: what should be known before the results are trusted, such as limits of the model
            that cut off likely objects.
    """

    def __init__(
        self,
        task: ImageTask,
        parts: Sequence[Part],
        classes: Sequence[str],
        palette: Sequence[tuple[int, int, int]] | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        self._task, self._palette = task, palette
        self._parts = tuple(parts)
        self.objects = FoundObjects.cat([part.objects for part in parts])
        self.class_names = tuple(classes)
        self.remarks = tuple(remarks)

    def __len__(self) -> int:
        return len(self.objects)

    def __repr__(self) -> str:
        height, width = self.size
        return f'Prediction({self.name!r}, {len(self)} objects in {height} x {width} pixels)'

    @property
    def name(self) -> str:
        """Stem of the image's file; 'image' for arrays."""
        return self._task.source.name

    @property
    def size(self) -> tuple[int, int]:
        """Height, width in pixels."""
        return self._task.source.size

    @property
    def mpp(self) -> float | None:
        """Microns per pixel; None if unknown."""
        return self._task.source.mpp

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """(N,) class scores in [0, 1]; object k has the id k + 1 in label maps and tables."""
        return self.objects.scores

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """(N,) indices into ``class_names``."""
        return self.objects.classes

    @cached_property
    def labels(self) -> npt.NDArray[np.integer[Any]]:
        """(H, W) label map: 0 is background, k + 1 object k; uint16, int32 above 65,535 objects."""
        dtype = np.uint16 if len(self) <= np.iinfo(np.uint16).max else np.int32
        labels = np.zeros(self.size, dtype=dtype)
        self.objects.paint(labels)
        return labels

    @cached_property
    def masks(self) -> RoiMasks:
        """N masks in their boxes."""
        patches = [torch.from_numpy(patch) for patch in self.objects.patches]
        return RoiMasks(torch.from_numpy(self.objects.boxes), patches, self.size)

    @cached_property
    def polygons(self) -> list[shapely.Polygon | shapely.MultiPolygon]:
        """N outlines along pixel edges, in pixels of the image; their area is that of the mask."""
        import shapely

        outlines = []
        corners = self.objects.boxes[:, :2].tolist()
        for patch, (x, y) in zip(self.objects.patches, corners, strict=True):
            pieces = trace_polygons(patch, (x, y))
            polygons = [shapely.Polygon(outline, holes) for outline, holes in pieces]
            outlines.append(polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons))
        return outlines

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per object: see :func:`mmcell.inference.measurements.measure`."""
        import pandas as pd

        source = self._task.source
        context = ImageContext(source, self.class_names, [], self._task.display_range)
        with source:
            tables = [
                Batch(part.objects, source.read(*part.window), part.window[:2], context).table
                for part in self._parts
            ]
        return pd.concat(tables or [context.no_objects().table], ignore_index=True)

    def save(self, path: str | Path, formats: str | Sequence[str] | None = None) -> list[Path]:
        """Write files.

        Args:
            path: by the end of its name: ``.tif`` label map, ``.geojson`` or ``.geojson.gz``
                QuPath, ``.zip`` ImageJ ROIs, ``.csv`` or ``.parquet`` measurements, ``.json`` COCO,
                ``.png`` overlay, ``.ome.zarr`` labels. A name without a suffix is a folder, which
                gets one folder per kind, as ``mmcell predict`` writes them.
            formats: what a folder gets, one or more names as in ``mmcell predict --save``; label
                map, QuPath, CSV and overlay if None.

        Returns:
            The files.

        Raises:
            DataError: If the name ends in anything else, or needs a package that is not installed.
            OutputError: If a file cannot be written.
        """
        path = Path(path)
        if isinstance(formats, str):
            formats = [formats]
        context = dict(
            classes=self.class_names, palette=self._palette, display_range=self._task.display_range
        )
        source = self._task.source
        if not path.suffix:
            writers = open_writers(formats or FOLDER_FORMATS, path, source, **context)
        elif formats is not None:
            raise DataError(
                f'{path}: formats are chosen for a folder; a file has the one it ends in'
            )
        else:
            writers = open_files({format_of(path): path}, source, **context)
        with source, writers:
            for part in self._parts:
                writers.write(part.objects, source.read(*part.window), part.window[:2])
        return writers.paths
