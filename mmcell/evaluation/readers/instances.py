"""What every reader returns, and how objects that may overlap become a label map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from mmcell.functional.rle import Rle, rles_to_label_map

Size = tuple[int, int]  # height, width in pixels


class Instances(NamedTuple):
    """The objects of one image.

    Attributes:
        label_map: (H, W) integers, 0 = background; ids may have gaps.
        cut: objects that gave pixels to one that overlaps them.
        lost: objects without a pixel of their own: hidden by others, outside the image, or too
            small to hold the centre of a pixel.
        left_out: entries of the file that are not scored, as their reader says.
    """

    label_map: npt.NDArray[np.integer]
    cut: int = 0
    lost: int = 0
    left_out: int = 0


def flatten(
    rles: Sequence[Rle], size: Size, scores: npt.ArrayLike | None = None, left_out: int = 0
) -> Instances:
    """Give each pixel to one object: that of higher score, or without scores the earlier one.

    Args:
        rles: masks of ``size``.
        size: height, width in pixels.
        scores: (N,), ties in order of index.
        left_out: passed on.
    """
    label_map = rles_to_label_map(rles, size, scores)
    areas = np.array([coco_mask.area(rle) for rle in rles], dtype=np.int64)
    visible = np.bincount(label_map.ravel(), minlength=len(rles) + 1)[1:]
    cut = (visible < areas) & (visible > 0)
    return Instances(label_map, int(cut.sum()), int((visible == 0).sum()), left_out)


def require_size(size: Size | None) -> Size:
    """``size``, or an error: the format does not store it."""
    if size is None:
        raise ValueError(
            'neither side says how large the image is; give label maps or COCO on one of them'
        )
    return size
