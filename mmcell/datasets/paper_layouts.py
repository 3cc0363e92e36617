"""The data sets of the panoptic papers as they are distributed, with the papers' splits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.datasets.aperio import read_aperio
from mmcell.datasets.coco_writer import CellImage
from mmcell.datasets.image_io import TIFF_SUFFIXES, read_image
from mmcell.datasets.label_io import read_ascii_map, read_component_map, read_inst_map
from mmcell.datasets.layouts import (
    Entries,
    Layout,
    Splits,
    by_stem,
    find_files,
    paired_entries,
    read_labelled,
    require_images,
)
from mmcell.datasets.splits import draw_validation, read_list

# Kumar et al. (2017), by the patients of TCGA: files are named TCGA-<patient>-<sample>.tif.
KUMAR_ORGANS = {
    'breast': ('A7-A13E', 'A7-A13F', 'AR-A1AK', 'AR-A1AS', 'E2-A1B5', 'E2-A14V'),
    'kidney': ('B0-5711', 'HE-7128', 'HE-7129', 'HE-7130', 'B0-5710', 'B0-5698'),
    'liver': ('18-5592', '38-6178', '49-4488', '50-5931', '21-5784', '21-5786'),
    'prostate': ('G9-6336', 'G9-6348', 'G9-6356', 'G9-6363', 'CH-5767', 'G9-6362'),
    'bladder': ('DK-A2I6', 'G2-A2EK'),
    'colon': ('AY-A8YK', 'NH-A8F7'),
    'stomach': ('KB-A93J', 'RD-A8N9'),
}
KUMAR_UNSEEN = ('bladder', 'colon', 'stomach')
KUMAR_SEEN_TEST = (
    *('A7-A13F', 'E2-A1B5', 'B0-5698', 'B0-5710'),
    *('21-5786', '49-4488', 'CH-5767', 'G9-6336'),
)
# Cell R-CNN V2 gives 30 / 7 / 13 images of 6 / 2 / 3 patients and does not name them: in order.
TNBC_PATIENTS = {'train': range(1, 7), 'val': range(7, 9), 'test': range(9, 12)}
CELL17_DISEASES = ('gbm', 'lgg', 'hnscc', 'nsclc')
CPM17_SIZES = ((500, 500), (600, 600))


def kumar_layout(folder: Path) -> Layout:
    """``TCGA-*.tif`` and ``TCGA-*.xml`` (Aperio) in any folders, as in the training set of MoNuSeg.

    Test are the 14 images of Kumar et al., 8 of organs that are trained on (subset 'seen') and 6 of
    others ('unseen'). Of the other 16, one per organ is drawn for validation, as the papers do
    without naming them. Images of MoNuSeg beyond these 30 are in no split.

    Raises:
        ValueError: If there is no such image.
    """
    images = by_stem(find_files(folder, *TIFF_SUFFIXES))
    require_images(images, folder, 'TCGA-*.tif with TCGA-*.xml')
    entries = paired_entries(
        images, by_stem(find_files(folder, '.xml')), 'outlines {}.xml', _read_kumar
    )
    patient_of = {stem: _tcga_patient(stem) for stem in entries}
    published = {patient for patients in KUMAR_ORGANS.values() for patient in patients}
    return Layout(
        entries,
        official=partial(_kumar_splits, patient_of),
        counts={'train': 12, 'val': 4, 'test': 14},
        sizes=((1000, 1000),),
        absent=sorted(f'TCGA-{patient}' for patient in published - set(patient_of.values())),
    )


def _kumar_splits(patient_of: dict[str, str], seed: int) -> Splits:
    trained = {
        organ: [patient for patient in patients if patient not in KUMAR_SEEN_TEST]
        for organ, patients in KUMAR_ORGANS.items()
        if organ not in KUMAR_UNSEEN
    }
    unseen = [patient for organ in KUMAR_UNSEEN for patient in KUMAR_ORGANS[organ]]
    patients = {**draw_validation(trained, 1, seed), 'test': [*KUMAR_SEEN_TEST, *unseen]}
    return {
        split: [stem for stem, patient in patient_of.items() if patient in members]
        for split, members in patients.items()
    }


def _tcga_patient(stem: str) -> str:
    """'A7-A13E' of 'TCGA-A7-A13E-01Z-00-DX1'."""
    return '-'.join(stem.split('-')[1:3])


def _read_kumar(image: Path, outlines: Path) -> CellImage:
    pixels = read_image(image, np.uint8)
    masks, notes = read_aperio(outlines, pixels.shape[:2])
    subsets = [
        subset
        for organ, patients in KUMAR_ORGANS.items()
        if _tcga_patient(image.stem) in patients
        for subset in (organ, 'unseen' if organ in KUMAR_UNSEEN else 'seen')
    ]
    return CellImage(pixels, masks, subsets, notes)


def tnbc_layout(folder: Path) -> Layout:
    """``Slide_<patient>/<name>.png`` and ``GT_<patient>/<name>.png``.

    The splits are those of Cell R-CNN V2; folds are by patient.

    Raises:
        ValueError: If there is no such image.
    """
    files = find_files(folder, '.png')
    slides, masks = (
        [path for path in files if re.fullmatch(rf'{name}_\d+', path.parent.name)]
        for name in ('Slide', 'GT')
    )
    require_images(slides, folder, 'Slide_01/01_1.png with GT_01/01_1.png')
    patient_of = {path.stem: path.parent.name.split('_')[1] for path in [*slides, *masks]}
    splits = {
        split: [stem for stem, patient in patient_of.items() if int(patient) in patients]
        for split, patients in TNBC_PATIENTS.items()
    }
    return Layout(
        paired_entries(
            by_stem(slides),
            by_stem(masks),
            'mask GT_*/{}.png',
            partial(read_labelled, read_labels=read_component_map, dtype=np.uint8),
        ),
        official=lambda seed: splits,
        group_of=patient_of.__getitem__,
        counts={'train': 30, 'val': 7, 'test': 13},
        sizes=((512, 512),),
    )


def bbbc039_layout(folder: Path) -> Layout:
    """``images/*.tif`` (16 bits), ``masks/*.png`` and ``metadata/{training,validation,test}.txt``.

    Touching nuclei differ in the first channel of a mask, distant ones need not.

    Raises:
        ValueError: If there is no such image.
    """
    images = by_stem(find_files(folder, *TIFF_SUFFIXES))
    require_images(images, folder, 'images/*.tif, masks/*.png and metadata/*.txt, unpacked')
    return Layout(
        paired_entries(
            images,
            by_stem(find_files(folder, '.png')),
            'mask masks/{}.png',
            partial(read_labelled, read_labels=read_component_map, dtype=np.uint16),
        ),
        official=lambda seed: _bbbc039_splits(folder),
        counts={'train': 100, 'val': 50, 'test': 50},
        sizes=((520, 696),),
    )


def _bbbc039_splits(folder: Path) -> Splits:
    lists = {path.stem: path for path in find_files(folder, '.txt')}
    names = {'train': 'training', 'val': 'validation', 'test': 'test'}
    missing = [f'{name}.txt' for name in names.values() if name not in lists]
    if missing:
        raise ValueError(f'{folder}: lacks {", ".join(missing)} of the metadata; unpack them too')
    # The lists name the masks, with their suffix.
    return {
        split: [Path(line).stem for line in read_list(lists[name])] for split, name in names.items()
    }


def cvppp_layout(folder: Path) -> Layout:
    """``A1/<plant>_rgb.png`` and ``A1/<plant>_label.png`` of the CVPPP leaf segmentation challenge.

    Of the 128 annotated images 28 are drawn for validation; the papers do not name them. Folders
    named ``testing`` hold images without annotation and are passed over.

    Raises:
        ValueError: If there is no such image.
    """
    files = find_leaf_files(folder, 'testing')
    entries = leaf_entries([path for path in files if path.parent.name == 'A1'] or files)
    require_images(entries, folder, 'A1/plant001_rgb.png with A1/plant001_label.png')
    return Layout(
        entries,
        official=lambda seed: draw_validation({'': list(entries)}, 28, seed),
        counts={'train': 100, 'val': 28},
        sizes=((530, 500),),
    )


def find_leaf_files(folder: Path, *without: str) -> list[Path]:
    """``*_rgb.png`` and ``*_label.png`` at any depth, without folders of some names."""
    return [
        path
        for path in find_files(folder, '.png')
        if path.stem.endswith(('_rgb', '_label'))
        and not set(without).intersection(path.relative_to(folder).parts)
    ]


def leaf_entries(files: Sequence[Path], prefix: str = '', subsets: Sequence[str] = ()) -> Entries:
    """``<plant>_rgb.png`` with ``<plant>_label.png``, an index per leaf: all data sets of leaves.

    Args:
        files: images and label maps.
        prefix: goes before the plant in the stem of an entry.
        subsets: what all of the images belong to.
    """
    images, labels = (
        by_stem(
            (path for path in files if path.stem.endswith(ending)),
            lambda path: prefix + path.stem.removesuffix('_rgb').removesuffix('_label'),
        )
        for ending in ('_rgb', '_label')
    )
    return paired_entries(
        images,
        labels,
        'label map *_label.png for {}',
        partial(read_labelled, dtype=np.uint8, subsets=subsets),
    )


def cpm17_layout(folder: Path) -> Layout:
    """``{train,test}/Images/*.png`` and ``{train,test}/Labels/*.mat`` with an array ``inst_map``.

    Stems get the name of their split in front, since both count from ``image_00``.

    Raises:
        ValueError: If there is no such image.
    """
    images = by_stem(_in_folders(folder, 'Images', '.png'), _cpm17_stem)
    require_images(images, folder, 'train/Images/image_00.png with train/Labels/image_00.mat')
    splits = {s: [stem for stem in images if stem.startswith(f'{s}_')] for s in ('train', 'test')}
    return Layout(
        paired_entries(
            images,
            by_stem(_in_folders(folder, 'Labels', '.mat'), _cpm17_stem),
            'label map Labels/*.mat for {}',
            partial(read_labelled, read_labels=read_inst_map, dtype=np.uint8),
        ),
        official=lambda seed: splits,
        counts={'train': 32, 'test': 32},
        sizes=CPM17_SIZES,
    )


def _in_folders(folder: Path, name: str, suffix: str) -> list[Path]:
    return [path for path in find_files(folder, suffix) if path.parent.name == name]


def _cpm17_stem(path: Path) -> str:
    return f'{path.parent.parent.name}_{path.stem}'


def cell17_layout(folder: Path) -> Layout:
    """``image01.png`` and ``image01_mask.txt`` of the MICCAI 2017 nuclei segmentation challenge.

    Images below a folder with 'test' in its name are for testing. Stems get the split in front, and
    the disease (gbm, lgg, hnscc, nsclc) where a folder has its name; of each disease one training
    image is drawn for validation, four of all where the diseases are unknown.

    Raises:
        ValueError: If there is no such image.
    """
    stem_of = partial(_cell17_stem, folder)
    files = find_files(folder, '.png')
    images = by_stem((path for path in files if not path.stem.endswith('_poly')), stem_of)
    require_images(
        images, folder, 'image01.png with image01_mask.txt, for testing below a folder test'
    )
    masks = (path for path in find_files(folder, '.txt') if path.stem.endswith('_mask'))
    trained: dict[str, list[str]] = {}
    for stem in images:
        if stem.startswith('train_'):
            trained.setdefault(_disease(stem), []).append(stem)
    tested = [stem for stem in images if stem.startswith('test_')]
    return Layout(
        paired_entries(
            images,
            by_stem(masks, stem_of),
            'label map *_mask.txt for {}',
            partial(read_labelled, read_labels=read_ascii_map, dtype=np.uint8),
        ),
        official=lambda seed: {
            **draw_validation(trained, 4 if set(trained) == {''} else 1, seed),
            'test': tested,
        },
        counts={'train': 28, 'val': 4, 'test': 32},
        sizes=CPM17_SIZES,
    )


def _cell17_stem(folder: Path, path: Path) -> str:
    parts = [part.lower() for part in path.relative_to(folder).parts[:-1]]
    diseases = [name for name in CELL17_DISEASES if any(name in part for part in parts)]
    split = 'test' if any('test' in part for part in parts) else 'train'
    return '_'.join([split, *diseases[:1], path.stem.removesuffix('_mask')])


def _disease(stem: str) -> str:
    """The disease in a stem of :func:`_cell17_stem`, '' where there is none."""
    name = stem.split('_')[1]
    return name if name in CELL17_DISEASES else ''
