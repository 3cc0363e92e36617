"""ROI sets for ImageJ's ROI manager."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmcell.functional.polygons import Rings
from mmcell.inference.writers.base import Batch, Color, FileWriter, ImageContext

_MOVE, _LINE, _CLOSE = 0, 1, 4  # of java.awt.geom.PathIterator
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same objects give the same bytes


class RoisWriter(FileWriter):
    """A zip of ROIs, each named after its object's id, in the colour of its class.

    An object of one piece without holes is a traced ROI, the kind that ImageJ's wand makes: its
    corners are corners of pixels, as here, so that ImageJ measures its area to the pixel. Others
    are composite ROIs. The zip's table of contents stays in memory until the end, some 350
    bytes per object: the one thing here that grows.
    """

    def __init__(self, path: Path, context: ImageContext) -> None:
        super().__init__(path, context)
        self._zip = zipfile.ZipFile(self.part, 'w', zipfile.ZIP_DEFLATED)

    def add(self, batch: Batch) -> None:
        """Write the ROIs."""
        objects = batch.objects
        for label, number, polygons in zip(
            objects.ids.tolist(), objects.classes.tolist(), batch.polygons, strict=True
        ):
            entry = zipfile.ZipInfo(f'{label}.roi', _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            self._zip.writestr(entry, roi_bytes(str(label), polygons, self.context.colors[number]))

    def finish(self) -> None:
        """Write the table of contents and close the file."""
        self._zip.close()

    def discard(self) -> None:
        """Close and remove the file."""
        with suppress(OSError, ValueError):  # ValueError: an entry was cut short
            self._zip.close()
        super().discard()


def roi_bytes(name: str, polygons: list[Rings], color: Color) -> bytes:
    """One object as the content of a ``.roi`` file.

    Args:
        name: shown in the ROI manager.
        polygons: its pieces, of whole numbers up to 2^24.
        color: RGB of its outline.
    """
    from roifile import ROI_TYPE, ImagejRoi

    rings = [ring for outline, holes in polygons for ring in (outline, *holes)]
    if len(rings) == 1:
        roi = ImagejRoi.frompoints(rings[0].astype(np.int64), name=name)
        roi.roitype = ROI_TYPE.TRACED
        # frompoints takes points for pixels; here they are corners.
        roi.right, roi.bottom = roi.right - 1, roi.bottom - 1
    else:
        corners = np.concatenate(rings).astype(np.int64)
        (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        path = np.concatenate([_path(ring) for ring in rings]).astype(np.float32)
        roi = ImagejRoi(
            name=name,
            roitype=ROI_TYPE.RECT,
            left=left,
            top=top,
            right=right,
            bottom=bottom,
            shape_roi_size=len(path),
            multi_coordinates=path,
        )
    roi.stroke_color = bytes((255, *color))
    return roi.tobytes()


def _path(ring: npt.NDArray) -> npt.NDArray[np.float64]:
    steps = np.column_stack([np.full(len(ring), _LINE), ring])
    steps[0, 0] = _MOVE
    return np.append(steps.ravel(), _CLOSE)
