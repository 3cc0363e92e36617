"""How crowded images are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def fullest_crop(
    boxes: npt.ArrayLike, image_size: tuple[int, int], crop_size: tuple[int, int]
) -> int:
    """The most objects that a crop of an image reaches, over crops half a crop apart.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        image_size: height, width in pixels.
        crop_size: height, width in pixels, >= 1; crops larger than the image are the image.

    Returns:
        Number of boxes that share some area with the fullest crop.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    reached = []
    for axis, (side, crop) in enumerate(zip(image_size, crop_size, strict=True)):
        last = max(side - crop, 0)
        starts = np.unique([*range(0, last, max(crop // 2, 1)), last])[:, None]
        low, high = boxes[:, 1 - axis], boxes[:, 3 - axis]
        reached.append((low < starts + crop) & (high > starts) & (high > low))
    rows, columns = (axis_reached.astype(np.float64) for axis_reached in reached)
    return int((rows @ columns.T).max(initial=0))
