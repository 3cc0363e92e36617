"""What can be chosen about a prediction, and what is made of it for one image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcell.functional.intensity import check_percentiles
from mmcell.functional.tiling import TilePlan, default_halo, resnet_receptive_field
from mmcell.inference.augmentation import VIEWS
from mmcell.inference.detect import DetectOptions, DetectorFactory, magnification
from mmcell.inference.image_source import ImageSource
from mmcell.inference.intensity import DISPLAY_PERCENTILES, DisplayRange
from mmcell.inference.layout import Channels
from mmcell.inference.network import Network
from mmcell.inference.stream import ImageTask
from mmcell.inference.tissue import tissue_mask

# Images of more pixels are looked at for glass before they are segmented.
_LARGE_PIXELS = 1 << 26
# Networks of other kinds than ResNet: as far as the halo is affordable.
_UNKNOWN_FIELD = 1 << 20


@dataclass(frozen=True)
class PredictOptions:
    """How images are segmented; everything in it may change what is found.

    Attributes:
        score_threshold: objects of lower class score are left out; 0 to 1. None: the one that the
            model's config is tested with, see :attr:`Network.score_threshold`.
        mask_threshold: a pixel belongs to an object if its probability is >= this.
        min_visible: objects that keep less than this fraction of their pixels from surer ones are
            left out; 0 to 1. The default is that of PFFNet's authors, and of tests of R-CNNs.
        percentiles: of the whole image's intensities, which become 0 and 255. 8-bit images stay as
            they are.
        tile: largest side of a tile in pixels of the network, without what it overlaps.
        overlap: how far tiles reach into each other, in pixels of the network: half the diameter of
            the largest objects and more.
        mpp: microns per pixel of the images, instead of what the files say.
        model_mpp: of the images the model was trained on, instead of what config and checkpoint
            say. Images of another pixel size are resampled for the network, by more than 5 %.
        magnify: how many times larger the network is shown every image, beyond that and what its
            test pipeline does: for objects that are small among those it was trained on; > 0.
        channels: one to three channels for the network: names, or numbers from 1.
        axes: a letter per axis of what is stored, instead of what files say.
        views: test-time augmentation: of every tile, mirrored (4) and turned (8) views vote on the
            objects, see :func:`~mmcell.inference.augmentation.fuse_views`; 1 is none.
        half: the network computes in half precision; on devices that have it.
        tissue: leave out tiles without tissue, on colour images of more than 67 million pixels.

    Raises:
        ValueError: If a number is out of range.
    """

    score_threshold: float | None = None
    mask_threshold: float = 0.5
    min_visible: float = 0.3
    percentiles: tuple[float, float] = DISPLAY_PERCENTILES
    tile: int = 1024
    overlap: int = 64
    mpp: float | None = None
    model_mpp: float | None = None
    magnify: float = 1.0
    channels: Channels = None
    axes: str | None = None
    views: int = 1
    half: bool = False
    tissue: bool = True

    def __post_init__(self) -> None:
        for name in ('score_threshold', 'mask_threshold', 'min_visible'):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f'{name} must be in [0, 1], got {value}')
        for name, least in (('tile', 64), ('overlap', 1)):
            if getattr(self, name) < least:
                raise ValueError(f'{name} must be >= {least} pixels, got {getattr(self, name)}')
        if self.views not in VIEWS:
            raise ValueError(f'views must be one of {tuple(VIEWS)}, got {self.views}')
        check_percentiles(self.percentiles)
        for name in ('mpp', 'model_mpp'):
            value = getattr(self, name)
            if value is not None and not 0 < value < float('inf'):
                raise ValueError(f'{name} must be microns per pixel > 0, got {value}')
        if not 0 < self.magnify < float('inf'):
            raise ValueError(f'magnify must be a factor > 0, got {self.magnify}')

    def of(self, network: Network) -> PredictOptions:
        """These options, with what was left to the model."""
        if self.score_threshold is not None:
            return self
        return replace(self, score_threshold=network.score_threshold)

    def factor(self, source: ImageSource, network: Network | None) -> float:
        """How many times larger an image is shown to the network's test pipeline."""
        model_mpp = self.model_mpp or (network.mpp if network else None)
        return self.magnify * magnification(source.mpp, model_mpp)

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments of ``open_sources`` and ``ArraySource``."""
        return dict(axes=self.axes, channels=self.channels, mpp=self.mpp)


def make_task(source: ImageSource, network: Network, options: PredictOptions) -> ImageTask:
    """Look at an image, as a whole, and plan how it is segmented.

    Raises:
        OSError: If it cannot be read.
        ValueError: If the percentiles are not ascending numbers in [0, 100].
    """
    options = options.of(network)
    factor = options.factor(source, network)
    plan = tile_plan(source.size, factor, network, options)
    assert options.score_threshold is not None
    detect = DetectOptions(
        score_threshold=options.score_threshold,
        mask_threshold=options.mask_threshold,
        min_visible=options.min_visible,
        magnification=factor,
        full_window=_largest_window(plan) if len(plan) > 1 else None,
        half=options.half,
        views=options.views,
    )
    return ImageTask(
        source=source,
        detect_factory=DetectorFactory(network.spec, detect, network),
        plan=plan,
        display_range=DisplayRange.of(source, options.percentiles),
        tiles=chosen_tiles(source, plan, options),
    )


def tile_plan(
    size: tuple[int, int], factor: float, network: Network | None, options: PredictOptions
) -> TilePlan:
    """The tiles of an image.

    Args:
        size: height, width in pixels of the image.
        factor: by which it is resampled for the network, see :meth:`PredictOptions.factor`.
        network: its receptive field decides on the halo; its test pipeline may magnify once more.
        options: tile and overlap in pixels of the network.
    """
    backbone = (network and network.cfg.model.get('backbone')) or {}
    is_resnet = backbone.get('type') == 'ResNet'
    field = resnet_receptive_field(backbone['depth']) if is_resnet else _UNKNOWN_FIELD
    halo = default_halo(field, options.tile, options.overlap)
    scale = factor * (network.magnification if network else 1)
    tile, overlap, halo = (round(n / scale) for n in (options.tile, options.overlap, halo))
    plan = TilePlan(size, tile=max(tile, 1), overlap=max(overlap, 1), halo=halo)
    # Pixels keep their place in the network's grids only where they become whole pixels there.
    return plan if scale.is_integer() else replace(plan, align=1)


def chosen_tiles(
    source: ImageSource, plan: TilePlan, options: PredictOptions
) -> tuple[int, ...] | None:
    """Numbers of the tiles to do, ascending: those with tissue on large colour images, else None.

    Raises:
        OSError: If the image cannot be read.
    """
    if options.tissue and source.is_colour and np.prod(source.size) > _LARGE_PIXELS:
        return tuple(plan.tiles_with(tissue_mask(source)).tolist())
    return None


def remarks(
    source: ImageSource,
    network: Network | None,
    options: PredictOptions,
    limits: Iterable[str] = (),
) -> list[str]:
    """What a user should know about an image before its results are trusted.

    Args:
        source: the image.
        network: its pixel size.
        options: another one.
        limits: those of the model that were reached, see ``FoundObjects``.
    """
    notes = [
        f'{limit} was reached: objects may be missing, raise it in the config or lower --tile'
        for limit in sorted(limits)
    ]
    model_mpp = options.model_mpp or (network and network.mpp)
    if source.mpp is None and model_mpp is not None:
        notes.append(f"pixel size unknown, the model's {model_mpp:g} microns assumed: give --mpp")
    if network is not None and options.score_threshold is not None:
        place, least = network.least_score
        if options.score_threshold < least:
            notes.append(
                f'the model itself drops scores below {least:g}: for a lower --score-threshold, '
                f'lower {place} in the config'
            )
    return notes


def _largest_window(plan: TilePlan) -> tuple[int, int]:
    windows = [plan[k].window for k in range(len(plan))]
    return max(w.y2 - w.y1 for w in windows), max(w.x2 - w.x1 for w in windows)
