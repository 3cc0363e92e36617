"""Label maps as OME-Zarr."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmcell.inference.writers.base import Batch, FileWriter, ImageContext
from mmcell.inference.writers.label_image import TILE, LabelImage, Tile

if TYPE_CHECKING:
    import zarr

NAME = 'cells'
_VERSION = '0.4'


class OmeZarrWriter(FileWriter):
    """The group ``labels/cells`` of an OME-Zarr image (NGFF 0.4), a pyramid of ids, int32.

    Version 0.4 (Zarr 2) is the one that most readers know. ``labels`` can be copied into an
    OME-Zarr of the image itself: scale and axes are the image's, in micrometers where the pixel
    size is known.
    """

    def __init__(self, path: Path, context: ImageContext) -> None:
        super().__init__(path, context)
        self._image = LabelImage(context.source.size, path.parent)

    def add(self, batch: Batch) -> None:
        """Paint the objects."""
        self._image.add(batch.objects)

    def finish(self) -> None:
        """Write all levels, then what describes them."""
        import zarr

        root = zarr.open_group(self.part, mode='w', zarr_format=2)
        labels = root.create_group('labels', attributes={'labels': [NAME]})
        cells = labels.create_group(NAME)
        scales = []
        for k, (size, tiles) in enumerate(self._image.levels()):
            _write_level(size, tiles, cells, str(k))
            scales.append(2**k * (self.context.source.mpp or 1.0))
        self._image.close()
        unit = {'unit': 'micrometer'} if self.context.source.mpp else {}
        description = {
            'version': _VERSION,
            'name': NAME,
            'axes': [{'name': axis, 'type': 'space', **unit} for axis in 'yx'],
            'datasets': [
                {
                    'path': str(k),
                    'coordinateTransformations': [{'type': 'scale', 'scale': [scale, scale]}],
                }
                for k, scale in enumerate(scales)
            ],
        }
        cells.attrs.update({'multiscales': [description], 'image-label': {'version': _VERSION}})

    def discard(self) -> None:
        """Remove the files, and the pixels."""
        self._image.close()
        super().discard()


def _write_level(
    size: tuple[int, int], tiles: Iterable[tuple[int, int, Tile]], group: zarr.Group, name: str
) -> None:
    array = group.create_array(
        name,
        shape=size,
        chunks=(TILE, TILE),
        dtype=np.int32,
        fill_value=0,
        chunk_key_encoding={'name': 'v2', 'separator': '/'},
    )
    height, width = size
    for x, y, tile in tiles:  # what is not written is 0
        array[y : y + TILE, x : x + TILE] = tile[: height - y, : width - x]
