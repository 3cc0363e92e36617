"""Reading data sets as their authors lay them out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from mmcell.datasets.coco_writer import CellImage
from mmcell.datasets.image_io import IMAGE_SUFFIXES, read_image, read_raw
from mmcell.datasets.label_io import LABEL_SUFFIXES, read_label_map

Entries = dict[str, Callable[[], CellImage]]

_MASK_ENDING = '_masks'


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


def label_folder_entries(folder: Path) -> Entries:
    """Images with label maps: ``images/x.*`` and ``masks/x.*``, or ``x.*`` and ``x_masks.*``.

    Partners have the same stem; their suffixes may differ. An image or label map without its
    partner, or with several, becomes an entry that says so when it is loaded.

    Args:
        folder: the folder, or one that holds nothing but it.

    Raises:
        ValueError: If no image is found.
    """
    inner = list(folder.iterdir())
    if len(inner) == 1 and inner[0].is_dir() and inner[0].name not in ('images', 'masks'):
        folder = inner[0]
    if (folder / 'images').is_dir() and (folder / 'masks').is_dir():
        images = _by_stem(folder / 'images', IMAGE_SUFFIXES)
        labels = _by_stem(folder / 'masks', LABEL_SUFFIXES)
        expected = 'masks/{}.tif'
    else:
        files = _by_stem(folder, LABEL_SUFFIXES + IMAGE_SUFFIXES)
        labels = {
            stem.removesuffix(_MASK_ENDING): paths
            for stem, paths in files.items()
            if stem.endswith(_MASK_ENDING)
        }
        images = {s: paths for s, paths in files.items() if not s.endswith(_MASK_ENDING)}
        expected = '{}' + _MASK_ENDING + '.tif'
    if not images or not labels:
        raise ValueError(
            f'{folder}: found {len(images)} images and {len(labels)} label maps; expected '
            'images/x.tif with masks/x.tif, or x.tif with x_masks.tif'
        )
    return {
        stem: partial(
            _read_labelled, stem, images.get(stem, []), labels.get(stem, []), expected.format(stem)
        )
        for stem in sorted({*images, *labels})
    }


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith('.'):
            files.setdefault(path.stem, []).append(path)
    return files


def _read_labelled(stem: str, images: list[Path], labels: list[Path], expected: str) -> CellImage:
    for kind, paths in (('image', images), ('label map', labels)):
        if len(paths) > 1:
            names = ', '.join(path.name for path in paths)
            raise ValueError(f'has {len(paths)} {kind}s, keep one of {names}')
    if not labels:
        raise ValueError(
            f'{images[0]} has no label map {expected}; if it shows no objects, give one of all 0'
        )
    if not images:
        raise ValueError(f'{labels[0]} has no image {stem}')
    pixels, label_map = read_image(images[0]), read_label_map(labels[0])
    if label_map.shape != pixels.shape[:2]:
        raise ValueError(
            f'{labels[0]} is {label_map.shape} (height, width), its image {pixels.shape[:2]}'
        )
    return CellImage.from_label_map(pixels, label_map)
