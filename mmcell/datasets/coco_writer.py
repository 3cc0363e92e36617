"""Writing any data set of cells in the one layout that the configs read.

OUT/images/<stem>.png   OUT/annotations/<split>.json   OUT/splits/<split>.txt
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from mmcell.functional.rle import Rle, label_map_to_rles, rles_to_label_layers

# Images that a warning about many of them names.
_NAMED = 3

# By which a converter knows what another run of it wrote.
_INFO = {'description': 'converted by mmcell'}


@dataclass
class CellImage:
    """One annotated image.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        masks: one COCO RLE of size (H, W) per object; none for a negative image.
        subsets: names of what the image belongs to, such as an organ; scored on their own.
        notes: what a user should know about it, one sentence each.
    """

    pixels: npt.NDArray[np.uint8]
    masks: Sequence[Rle]
    subsets: Sequence[str] = ()
    notes: Sequence[str] = ()

    @classmethod
    def from_label_map(cls, pixels: npt.NDArray[np.uint8], label_map: npt.ArrayLike) -> CellImage:
        """Objects from an integer image, 0 = background."""
        return cls(pixels, label_map_to_rles(label_map)[1])


@dataclass(frozen=True)
class Patches:
    """Square patches at random places of an image, cut once; see :meth:`cut`.

    Attributes:
        count: how many of each image.
        side: in pixels; images that are smaller are kept whole in that direction.
        seed: same seed, same patches of an image, whatever else is converted.
    """

    count: int
    side: int
    seed: int = 0

    def cut(self, stem: str, image: CellImage) -> dict[str, CellImage]:
        """Patches by name, ``<stem>_<number>``; objects are cut off at their border."""
        height, width = image.pixels.shape[:2]
        layers = rles_to_label_layers(image.masks, (height, width))
        random = np.random.default_rng([self.seed, zlib.crc32(stem.encode())])
        patches = {}
        for number in range(self.count):
            top, left = (random.integers(max(s - self.side, 0) + 1) for s in (height, width))
            window = np.s_[top : top + self.side, left : left + self.side]
            masks: dict[int, Rle] = {}
            for layer in layers:
                ids, rles = label_map_to_rles(layer[window])
                masks.update(zip(ids.tolist(), rles, strict=True))
            patches[f'{stem}_{number:03}'] = replace(
                image, pixels=image.pixels[window], masks=[masks[k] for k in sorted(masks)]
            )
        return patches


@dataclass
class Report:
    """What a conversion did.

    Attributes:
        images: per split, one entry per image: height, width in pixels, areas of its objects.
        failures: what was left out, one sentence each.
        warnings: what else a user should know, one sentence each.
        notes: what a user should know about images, and their stems.
        unlisted: how many images are in no split.
    """

    images: dict[str, list[tuple[int, int, list[int]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    unlisted: int = 0

    def show(self, console: Console) -> None:
        """Print failures and warnings, then the count."""
        for failure in self.failures:
            console.print(f'[red]left out[/red] {escape(failure)}', highlight=False, soft_wrap=True)
        for warning in [*self.warnings, *map(_name_a_few, self.notes, self.notes.values())]:
            message = f'[yellow]warning[/yellow] {escape(warning)}'
            console.print(message, highlight=False, soft_wrap=True)
        if self.unlisted:
            console.print(f'{self.unlisted} images are in no split list and were not converted')
        table = Table()
        table.add_column('split', no_wrap=True)
        for column in ('images', 'empty', 'objects', 'max per image', 'median px'):
            table.add_column(column, justify='right', no_wrap=' ' not in column)
        for column in ('smallest', 'largest'):
            table.add_column(column, justify='right', no_wrap=True)
        for split, images in self.images.items():
            areas = [area for _, _, in_image in images for area in in_image]
            sizes = sorted(((height, width) for height, width, _ in images), key=np.prod)
            table.add_row(
                split,
                str(len(images)),
                str(sum(not in_image for _, _, in_image in images)),
                str(len(areas)),
                str(max((len(in_image) for _, _, in_image in images), default=0)),
                f'{np.median(areas):.0f}' if areas else '-',
                *(f'{height}x{width}' for height, width in sizes[:1] + sizes[-1:]),
            )
        console.print(table)


def _name_a_few(note: str, stems: Sequence[str]) -> str:
    more = f' and {len(stems) - _NAMED} more' if len(stems) > _NAMED else ''
    return f'{", ".join(stems[:_NAMED])}{more}: {note}'


def write_dataset(
    entries: Mapping[str, Callable[[], CellImage]],
    splits: Mapping[str, Sequence[str]],
    out: Path,
    *,
    category: str = 'nucleus',
    patches: Patches | None = None,
    overwrite: bool = False,
    strict: bool = False,
    progress: bool = True,
) -> Report:
    """Convert images one by one; those that cannot be read are reported, the rest is written.

    Args:
        entries: per stem (name without suffix), what loads it; ``ValueError`` and ``OSError`` that
            it raises are reported with the stem.
        splits: stems per split; a stem that is not in ``entries`` is reported. It may be in several
            splits, such as those of a cross-validation.
        out: folder to write; made where missing.
        category: name of the one category, id 1.
        patches: what splits named ``train`` or ``..._train`` hold instead of whole images.
        overwrite: replace a data set that is there already.
        strict: stop at the first image that cannot be read.
        progress: show a progress bar.

    Raises:
        FileExistsError: If ``out`` holds a data set and ``overwrite`` is False, or folders of these
            names that no converter has written.
        ValueError: If ``strict`` and an image cannot be read.
    """
    _prepare(out, overwrite)
    report = Report(unlisted=len(set(entries).difference(*splits.values())))
    splits_of: dict[str, list[str]] = {}
    for split, stems in splits.items():
        for stem in stems:
            splits_of.setdefault(stem, []).append(split)

    converted: dict[tuple[str, bool], list[_Record]] = {}
    owners: dict[str, str] = {}  # of the files that are written
    for stem, used_in in track(splits_of.items(), 'converting', disable=not progress):
        try:
            if stem not in entries:
                raise ValueError(f'in {used_in[0]}.txt, but not in the data set')
            image = entries[stem]()
        except (ValueError, OSError) as error:
            report.failures.append(f'{stem}: {error}')
            if strict:
                raise ValueError(report.failures[-1]) from error
            continue
        for note in image.notes:
            report.notes.setdefault(note, []).append(stem)
        for cut in {patches is not None and _is_training(split) for split in used_in}:
            pieces = patches.cut(stem, image) if cut and patches else {stem: image}
            taken = next((name for name in pieces if owners.get(name, stem) != stem), None)
            if taken is not None:
                report.failures.append(
                    f'{stem}: images/{taken}.png is of {owners[taken]} already, and patches are '
                    'numbered; rename one of them'
                )
                continue
            owners.update(dict.fromkeys(pieces, stem))
            converted[stem, cut] = [
                _write_image(out / 'images', name, piece) for name, piece in pieces.items()
            ]

    for split, stems in splits.items():
        cut = patches is not None and _is_training(split)
        present = [stem for stem in stems if (stem, cut) in converted]
        records = [record for stem in present for record in converted[stem, cut]]
        _write_annotations(out / 'annotations' / f'{split}.json', records, category)
        # Of the images, not of their patches: with --split-lists, these split the source again.
        lines = ''.join(f'{stem}\n' for stem in present)
        (out / 'splits' / f'{split}.txt').write_text(lines, encoding='utf-8')
        report.images[split] = [record.size_and_areas for record in records]
    return report


def _prepare(out: Path, overwrite: bool) -> None:
    folders = [out / name for name in ('images', 'annotations', 'splits')]
    present = [folder for folder in folders if folder.exists()]
    ours = all(folder.is_dir() for folder in folders) and _are_ours(out / 'annotations')
    if present and not ours:
        raise FileExistsError(
            f'{present[0]} is not from a converter: choose another folder, or delete it yourself'
        )
    if present and not overwrite:
        raise FileExistsError(
            f'{present[0]} exists already; say --overwrite to replace the data set in {out}'
        )
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)


def _are_ours(annotations: Path) -> bool:
    """Whether every file of a folder was written here, which an interrupted run may leave empty."""
    for file in annotations.iterdir():
        with open(file, encoding='utf-8', errors='replace') as opened:
            if json.dumps(_INFO) not in opened.read(100):
                return False
    return True


def _is_training(split: str) -> bool:
    return split == 'train' or split.endswith('_train')


@dataclass
class _Record:
    """One image as COCO has it, still without ids."""

    image: dict[str, Any]
    annotations: list[dict[str, Any]]

    @property
    def size_and_areas(self) -> tuple[int, int, list[int]]:
        areas = [annotation['area'] for annotation in self.annotations]
        return self.image['height'], self.image['width'], areas


def _write_image(folder: Path, name: str, image: CellImage) -> _Record:
    """Write the pixels to ``folder/name.png``."""
    encoded = cv2.imencode('.png', np.ascontiguousarray(image.pixels[:, :, ::-1]))[1]
    encoded.tofile(folder / f'{name}.png')
    height, width = image.pixels.shape[:2]
    entry = {'file_name': f'{name}.png', 'height': height, 'width': width}
    if image.subsets:
        entry['subset'] = list(image.subsets)
    annotations = [
        {
            'category_id': 1,
            'bbox': coco_mask.toBbox(mask).tolist(),
            'area': int(coco_mask.area(mask)),
            'iscrowd': 0,
            'segmentation': {
                'size': [height, width],
                'counts': bytes(mask['counts']).decode('ascii'),
            },
        }
        for mask in image.masks
    ]
    return _Record(entry, annotations)


def _write_annotations(file: Path, records: Sequence[_Record], category: str) -> None:
    """Write the annotations of one split, ids counting from 1."""
    images = [{'id': k, **record.image} for k, record in enumerate(records, start=1)]
    annotations = [
        {'image_id': k, **annotation}
        for k, record in enumerate(records, start=1)
        for annotation in record.annotations
    ]
    coco = {
        'info': _INFO,
        'images': images,
        'categories': [{'id': 1, 'name': category}],
        'annotations': [{'id': k, **entry} for k, entry in enumerate(annotations, start=1)],
    }
    file.write_text(json.dumps(coco), encoding='utf-8')
