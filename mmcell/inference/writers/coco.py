"""COCO annotations with run lengths."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from mmcell.datasets.coco_segmentation import FINAL_OBJECTS
from mmcell.engine.errors import DataError
from mmcell.inference.sources import output_name
from mmcell.inference.writers.base import Batch, FileWriter, ImageContext
from mmcell.structures import RoiMasks

_MAX_PIXELS = 2**32 - 1  # pycocotools holds run lengths in 32 bits


class CocoWriter(FileWriter):
    """One image, its annotations and the model's categories; one annotation a line.

    The id of an annotation is the object's; category k is the model's class k - 1; ``score`` is
    mmcell's addition, as in COCO results.
    """

    def __init__(self, path: Path, context: ImageContext) -> None:
        height, width = context.source.size
        if height * width > _MAX_PIXELS:
            raise DataError(
                f'{context.source.name} has {height * width} pixels, but COCO run lengths reach to '
                f'{_MAX_PIXELS} only: save geojson instead of coco'
            )
        super().__init__(path, context)
        file = Path(context.source.path)
        # Pages of a file, and parts of a Zarr, have names of their own.
        only = context.source.name == output_name(file) and file.suffix
        name = file.name if only else context.source.name + file.suffix
        head = {
            'info': {'description': FINAL_OBJECTS},
            'images': [{'id': 1, 'file_name': name, 'height': height, 'width': width}],
            'categories': [{'id': k, 'name': name} for k, name in enumerate(context.classes, 1)],
        }
        self._separator = '\n'
        self._file = self.part.open('w', encoding='utf-8')
        self._file.write(json.dumps(head)[:-1] + ', "annotations": [')

    def add(self, batch: Batch) -> None:
        """Write the annotations."""
        objects, table = batch.objects, batch.text_table
        masks = RoiMasks(
            torch.from_numpy(objects.boxes),
            [torch.from_numpy(np.ascontiguousarray(patch)) for patch in objects.patches],
            self.context.source.size,
        )
        corners = table[['x1_px', 'y1_px', 'x2_px', 'y2_px']].to_numpy(copy=True)
        corners[:, 2:] -= corners[:, :2]
        columns = (objects.ids, objects.classes, table['score'], table['area_px'], corners)
        for label, number, score, area, box, rle in zip(
            *(column.tolist() for column in columns), masks.to_rle(), strict=True
        ):
            annotation = {
                'id': label,
                'image_id': 1,
                'category_id': number + 1,
                'bbox': box,
                'area': area,
                'iscrowd': 0,
                'score': score,
                'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode('ascii')},
            }
            self._file.write(self._separator + json.dumps(annotation))
            self._separator = ',\n'

    def finish(self) -> None:
        """Close the list and the file."""
        self._file.write('\n]}\n')
        self._file.close()

    def discard(self) -> None:
        """Close and remove the file."""
        with suppress(OSError):
            self._file.close()
        super().discard()
