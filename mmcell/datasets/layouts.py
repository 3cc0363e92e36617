"""Reading data sets as their authors lay them out: what all share, and folders of label maps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from mmcell.datasets.coco_writer import CellImage
from mmcell.datasets.image_io import IMAGE_SUFFIXES, read_image, read_raw
from mmcell.datasets.label_io import (
    COMPARED_FILES,
    LABEL_SUFFIXES,
    read_label_map,
    read_label_map_among,
    require_size_of,
)
from mmcell.datasets.splits import random_splits

Entries = dict[str, Callable[[], CellImage]]
Splits = dict[str, list[str]]
Files = dict[str, list[Path]]

_MASK_ENDING = '_masks'


@dataclass(frozen=True)
class Layout:
    """A data set as it is distributed, and what is published about it.

    Attributes:
        entries: per stem, what loads the image.
        official: seed -> stems per split; None for a random split.
        group_of: stem -> the group, such as a patient, that cross-validation keeps together.
        counts: number of images per split.
        sizes: all sizes of images, height and width in pixels; empty for any.
        absent: names of images that are published but not there.
        remarks: what else differs from what is published, one sentence each.
        folded: stems that a cross-validation is made of; None for all in the splits.
    """

    entries: Entries
    official: Callable[[int], Splits] | None = None
    group_of: Callable[[str], str] | None = None
    counts: Mapping[str, int] | None = None
    sizes: Collection[tuple[int, int]] = ()
    absent: Sequence[str] = ()
    remarks: Sequence[str] = ()
    folded: Sequence[str] | None = None

    def split(self, seed: int) -> Splits:
        """The official splits, with drawn parts depending on ``seed`` alone."""
        return self.official(seed) if self.official else random_splits(self.entries, seed)

    def warnings(self, splits: Splits | None) -> list[str]:
        """What differs from the published numbers of images.

        Args:
            splits: the official ones; None where the user has others.
        """
        found = list(self.remarks)
        if self.absent:
            found.append(f'published, but not there: {", ".join(self.absent)}')
        for split, count in ((self.counts or {}) if splits is not None else {}).items():
            images = len((splits or {}).get(split, ()))
            if images != count:
                found.append(f'{split} has {images} images, published are {count}')
        return found

    def checked_entries(self) -> Entries:
        """Entries that remark on images of other than the published sizes."""
        if not self.sizes:
            return self.entries
        return {stem: partial(self._load_checked, load) for stem, load in self.entries.items()}

    def _load_checked(self, load: Callable[[], CellImage]) -> CellImage:
        image = load()
        height, width = image.pixels.shape[:2]
        if (height, width) in self.sizes:
            return image
        published = ' or '.join(f'{height} x {width}' for height, width in sorted(self.sizes))
        note = f'is {height} x {width} (height, width), published are {published}'
        return replace(image, notes=[*image.notes, note])


def find_files(folder: Path, *suffixes: str) -> list[Path]:
    """Files at any depth, sorted.

    Passed over are hidden ones, what macOS adds to archives, and what a converter has written: its
    folder may lie inside that of the source.
    """
    return [
        path
        for path in sorted(folder.rglob('*'))
        if path.suffix.lower() in suffixes
        and not any(p.startswith(('.', '__MACOSX')) for p in path.relative_to(folder).parts)
        and not _is_converted(path.parent)
    ]


def _is_converted(folder: Path) -> bool:
    names = ('images', 'annotations', 'splits')
    return folder.name in names and all(folder.with_name(name).is_dir() for name in names)


def require_images(images: object, folder: Path, expected: str) -> None:
    """Refuse a folder in which nothing was found; ``expected`` says what was looked for.

    Raises:
        ValueError: If ``images`` is empty.
    """
    if not images:
        raise ValueError(f'{folder}: found no image; expected {expected}')


def by_stem(paths: Iterable[Path], stem_of: Callable[[Path], str] | None = None) -> Files:
    """Files per stem; ``stem_of`` where that is not the name without suffix."""
    files: Files = {}
    for path in paths:
        files.setdefault(stem_of(path) if stem_of else path.stem, []).append(path)
    return files


def paired_entries(
    images: Files,
    annotations: Files,
    expected: str,
    read: Callable[[Path, Path], CellImage] | None = None,
) -> Entries:
    """Entries of images and annotations that belong together by stem.

    An image or annotation without its partner, or with several, becomes an entry that says so when
    it is loaded.

    Args:
        images: files per stem.
        annotations: files per stem.
        expected: what an image without annotation lacks, with ``{}`` for the stem.
        read: loads an image from both paths. Default: :func:`read_labelled`.
    """
    return {
        stem: partial(
            _read_pair,
            stem,
            images.get(stem, []),
            annotations.get(stem, []),
            expected.format(stem),
            read or read_labelled,
        )
        for stem in sorted({*images, *annotations})
    }


def read_labelled(
    image: Path,
    labels: Path,
    read_labels: Callable[[Path], npt.NDArray[np.int64]] = read_label_map,
    dtype: npt.DTypeLike | None = None,
    subsets: Sequence[str] = (),
) -> CellImage:
    """Read an image and its label map.

    Args:
        image: any that :func:`~mmcell.datasets.image_io.read_image` takes.
        labels: what ``read_labels`` takes.
        read_labels: reads the label map.
        dtype: type of the image's pixels; None for any.
        subsets: what the image belongs to.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is of the wrong kind, or their sizes differ.
    """
    pixels, label_map = read_image(image, dtype), read_labels(labels)
    require_size_of(labels, label_map, pixels)
    return replace(CellImage.from_label_map(pixels, label_map), subsets=subsets)


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
        if '__MACOSX' not in images.parts
    }
    if not entries:
        raise ValueError(f'{folder}: found no <id>/images folder, the layout of stage1_train')
    return entries


def _read_dsb2018(folder: Path) -> CellImage:
    images = _visible(folder / 'images', ('.png',))
    if len(images) != 1:
        raise ValueError(f'{folder / "images"} holds {len(images)} images, expected one')
    pixels = read_image(images[0])
    if not (folder / 'masks').is_dir():
        raise ValueError(f'{folder} has no folder masks')
    masks = []
    for path in _visible(folder / 'masks', ('.png',)):
        mask = read_raw(path).pixels
        # Some tools save these masks in colour; an object is where any channel is set.
        mask = mask[:, :, :3].any(axis=2) if mask.ndim == 3 else mask > 0
        require_size_of(path, mask, pixels)
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
    # What file managers leave, among them __MACOSX in zips, is no part of it.
    inner = [path for path in folder.iterdir() if not path.name.startswith(('.', '__MACOSX'))]
    if len(inner) == 1 and inner[0].is_dir() and inner[0].name not in ('images', 'masks'):
        folder = inner[0]
    if (folder / 'images').is_dir() and (folder / 'masks').is_dir():
        images = by_stem(_visible(folder / 'images', IMAGE_SUFFIXES))
        labels = by_stem(_visible(folder / 'masks', LABEL_SUFFIXES))
        expected = 'masks/{}.tif'
    else:
        labels = {
            stem.removesuffix(_MASK_ENDING): paths
            for stem, paths in by_stem(_visible(folder, LABEL_SUFFIXES)).items()
            if stem.endswith(_MASK_ENDING)
        }
        images = {
            stem: paths
            for stem, paths in by_stem(_visible(folder, IMAGE_SUFFIXES)).items()
            if not stem.endswith(_MASK_ENDING)
        }
        expected = '{}' + _MASK_ENDING + '.tif'
    if not images or not labels:
        raise ValueError(
            f'{folder}: found {len(images)} images and {len(labels)} label maps; expected '
            'images/x.tif with masks/x.tif, or x.tif with x_masks.tif'
        )
    expected = f'label map {expected}; if it shows no objects, give one of all 0'
    some = [path for paths in labels.values() for path in paths][:COMPARED_FILES]
    read = partial(read_labelled, read_labels=partial(read_label_map_among, some))
    return paired_entries(images, labels, expected, read)


def _visible(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in suffixes and not path.name.startswith('.')
    ]


def _read_pair(
    stem: str,
    images: list[Path],
    annotations: list[Path],
    expected: str,
    read: Callable[[Path, Path], CellImage],
) -> CellImage:
    for kind, paths in (('image', images), ('annotation', annotations)):
        if len(paths) > 1:
            names = ', '.join(map(str, paths))
            raise ValueError(f'has {len(paths)} {kind}s, keep or rename one of {names}')
    if not annotations:
        raise ValueError(f'{images[0]} has no {expected}')
    if not images:
        raise ValueError(f'{annotations[0]} has no image {stem}')
    return read(images[0], annotations[0])
