"""Segmentation without learning: the figure that a trained model has to beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed


def otsu_watershed(
    image: npt.NDArray[np.uint8], min_area_px: int = 30, min_distance_px: int = 5
) -> npt.NDArray[np.int32]:
    """Otsu's threshold, then a watershed of the distance to the background.

    Args:
        image: (H, W, 3) uint8, RGB. Gray images are read as fluorescence, bright on dark; coloured
            ones as histology, by their haematoxylin channel.
        min_area_px: smaller pieces are dropped.
        min_distance_px: seeds are at least this far apart.

    Returns:
        (H, W) int32 label map, 0 = background.
    """
    is_gray = (image.max(axis=2) == image.min(axis=2)).all()
    stain = image[:, :, 0].astype(float) if is_gray else rgb2hed(image)[:, :, 0]
    stain = gaussian(stain, 1)
    foreground = ndimage.binary_fill_holes(stain > threshold_otsu(stain))
    pieces, _ = ndimage.label(foreground)
    foreground &= (np.bincount(pieces.ravel()) >= min_area_px)[pieces]
    distance = gaussian(ndimage.distance_transform_edt(foreground), 1)
    peaks = peak_local_max(distance, min_distance=min_distance_px, labels=foreground.astype(int))
    seeds = np.zeros(distance.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, seeds, mask=foreground).astype(np.int32)
