"""Generated cells with known masks: histology-like and fluorescence-like, for demos and tests.

Nuclei come in clusters that touch and overlap; what makes them hard is what makes real ones hard:
brightness that differs from nucleus to nucleus, texture, an uneven background, noise, and objects
that are no nuclei in focus (debris, red blood cells, nuclei out of focus).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mmcell.datasets.coco_writer import CellImage
from mmcell.functional.rle import rles_to_label_map
from mmcell.functional.scores import aji
from mmcell.functional.watershed import otsu_watershed

FloatImage = npt.NDArray[np.float64]

STYLES = ('he', 'fluorescence')

# Optical density of haematoxylin and eosin in red, green, blue (Ruifrok and Johnston, 2001).
_HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
_EOSIN = np.array([0.072, 0.990, 0.105])

_HARMONICS = 4  # of the outline, beyond the ellipse
_MIN_VISIBLE = 0.6  # fraction of a nucleus that later ones may not cover
_MIN_AREA_PX = 20


class _Shape(NamedTuple):
    """An outline around (row, col), all in pixels and radians."""

    row: float
    col: float
    radius: float
    aspect: float
    angle: float
    bumps: npt.NDArray[np.float64]
    phases: npt.NDArray[np.float64]


class _Patch(NamedTuple):
    """Where a shape lies: image rows and columns, and how far inside the outline a pixel is."""

    rows: slice
    cols: slice
    inside_px: FloatImage


def generate_cells(seed: int, index: int, size: int = 256, style: str = 'mixed') -> CellImage:
    """Generate one image.

    Args:
        seed: of the data set.
        index: number of the image; the same seed and index give the same image, whatever else is
            generated.
        size: height and width in pixels, >= 64.
        style: 'he' (haematoxylin and eosin), 'fluorescence', or 'mixed': one after the other.

    Raises:
        ValueError: If ``style`` is unknown or ``size`` too small.
    """
    if style not in (*STYLES, 'mixed'):
        raise ValueError(f'style must be one of {(*STYLES, "mixed")}, got {style!r}')
    if size < 64:
        raise ValueError(f'size must be >= 64 pixels, got {size}')
    rng = np.random.default_rng([seed, index])
    if style == 'mixed':
        style = STYLES[index % 2]
    shapes, labels = _place_nuclei(rng, size, spindles=0.3 if style == 'he' else 0.1)
    render = _render_he if style == 'he' else _render_fluorescence
    return CellImage.from_label_map(render(rng, size, shapes), labels)


def watershed_aji(images: Iterable[CellImage]) -> list[float]:
    """AJI per image of `otsu_watershed`, what these images grant to a method without learning."""
    return [
        aji(rles_to_label_map(image.masks, image.pixels.shape[:2]), otsu_watershed(image.pixels))
        for image in images
    ]


def _place_nuclei(
    rng: np.random.Generator, size: int, spindles: float
) -> tuple[list[_Shape], npt.NDArray[np.int32]]:
    """Nuclei in clusters, from back to front, and the label map of what is visible of them."""
    scale = rng.uniform(0.85, 1.25)
    wanted = int(rng.uniform(0.45, 0.9) * (size / (32 * scale)) ** 2)
    labels = np.zeros((size, size), dtype=np.int32)
    shapes: list[_Shape] = []
    areas, visible = np.zeros((2, wanted), dtype=np.int64)
    for row, col in _clustered_points(rng, size, spacing=21 * scale, tries=6 * wanted):
        if len(shapes) >= wanted:
            break
        spindle = rng.random() < spindles
        shape = _random_shape(
            rng, row, col, scale * rng.normal(10, 1.6), rng.uniform(2, 3.2) if spindle else None
        )
        patch = _patch(shape, size)
        inside = patch.inside_px > 0
        area = int(inside.sum())
        below = labels[patch.rows, patch.cols]
        covered = np.bincount(below[inside], minlength=wanted + 1)[1:]
        # Touching and slight overlap are wanted, hidden nuclei are not.
        if area < _MIN_AREA_PX or (visible - covered < _MIN_VISIBLE * areas).any():
            continue
        if covered.sum() > 0.2 * area:
            continue
        visible -= covered
        areas[len(shapes)] = visible[len(shapes)] = area
        shapes.append(shape)
        below[inside] = len(shapes)
    return shapes, labels


def _clustered_points(
    rng: np.random.Generator, size: int, spacing: float, tries: int
) -> Iterator[tuple[float, float]]:
    """Points that continue a cluster about one ``spacing`` further, or begin a new one."""
    row, col = rng.uniform(0, size, 2)
    for _ in range(tries):
        if rng.random() < 0.3:
            row, col = rng.uniform(0, size, 2)
        else:
            angle, step = rng.uniform(0, 2 * np.pi), spacing * rng.uniform(0.8, 1.25)
            row, col = row + step * np.sin(angle), col + step * np.cos(angle)
            if not (0 <= row < size and 0 <= col < size):
                row, col = rng.uniform(0, size, 2)
        yield row, col


def _random_shape(
    rng: np.random.Generator, row: float, col: float, radius: float, aspect: float | None = None
) -> _Shape:
    decay = 0.06 / np.arange(1, _HARMONICS + 1) ** 0.7
    return _Shape(
        row,
        col,
        max(radius, 3.0),
        aspect or rng.uniform(1, 1.5),
        rng.uniform(0, np.pi),
        rng.normal(0, decay),
        rng.uniform(0, 2 * np.pi, _HARMONICS),
    )


def _patch(shape: _Shape, size: int, margin: float = 6) -> _Patch:
    """The part of the image that a shape and ``margin`` pixels around it reach."""
    reach = shape.radius * np.sqrt(shape.aspect) * 1.4 + margin
    rows = slice(max(int(shape.row - reach), 0), min(int(shape.row + reach) + 1, size))
    cols = slice(max(int(shape.col - reach), 0), min(int(shape.col + reach) + 1, size))
    y = np.arange(rows.start, rows.stop)[:, None] - shape.row
    x = np.arange(cols.start, cols.stop)[None, :] - shape.col
    along = (x * np.cos(shape.angle) + y * np.sin(shape.angle)) / np.sqrt(shape.aspect)
    across = (y * np.cos(shape.angle) - x * np.sin(shape.angle)) * np.sqrt(shape.aspect)
    theta = np.arctan2(across, along)
    waves = np.arange(2, _HARMONICS + 2)[:, None, None] * theta + shape.phases[:, None, None]
    outline = 1 + np.tensordot(shape.bumps, np.cos(waves), axes=1)
    return _Patch(rows, cols, shape.radius * outline - np.hypot(along, across))


def _render_he(rng: np.random.Generator, size: int, shapes: list[_Shape]) -> npt.NDArray[np.uint8]:
    """Light absorbed by two stains on a fibrous background."""
    fibres = _fibres(rng, size)
    patches = _noise(rng, size, 22)
    eosin = np.clip(0.45 + 0.13 * fibres + 0.22 * patches, 0.03, None)
    # Basophilic cytoplasm: stained as a pale nucleus is, without an edge.
    haematoxylin = 0.12 + 0.16 * np.clip(_noise(rng, size, 14), 0, None)
    haematoxylin += 0.03 * _noise(rng, size, 1.5)
    for shape in _random_shapes(rng, size, int(rng.integers(0, 8)), radius=(5, 6.5)):
        _blend(eosin, _patch(shape, size), rng.uniform(0.9, 1.3), softness=0.8)  # red cells
    for shape in _random_shapes(rng, size, int(rng.integers(2, 7)), radius=(6, 12)):
        _blend(haematoxylin, _patch(shape, size, 18), rng.uniform(0.4, 0.8), softness=4.0)
    chromatin = _noise(rng, size, 1.6)
    dark = rng.uniform(0.75, 1.05)
    for shape in shapes:
        patch = _patch(shape, size)
        stain = dark * rng.uniform(0.5, 1.1)
        rim = 0.25 * np.exp(-np.abs(patch.inside_px - 1.5))
        grain = rng.uniform(0.1, 0.3) * chromatin[patch.rows, patch.cols]
        _blend(haematoxylin, patch, stain * (1 + rim + grain), softness=0.6, opacity=0.75)
        _blend(eosin, patch, 0.35, softness=0.6)
    for shape in _random_shapes(rng, size, int(rng.integers(3, 12)), radius=(1, 2.2)):
        _blend(haematoxylin, _patch(shape, size), rng.uniform(0.6, 1.2), softness=0.5)
    stains = (_HAEMATOXYLIN, haematoxylin), (_EOSIN, eosin * rng.uniform(0.5, 0.9))
    density = sum(
        np.maximum(amount, 0)[:, :, None] * colour * rng.uniform(0.9, 1.1, 3)
        for colour, amount in stains
    )
    light = np.exp(-density) * (1 + 0.06 * _noise(rng, size, 60)[:, :, None])
    light = ndimage.gaussian_filter(light, (rng.uniform(0.5, 1.0),) * 2 + (0,))
    return _to_uint8(245 * light + rng.normal(0, rng.uniform(2, 5), light.shape))


def _render_fluorescence(
    rng: np.random.Generator, size: int, shapes: list[_Shape]
) -> npt.NDArray[np.uint8]:
    """Light given off by nuclei of very different brightness, in haze, counted in photons."""
    signal = np.zeros((size, size))
    chromatin = _noise(rng, size, 2.2)
    for shape in shapes:
        patch = _patch(shape, size)
        brightness = np.clip(rng.lognormal(-0.9, 0.5), 0.18, 1.2)
        grain = rng.uniform(0.08, 0.28) * chromatin[patch.rows, patch.cols]
        _blend(signal, patch, brightness * (1 + grain), softness=0.7, opacity=0.5)
    haze = ndimage.gaussian_filter(signal, 14) * rng.uniform(0.3, 0.9)
    for shape in _random_shapes(rng, size, int(rng.integers(2, 7)), radius=(7, 14)):
        _blend(haze, _patch(shape, size, 25), rng.uniform(0.15, 0.4), softness=5.0)
    for shape in _random_shapes(rng, size, int(rng.integers(1, 9)), radius=(1, 2.2)):
        _blend(signal, _patch(shape, size), rng.uniform(0.4, 1.3), softness=0.5)
    uneven = 0.05 + rng.uniform(0.02, 0.12) * np.clip(1 + _noise(rng, size, 70), 0, None)
    light = ndimage.gaussian_filter(signal + haze, rng.uniform(0.7, 1.4)) + uneven
    photons = rng.uniform(60, 250)
    light = rng.poisson(light * photons) / photons + rng.normal(0, 0.012, light.shape)
    gray = _to_uint8(255 * rng.uniform(0.6, 1.0) * light / max(np.percentile(light, 99.8), 0.3))
    return np.repeat(gray[:, :, None], 3, axis=2)


def _random_shapes(
    rng: np.random.Generator, size: int, number: int, radius: tuple[float, float]
) -> list[_Shape]:
    """Shapes anywhere in the image, for what is not to be found."""
    return [
        _random_shape(rng, *rng.uniform(0, size, 2), rng.uniform(*radius)) for _ in range(number)
    ]


def _blend(
    image: FloatImage,
    patch: _Patch,
    value: FloatImage | float,
    softness: float,
    opacity: float = 1.0,
) -> None:
    """Lay a shape over ``image``, in place.

    Args:
        image: (H, W).
        patch: the shape.
        value: what the shape adds, per pixel of the patch or everywhere.
        softness: width of the edge in pixels.
        opacity: 1 hides what lies below, 0 adds to it.
    """
    cover = 1 / (1 + np.exp(-np.clip(patch.inside_px / softness, -30, 30)))
    below = image[patch.rows, patch.cols]
    below += cover * (value - opacity * below)


def _noise(rng: np.random.Generator, size: int, sigma: float | tuple[float, float]) -> FloatImage:
    """(size, size) smooth noise of mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.normal(size=(size, size)), sigma, mode='wrap')
    return (noise - noise.mean()) / noise.std()


def _fibres(rng: np.random.Generator, size: int) -> FloatImage:
    """(size, size) wavy streaks of mean 0 and standard deviation 1 in a random direction."""
    y, x = np.indices((size, size))
    bend = 12 * _noise(rng, size, 30)
    angle = rng.uniform(0, np.pi)
    across = y * np.cos(angle) - x * np.sin(angle) + bend
    along = (x * np.cos(angle) + y * np.sin(angle)) / 5
    streaks = ndimage.map_coordinates(
        _noise(rng, size, 1.6), [across, along], order=1, mode='grid-wrap'
    )
    return (streaks - streaks.mean()) / streaks.std()


def _to_uint8(values: FloatImage) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
