"""Slides of scanners' own formats, through OpenSlide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmcell.datasets.image_io import decoding
from mmcell.engine.errors import UserError
from mmcell.inference.image_source import ImageSource
from mmcell.inference.layout import COLOURS, Channels, choose_channels
from mmcell.inference.stored_images import microns, square_mpp

# Aperio, Hamamatsu, MIRAX, Leica, Ventana, Sakura, Trestle.
SLIDE_SUFFIXES = ('.svs', '.ndpi', '.vms', '.vmu', '.mrxs', '.scn', '.bif', '.svslide')


class SlideSource(ImageSource):
    """A slide, 8-bit RGB.

    Where a file says which part of the stage was scanned, as MIRAX files do, the image is that
    part, as in QuPath; pixels that were not scanned are white, or what the file says.

    Args:
        path: any file that OpenSlide opens.
        name: stem of output files.
        channels: as :func:`~mmcell.inference.layout.choose_channels` has them.
        mpp: microns per pixel, instead of what the file says.

    Raises:
        OSError: If the file cannot be decoded.
        UserError: If OpenSlide is not installed; says how to.
        ValueError: If pixels are not square, or there is no such channel.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        channels: Channels = None,
        mpp: float | None = None,
    ) -> None:
        self._slide: Any = None
        self.path = path
        slide = self._opened()
        properties = slide.properties
        self._origin = tuple(int(properties.get(f'openslide.bounds-{a}', 0)) for a in 'xy')
        full_width, full_height = slide.dimensions
        width = int(properties.get('openslide.bounds-width', full_width - self._origin[0]))
        height = int(properties.get('openslide.bounds-height', full_height - self._origin[1]))
        self._downsamples = tuple(slide.level_downsamples)
        background = properties.get('openslide.background-color', 'ffffff')
        self._background = np.frombuffer(bytes.fromhex(background), np.uint8)
        if mpp is None:
            sides = (microns(properties.get(f'openslide.mpp-{a}'), 'µm') for a in 'xy')
            mpp = square_mpp(str(path), (next(sides), next(sides)))
        super().__init__(
            path,
            name,
            (height, width),
            COLOURS,
            choose_channels(str(path), COLOURS, channels),
            is_colour=True,
            dtype=np.uint8,
            mpp=mpp,
            axes='YXS',
        )

    def _close(self) -> None:
        if self._slide is not None:
            self._slide.close()
            self._slide = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), '_slide': None}

    def _opened(self) -> Any:
        if self._slide is None:
            try:
                import openslide
            except ModuleNotFoundError as error:
                raise UserError(
                    f"{self.path}: slides need OpenSlide: pip install 'mmcell[slide]' or pip "
                    'install openslide-python openslide-bin'
                ) from error
            with decoding(self.path, 'slide'):
                self._slide = openslide.OpenSlide(self.path)
        return self._slide

    def _level_sizes(self) -> list[tuple[int, int]]:
        height, width = self.size
        return [
            (max(1, int(height / factor)), max(1, int(width / factor)))
            for factor in self._downsamples
        ]

    def _read_level(self, level: int, x1: int, y1: int, x2: int, y2: int) -> npt.NDArray[Any]:
        factor = self._downsamples[level]
        corner = (self._origin[0] + round(x1 * factor), self._origin[1] + round(y1 * factor))
        with decoding(self.path, f'slide at {(x1, y1, x2, y2)} (x1, y1, x2, y2)'):
            region = self._opened().read_region(corner, level, (x2 - x1, y2 - y1))
        rgba = np.asarray(region)
        pixels = rgba[:, :, :3].copy()
        pixels[rgba[:, :, 3] == 0] = self._background
        return pixels
