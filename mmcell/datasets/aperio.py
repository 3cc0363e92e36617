"""Reading outlines that were drawn in Aperio ImageScope, as Kumar and MoNuSeg distribute them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from mmcell.functional.rasterize import polygons_to_rle
from mmcell.functional.rle import Rle

# Outlines are drawn by hand and may overshoot the border by about half a nucleus at 40x; further
# out they belong to another image or magnification.
_OVERSHOOT_PX = 20


@dataclass
class _Region:
    """One outline.

    Attributes:
        name: what errors call it.
        layer, number: number of its annotation, and its own in there.
        parent: ``number`` of the region that it is cut out of; '0' where the file does not say.
        is_hole: whether it is cut out of another region.
        rings: (K, 2) x, y in pixels; its own, then those cut out of it.
    """

    name: str
    layer: int
    number: str
    parent: str
    is_hole: bool
    rings: list[npt.NDArray[np.float64]] = field(default_factory=list)


def read_aperio(path: Path, size: tuple[int, int]) -> tuple[list[Rle], list[str]]:
    """Read the objects of an image; they may touch and overlap.

    The outline is filled by the even-odd rule at pixel centres, pixel ``[row, column]`` being the
    unit square from ``(column, row)``; what overshoots the border is cut off. A region marked
    ``NegativeROA`` is a hole in the region that ``InputRegionId`` names, else in the smallest one
    around it.

    Args:
        path: XML with ``Annotation/Regions/Region/Vertices/Vertex`` and their X, Y in pixels.
        size: height, width of the image in pixels.

    Returns:
        One RLE per object in the file's order, and remarks on what was cut off or left out.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no such XML; if a region does not enclose anything, has a vertex that
            is no number or is far outside the image; if a hole is in no region. Names the region.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f'{path}: is no valid XML: {error}') from error
    if root.tag != 'Annotations':
        raise ValueError(f'{path}: begins with <{root.tag}>, expected the <Annotations> of Aperio')
    regions = list(_regions(root, path, size))
    objects = [region for region in regions if not region.is_hole]
    for hole in regions:
        if hole.is_hole:
            _surrounding(hole, objects, path, size).rings.extend(hole.rings)

    rles = [polygons_to_rle([region.rings], size) for region in objects]
    kept = [rle for rle in rles if coco_mask.area(rle)]
    outside = sum(not _inside(region.rings[0], size) for region in regions)
    notes = []
    if not regions:
        notes.append('has no region, so it shows no object')
    if len(kept) < len(rles):
        notes.append(f'{len(rles) - len(kept)} regions without a single pixel centre are left out')
    if outside:
        notes.append(f'{outside} regions overshoot the border of the image and are cut off there')
    return kept, [f'{path.name}: {note}' for note in notes]


def _regions(root: ElementTree.Element, path: Path, size: tuple[int, int]) -> Iterator[_Region]:
    for layer, annotation in enumerate(root.iter('Annotation'), start=1):
        for order, element in enumerate(annotation.iter('Region'), start=1):
            number = element.get('Id', str(order))
            name = f'{path}: annotation {layer}, region {number}'
            yield _Region(
                name,
                layer,
                number,
                parent=element.get('InputRegionId', '0'),
                is_hole=element.get('NegativeROA', '0') == '1',
                rings=[_outline(element, name, size)],
            )


def _outline(element: ElementTree.Element, name: str, size: tuple[int, int]) -> np.ndarray:
    """The vertices of a region, checked: (K, 2) x, y."""
    vertices = []
    for index, vertex in enumerate(element.iter('Vertex'), start=1):
        point = tuple(_coordinate(vertex, axis, f'{name}, vertex {index}') for axis in 'XY')
        low, high = np.min(point), np.max(np.subtract(point, size[::-1]))
        if low < -_OVERSHOOT_PX or high > _OVERSHOOT_PX:
            raise ValueError(
                f'{name}, vertex {index}: {point} (x, y) is outside the image of width {size[1]} '
                f'and height {size[0]}'
            )
        vertices.append(point)
    if len(set(vertices)) < 3:
        raise ValueError(
            f'{name}: is open, it has {len(set(vertices))} different vertices; an outline that '
            'encloses anything has 3 or more'
        )
    return np.array(vertices, dtype=np.float64)


def _coordinate(vertex: ElementTree.Element, axis: str, name: str) -> float:
    text = vertex.get(axis)
    try:
        value = float(text) if text is not None else np.nan
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f'{name}: {axis} is {text!r}, expected a number of pixels')
    return value


def _inside(ring: np.ndarray, size: tuple[int, int]) -> bool:
    return bool((ring >= 0).all() and (ring <= size[::-1]).all())


def _surrounding(
    hole: _Region, objects: list[_Region], path: Path, size: tuple[int, int]
) -> _Region:
    """The smallest object that contains all of a hole."""
    cut = polygons_to_rle([hole.rings], size)
    around = []
    for region in objects:
        if region.layer == hole.layer and hole.parent in ('0', region.number):
            mask = polygons_to_rle([region.rings[:1]], size)
            common = coco_mask.merge([mask, cut], intersect=True)
            if coco_mask.area(common) == coco_mask.area(cut):
                around.append((int(coco_mask.area(mask)), region))
    if not around:
        raise ValueError(f'{hole.name}: is a hole (NegativeROA), but lies inside no region')
    return min(around, key=lambda pair: pair[0])[1]
