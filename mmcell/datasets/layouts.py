"""Reading data sets as their authors lay them out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from mmcell.datasets.coco_writer import CellImage
from mmcell.datasets.image_io import read_image, read_raw

Entries = dict[str, Callable[[], CellImage]]


def dsb2018_entries(folder: Path) -> Entries:
    """Images of the Data Science Bowl 2018: ``<id>/images/<id>.png``, ``<id>/masks/*.png``.

    Args:
        folder: ``stage1_train`` unpacked, or a folder that holds it.

    Raises:
        ValueError: If no such image is found.
    """
    entries = {
        images.parent.name: partial(_read_dsb2018, images.parent)
        for images in sorted([*folder.glob('*/images'), *folder.glob('*/*/images')])
    }
    if not entries:
        raise ValueError(f'{folder}: found no <id>/images folder, the layout of stage1_train')
    return entries


def _read_dsb2018(folder: Path) -> CellImage:
    images = sorted((folder / 'images').glob('*.png'))
    if len(images) != 1:
        raise ValueError(f'{folder / "images"} holds {len(images)} images, expected one')
    pixels = read_image(images[0])
    if not (folder / 'masks').is_dir():
        raise ValueError(f'{folder} has no folder masks')
    masks = []
    for path in sorted((folder / 'masks').glob('*.png')):
        mask = read_raw(path).pixels
        # Some tools save these masks in colour; an object is where any channel is set.
        mask = mask[:, :, :3].any(axis=2) if mask.ndim == 3 else mask > 0
        if mask.shape != pixels.shape[:2]:
            raise ValueError(
                f'{path} is {mask.shape} (height, width), its image {pixels.shape[:2]}'
            )
        if not mask.any():
            raise ValueError(f'{path} has no pixel set')
        masks.append(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)))
    return CellImage(pixels, masks)
