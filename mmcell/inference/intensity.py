"""The intensities of an image or a whole slide that networks and overlays show as 0 to 255."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmcell.functional.intensity import (
    DISPLAY_PERCENTILES,
    MAX_SAMPLED_PIXELS,
    check_percentiles,
    display_limits,
    sample_windows,
    scale_to_uint8,
)
from mmcell.inference.image_source import ImageSource

# Read at once, all channels together.
_BAND_VALUES = 2**22


@dataclass(frozen=True)
class DisplayRange:
    """How pixels of one image become the 8-bit RGB that networks see. Can be pickled.

    Attributes:
        shown: indices of the one to three channels to show: gray, or red, green, blue.
        limits: (low, high) of each of them, which become 0 and 255; None for pixels that are
            8-bit already and stay what they are, or are boolean and become 0 or 255.
    """

    shown: tuple[int, ...]
    limits: tuple[tuple[float, float], ...] | None

    @classmethod
    def of(
        cls, source: ImageSource, percentiles: tuple[float, float] = DISPLAY_PERCENTILES
    ) -> DisplayRange:
        """Measure an image, as a whole.

        Red, green and blue of a picture share their limits, so that hues stay; channels that are
        not colours have limits of their own. Exact up to 2^24 pixels; of larger images, 32 x 32
        evenly spaced windows of as many pixels in all are measured.

        Args:
            source: the image.
            percentiles: of its intensities, which become 0 and 255.

        Raises:
            ValueError: If ``percentiles`` are not ascending numbers in [0, 100].
        """
        check_percentiles(percentiles)
        if source.dtype in (np.uint8, np.bool_):
            return cls(source.shown, None)
        sample = sample_pixels(source, source.shown)
        if source.is_colour:
            limits = [display_limits(sample, percentiles)] * len(source.shown)
        else:
            limits = [display_limits(channel, percentiles) for channel in sample.T]
        return cls(source.shown, tuple(limits))

    def to_rgb8(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Show pixels as a network takes them.

        Args:
            pixels: (h, w, C) as :meth:`~mmcell.inference.image_source.ImageSource.read` gives them.

        Returns:
            (h, w, 3), RGB. One channel is repeated; two are red and green, with blue 0. NaN is 0.
        """
        rgb = np.zeros((*pixels.shape[:2], 3), dtype=np.uint8)
        for k, channel in enumerate(self.shown):
            values = pixels[:, :, channel]
            if self.limits is not None:
                rgb[:, :, k] = scale_to_uint8(values, *self.limits[k])
            else:
                rgb[:, :, k] = values.view(np.uint8) * 255 if values.dtype == np.bool_ else values
        if len(self.shown) == 1:
            rgb[:, :, 1:] = rgb[:, :, :1]
        return rgb


def sample_pixels(
    source: ImageSource, channels: Sequence[int], max_pixels: int = MAX_SAMPLED_PIXELS
) -> npt.NDArray[Any]:
    """All pixels of an image, or those of windows that stand for it.

    Args:
        source: the image.
        channels: indices of those to return.
        max_pixels: as in :func:`~mmcell.functional.intensity.sample_windows`.

    Returns:
        (N, len(channels)) as stored.
    """
    parts = []
    for x1, y1, x2, y2 in sample_windows(*source.size, max_pixels):
        # In bands, as an image may have many more channels than are asked for.
        rows = max(1, _BAND_VALUES // ((x2 - x1) * len(source.channels)))
        for top in range(y1, y2, rows):
            band = source.read(x1, top, x2, min(top + rows, y2))[:, :, list(channels)]
            parts.append(band.reshape(-1, len(channels)))
    return np.concatenate(parts)
