"""Where on a slide there is tissue, so that empty glass costs no time."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mmcell.inference.image_source import ImageSource
from mmcell.inference.intensity import DisplayRange

# Glass: bright in every channel and without colour, in 8 bits.
_MIN_WHITE = 200
_MAX_WHITE_CHROMA = 25
# Below this share of it, an image shows no glass to leave out.
_MIN_WHITE_SHARE = 0.02

# Chroma relative to the glass. Where most tissue is strongly stained, Otsu's threshold falls
# between that and pale tissue: kept in these bounds, pale tissue stays and the noise of JPEG goes.
_CHROMA_THRESHOLDS = (8, 14)
# Tissue without colour, such as pigment and folds: darker than this share of the glass.
_DARK = 0.75

# Pixels of the thumbnail by which tissue is closed and widened.
_MARGIN = 2


def tissue_mask(source: ImageSource, max_side: int = 1024) -> npt.NDArray[np.bool_]:
    """Find the tissue of a slide on white ground.

    Tissue is what has another colour than the glass (largest minus smallest channel, above Otsu's
    threshold) or is dark, with a margin. Everything is tissue where this cannot be told: gray and
    fluorescence images, those without white ground, those without any colour.

    Args:
        source: the slide.
        max_side: of the thumbnail that is looked at, in pixels.

    Returns:
        (h, w), the slide at low resolution, to be stretched over it; True where there is tissue.
    """
    thumbnail = source.thumbnail(max_side)
    everything = np.ones(thumbnail.shape[:2], dtype=np.bool_)
    if not source.is_colour or len(source.shown) != 3:
        return everything
    rgb = cv2.medianBlur(DisplayRange.of(source).to_rgb8(thumbnail), 3)
    brightest, darkest = rgb.max(axis=2), rgb.min(axis=2)
    is_white = (darkest >= _MIN_WHITE) & (brightest - darkest <= _MAX_WHITE_CHROMA)
    is_black = brightest < 255 - _MIN_WHITE
    if is_white.mean() < max(_MIN_WHITE_SHARE, is_black.mean()):
        return everything
    balanced = rgb * (255 / np.median(rgb[is_white], axis=0))
    chroma = np.minimum(np.rint(np.ptp(balanced, axis=2)), 255).astype(np.uint8)
    otsu, _ = cv2.threshold(chroma, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    is_stained = chroma > np.clip(otsu, *_CHROMA_THRESHOLDS)
    if not is_stained.any():
        return everything
    is_dark = balanced.max(axis=2) < _DARK * 255
    tissue = (is_stained | is_dark).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _MARGIN + 1,) * 2)
    tissue = cv2.morphologyEx(tissue, cv2.MORPH_CLOSE, disc)
    return cv2.dilate(tissue, disc).astype(np.bool_)
