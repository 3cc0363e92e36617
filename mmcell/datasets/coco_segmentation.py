"""COCO's three ways to write a mask, brought to one."""

from __future__ import annotations

from typing import Any

from pycocotools import mask as coco_mask

from mmcell.functional.rle import Rle, counts_to_rle

FINAL_OBJECTS = 'objects found by mmcell'
"""The description in files of ``mmcell predict``: their objects have passed a threshold."""


def segmentation_to_rle(segmentation: Any, size: tuple[int, int]) -> Rle:
    """Convert any COCO segmentation to a compressed RLE.

    Args:
        segmentation: compressed RLE, uncompressed RLE, or a list of polygons, each
            [x1, y1, x2, y2, ...] in pixels with at least three points; all parts are one object.
        size: height, width of the image in pixels.

    Returns:
        A compressed RLE of ``size``. RLEs that are compressed already are passed through.

    Raises:
        ValueError: If it is none of the three, an RLE of another size, or plain run lengths that do
            not fill it.
    """
    height, width = size
    if isinstance(segmentation, dict) and {'size', 'counts'} <= set(segmentation):
        if tuple(segmentation['size']) != (height, width):
            raise ValueError(
                f'its mask is {tuple(segmentation["size"])} (height, width), but the image is '
                f'{(height, width)}'
            )
        if isinstance(segmentation['counts'], list):
            return counts_to_rle(segmentation['counts'], size)
        return segmentation  # type: ignore[return-value]
    if isinstance(segmentation, list) and segmentation:
        lists = all(isinstance(polygon, list) for polygon in segmentation)
        if lists and all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in segmentation):
            return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        raise ValueError('a polygon of it is not a list of x, y pairs of three or more points')
    raise ValueError('it has no mask: segmentation must be an RLE or a list of polygons')
