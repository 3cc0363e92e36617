"""QuPath's GeoJSON."""

from __future__ import annotations

import gzip
import io
import json
import math
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmcell.functional.polygons import Rings
from mmcell.inference.writers.base import Batch, FileWriter, ImageContext

if TYPE_CHECKING:
    import pandas as pd

# Of uuid5, so that the same object of the same image has the same id in every run.
_NAMESPACE = uuid.UUID('6c1bd2a5-3c0e-4d3a-9a3b-2f6f0f1c7e55')
_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(',', ':')
).encode


class GeoJsonWriter(FileWriter):
    """A FeatureCollection of detections, one feature a line; gzipped where the name ends so.

    Outlines run along pixel edges, in pixels of the image as stored (QuPath's level 0), y down.
    Corners are whole numbers, so that no rounding can make a ring cross itself. Pieces that touch
    at most in corners make a MultiPolygon. Measurements are those of the table, to 7 digits.
    """

    def __init__(self, path: Path, context: ImageContext) -> None:
        super().__init__(path, context)
        self._raw: IO[bytes] = self.part.open('wb')
        # Without time and file name: the same objects give the same bytes.
        packed = gzip.GzipFile('', 'wb', 6, self._raw, mtime=0) if path.suffix == '.gz' else None
        self._file = io.TextIOWrapper(packed or self._raw, encoding='utf-8')
        self._separator = '\n'
        self._file.write('{"type":"FeatureCollection","features":[')

    def add(self, batch: Batch) -> None:
        """Write the features."""
        objects = batch.objects
        for label, number, polygons, measurements in zip(
            objects.ids.tolist(),
            objects.classes.tolist(),
            batch.polygons,
            _measurements(batch.text_table),
            strict=True,
        ):
            name = f'{self.context.source.name}/{label}'
            feature = {
                'type': 'Feature',
                'id': str(uuid.uuid5(_NAMESPACE, name)),
                'geometry': _geometry(polygons),
                'properties': {
                    'objectType': 'detection',
                    'classification': {
                        'name': self.context.classes[number],
                        'color': list(self.context.colors[number]),
                    },
                    'measurements': measurements,
                },
            }
            self._file.write(self._separator + _encode(feature))
            self._separator = ',\n'

    def finish(self) -> None:
        """Close the list and the file."""
        self._file.write('\n]}\n')
        self._file.close()
        self._raw.close()

    def discard(self) -> None:
        """Close and remove the file."""
        for file in (self._file, self._raw):
            with suppress(OSError):  # a full disk takes the rest no more now than before
                file.close()
        super().discard()


def _geometry(polygons: list[Rings]) -> dict[str, Any]:
    pieces = [[_closed(ring) for ring in (outline, *holes)] for outline, holes in polygons]
    if len(pieces) == 1:
        return {'type': 'Polygon', 'coordinates': pieces[0]}
    return {'type': 'MultiPolygon', 'coordinates': pieces}


def _closed(ring: npt.NDArray) -> list[list[int]]:
    points = ring.astype(int).tolist()
    return [*points, points[0]]


def _measurements(table: pd.DataFrame) -> list[dict[str, float]]:
    """Finite numbers of each row: QuPath takes no NaN, JSON neither."""
    numbers = table.drop(columns=['image', 'class']).astype({'touches_border': int})
    rows = numbers.to_dict('records')
    if np.isfinite(numbers.to_numpy(np.float64)).all():
        return rows
    return [{name: value for name, value in row.items() if math.isfinite(value)} for row in rows]
