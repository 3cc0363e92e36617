"""Label maps as TIFF."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from mmcell.inference.writers.base import Batch, FileWriter, ImageContext
from mmcell.inference.writers.label_image import TILE, LabelImage

# Larger images are tiled and get a pyramid. Below it, strips, which ImageJ reads without plugins.
_MAX_STRIP_PIXELS = 4096 * 4096
_CLASSIC_TIFF_BYTES = 2**32 - 2**25
_UM_PER_CM = 10_000
_LARGEST_LONG = 2**32 - 1


class LabelsWriter(FileWriter):
    """A label map: 0 background, else the object's id; uint16, int32 if an id exceeds 65,535.

    Compressed (Deflate, without predictor: what every reader knows). Images of more than 4096 x
    4096 pixels are tiled OME-TIFF with a pyramid, BigTIFF where 4 GiB might not do. The pixel size
    is in the resolution tags. Written without objects, too.
    """

    def __init__(self, path: Path, context: ImageContext) -> None:
        super().__init__(path, context)
        self._image = LabelImage(context.source.size, path.parent)

    def add(self, batch: Batch) -> None:
        """Paint the objects."""
        self._image.add(batch.objects)

    def finish(self) -> None:
        """Encode the file: only now the largest id is known."""
        if np.prod(self._image.level_sizes[0], dtype=np.int64) <= _MAX_STRIP_PIXELS:
            options = _options(self.context.source.mpp)
            tifffile.imwrite(self.part, self._image.to_array(), metadata=None, **options)
        else:
            self._write_pyramid()
        self._image.close()

    def discard(self) -> None:
        """Remove the file, and the pixels."""
        self._image.close()
        super().discard()

    def _write_pyramid(self) -> None:
        mpp, (whole, *below) = self.context.source.mpp, self._image.level_sizes
        bound = 1.4 * np.prod(whole, dtype=np.float64) * self._image.dtype.itemsize
        is_big = bound > _CLASSIC_TIFF_BYTES
        with tifffile.TiffWriter(self.part, bigtiff=is_big, ome=True) as tiff:
            for k, (size, tiles) in enumerate(self._image.packed_levels()):
                tiff.write(
                    tiles,
                    shape=size,
                    dtype=self._image.dtype,
                    tile=(TILE, TILE),
                    subifds=0 if k else len(below),
                    subfiletype=1 if k else 0,
                    metadata=None if k else _ome_metadata(mpp),
                    **_options(mpp, 2**k),
                )


def _options(mpp: float | None, downsampling: int = 1) -> dict[str, Any]:
    options = {'photometric': 'minisblack', 'compression': 'zlib', 'maxworkers': 1}
    if mpp is None:
        return options
    per_cm = _rational(_UM_PER_CM / (mpp * downsampling))
    return {**options, 'resolution': (per_cm, per_cm), 'resolutionunit': 'CENTIMETER'}


def _rational(value: float) -> tuple[int, int]:
    """The nearest fraction that a TIFF holds; some versions of tifffile round off more."""
    largest = int(_LARGEST_LONG / max(value, 1))
    return Fraction(value).limit_denominator(max(largest, 1)).as_integer_ratio()


def _ome_metadata(mpp: float | None) -> dict[str, Any]:
    if mpp is None:
        return {'axes': 'YX'}
    size = {f'PhysicalSize{axis}': mpp for axis in 'XY'}
    return {'axes': 'YX', **size, 'PhysicalSizeXUnit': 'µm', 'PhysicalSizeYUnit': 'µm'}
