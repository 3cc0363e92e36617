"""The data sets of the keypoint papers as they are distributed, but for the videos of CTC."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from mmcell.datasets.coco_writer import CellImage
from mmcell.datasets.image_io import IMAGE_SUFFIXES, read_image
from mmcell.datasets.label_io import LABEL_SUFFIXES, read_colour_map, require_size_of
from mmcell.datasets.layouts import (
    Layout,
    Splits,
    by_stem,
    find_files,
    paired_entries,
    require_images,
)
from mmcell.datasets.paper_layouts import find_leaf_files, leaf_entries
from mmcell.datasets.splits import SPLITS, draw_validation, random_splits

# Annotated images of the leaf segmentation challenge (CVPPP 2017), and their height and width.
LSC_IMAGES = {'A1': 128, 'A2': 31, 'A3': 27, 'A4': 624}
# Of A3, 2448 and 2048 are given in either order.
LSC_SIZES = ((530, 500), (530, 565), (2448, 2048), (2048, 2448), (441, 441))
LSC_VALIDATION = 0.2  # the papers validate on none
# What the object-guided paper has of the plant phenotyping data: 285 plants and 188 frames.
PLANTS = ('ara2012_', 'ara2013_')
# Objects of at most this many pixels in height or width are left out by the papers' programs.
SPECK_SIDE = 2


def plant_phenotyping_layout(folder: Path) -> Layout:
    """``<plant>_rgb.png`` with ``<plant>_label.png`` in any folders (Minervini et al., 2016).

    The papers take the Arabidopsis images, ``ara2012_*`` and ``ara2013_*``, of single plants
    (``Plant``) and of plants over time (``Stacks``), split by chance. Tobacco is in no split; whole
    trays (``Tray``) have no leaves annotated and are passed over. The folds of a cross-validation
    keep the frames of a plant together.

    Raises:
        ValueError: If there is no such image.
    """
    entries = leaf_entries(find_leaf_files(folder, 'Tray'))
    require_images(entries, folder, 'ara2012_plant001_rgb.png with ara2012_plant001_label.png')
    listed = [stem for stem in entries if stem.startswith(PLANTS)]
    return Layout(
        entries,
        official=partial(random_splits, listed),
        group_of=lambda stem: stem.split('_frame')[0],
        counts={'train': 284, 'val': 95, 'test': 94},
    )


def lsc_layout(folder: Path) -> Layout:
    """``A1`` to ``A4`` of the leaf segmentation challenge, each laid out as CVPPP A1.

    Stems get the folder in front (``A1_plant001``), which is also the subset of an image. A fifth
    of each is drawn for validation; split ``all_train`` holds all, as the papers train. ``A5``,
    which mixes the others, and folders named ``testing`` are passed over.

    Raises:
        ValueError: If there is no such image.
    """
    files = find_leaf_files(folder, 'testing')
    parts = {
        part: leaf_entries([path for path in files if path.parent.name == part], f'{part}_', [part])
        for part in LSC_IMAGES
    }
    entries = {stem: load for part in parts.values() for stem, load in part.items()}
    require_images(entries, folder, 'A1/plant001_rgb.png with A1/plant001_label.png, to A4')
    return Layout(
        entries,
        official=lambda seed: {
            **draw_validation({k: list(v) for k, v in parts.items()}, LSC_VALIDATION, seed),
            'all_train': list(entries),
        },
        counts={'train': 648, 'val': 162, 'all_train': 810},
        sizes=LSC_SIZES,
        remarks=[
            f'{part} has {len(parts[part])} images, published are {count}'
            for part, count in LSC_IMAGES.items()
            if len(parts[part]) != count
        ],
    )


def neural_cell_layout(folder: Path) -> Layout:
    """Gray images in any folders, annotation of equal names in a folder ``mask`` or ``masks``.

    Cells are painted in a colour each, on the image or on black, or are a label map. Where the
    images lie below folders named ``train``, ``val`` and ``test``, these are the splits, else they
    are drawn.

    Raises:
        ValueError: If there is no such image.
    """
    masks = [path for path in find_files(folder, *LABEL_SUFFIXES) if _is_mask(path)]
    files = [path for path in find_files(folder, *IMAGE_SUFFIXES) if not _is_mask(path)]
    require_images(files, folder, 'train/x.png, or x.png, with mask/x.png')
    images = by_stem(files)
    given: Splits = {
        split: [path.stem for path in files if split in path.relative_to(folder).parts[:-1]]
        for split in SPLITS
    }
    # Besides the three splits, images may lie beside them; besides two, there are none.
    is_given = all(given.values()) or sorted(sum(given.values(), [])) == sorted(images)
    return Layout(
        paired_entries(images, by_stem(masks), 'annotation mask/{}.png', _read_neural_cells),
        official=lambda seed: given if is_given else random_splits(images, seed),
        counts={'train': 386, 'val': 129, 'test': 129},
        sizes=((512, 640),),
    )


def _is_mask(path: Path) -> bool:
    return path.parent.name in ('mask', 'masks')


def _read_neural_cells(image: Path, annotation: Path) -> CellImage:
    pixels, label_map = read_image(image), read_colour_map(annotation)
    require_size_of(annotation, label_map, pixels)
    notes = []
    if (pixels != pixels[:, :, :1]).any():
        notes.append('is a colour image, published are gray ones')
    specks = _specks(label_map)
    if specks:
        notes.append(f'specks of at most {SPECK_SIDE} pixels in height or width are left out')
        label_map = np.where(np.isin(label_map, specks), 0, label_map)
    return replace(CellImage.from_label_map(pixels, label_map), notes=notes)


def _specks(label_map: np.ndarray) -> list[int]:
    """Labels of objects that are at most :data:`SPECK_SIDE` pixels high or wide."""
    return [
        label
        for label, extent in enumerate(ndimage.find_objects(label_map), start=1)
        if extent and min(part.stop - part.start for part in extent) <= SPECK_SIDE
    ]
