"""Writing any data set of cells in the one layout that the configs read.

OUT/images/<stem>.png   OUT/annotations/{train,val,test}.json   OUT/splits/{train,val,test}.txt
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmcell.functional.rle import Rle, label_map_to_rles

SPLITS = ('train', 'val', 'test')


@dataclass
class CellImage:
    """One annotated image.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        masks: one COCO RLE of size (H, W) per object; none for a negative image.
        subsets: names of what the image belongs to, such as an organ; scored on their own.
    """

    pixels: npt.NDArray[np.uint8]
    masks: Sequence[Rle]
    subsets: Sequence[str] = ()

    @classmethod
    def from_label_map(cls, pixels: npt.NDArray[np.uint8], label_map: npt.ArrayLike) -> CellImage:
        """Objects from an integer image, 0 = background."""
        return cls(pixels, label_map_to_rles(label_map)[1])


@dataclass
class Report:
    """What a conversion did.

    Attributes:
        images: per split, one entry per image: height, width in pixels, areas of its objects.
        failures: what was left out, one sentence each.
        unlisted: how many images are in no split.
    """

    images: dict[str, list[tuple[int, int, list[int]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    unlisted: int = 0

    def show(self, console: Console) -> None:
        """Print the failures, then the count."""
        for failure in self.failures:
            console.print(f'[red]left out[/red] {failure}', highlight=False, soft_wrap=True)
        if self.unlisted:
            console.print(f'{self.unlisted} images are in no split list and were not converted')
        table = Table('split')
        for column in (
            'images',
            'empty',
            'objects',
            'max/image',
            'median px',
            'smallest',
            'largest',
        ):
            table.add_column(column, justify='right')
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


def write_dataset(
    entries: Mapping[str, Callable[[], CellImage]],
    splits: Mapping[str, Sequence[str]],
    out: Path,
    *,
    category: str = 'nucleus',
    overwrite: bool = False,
    progress: bool = True,
) -> Report:
    """Convert images one by one; those that cannot be read are reported, the rest is written.

    Args:
        entries: per stem (name without suffix), what loads it; ``ValueError`` and ``OSError`` that
            it raises are reported with the stem.
        splits: stems per split; a stem that is not in ``entries`` is reported.
        out: folder to write; made where missing.
        category: name of the one category, id 1.
        overwrite: replace a data set that is there already.
        progress: show a progress bar.

    Raises:
        FileExistsError: If ``out`` holds a data set and ``overwrite`` is False.
    """
    _prepare(out, overwrite)
    report = Report(unlisted=len(set(entries).difference(*splits.values())))
    for split, stems in splits.items():
        coco = _empty_coco(category)
        report.images[split] = []
        for stem in track(stems, f'{split:5}', disable=not progress):
            try:
                if stem not in entries:
                    raise ValueError(f'in {split}.txt, but not in the data set')
                image = entries[stem]()
            except (ValueError, OSError) as error:
                report.failures.append(f'{stem}: {error}')
                continue
            _write_png(out / 'images' / f'{stem}.png', image.pixels)
            areas = _append(coco, f'{stem}.png', image)
            report.images[split].append((*image.pixels.shape[:2], areas))
        (out / 'annotations' / f'{split}.json').write_text(json.dumps(coco))
        written = [Path(image['file_name']).stem for image in coco['images']]
        (out / 'splits' / f'{split}.txt').write_text(''.join(f'{stem}\n' for stem in written))
    return report


def read_splits(folder: Path, stems: Iterable[str]) -> dict[str, list[str]]:
    """Read ``train.txt``, ``val.txt`` and ``test.txt``, as many as there are.

    Args:
        folder: where the lists are: one image per line, with or without suffix.
        stems: the images of the data set.

    Raises:
        FileNotFoundError: If there is none of the lists.
        ValueError: If an image is listed twice, within a list or in two of them.
    """
    known, seen = set(stems), {}
    splits: dict[str, list[str]] = {}
    for split in SPLITS:
        file = folder / f'{split}.txt'
        if not file.is_file():
            continue
        lines = [line.strip() for line in file.read_text().splitlines() if line.strip()]
        splits[split] = [line if line in known else Path(line).stem for line in lines]
        for stem in splits[split]:
            if stem in seen:
                raise ValueError(f'{file}: {stem} is listed in {seen[stem]} already')
            seen[stem] = file.name
    if not splits:
        raise FileNotFoundError(f'{folder}: holds none of train.txt, val.txt, test.txt')
    return splits


def random_splits(
    stems: Iterable[str], seed: int, fractions: tuple[float, float] = (0.6, 0.2)
) -> dict[str, list[str]]:
    """Shuffle into train, val and test.

    Args:
        stems: images; their order does not matter.
        seed: same seed, same split.
        fractions: of train and val; the rest is test.
    """
    shuffled = sorted(stems)
    np.random.default_rng(seed).shuffle(shuffled)
    first = round(len(shuffled) * fractions[0])
    second = first + round(len(shuffled) * fractions[1])
    parts = shuffled[:first], shuffled[first:second], shuffled[second:]
    return dict(zip(SPLITS, parts, strict=True))


def _prepare(out: Path, overwrite: bool) -> None:
    folders = [out / name for name in ('images', 'annotations', 'splits')]
    present = [folder for folder in folders if folder.exists()]
    if present and not overwrite:
        raise FileExistsError(
            f'{present[0]} exists already; say --overwrite to replace the data set in {out}'
        )
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)


def _empty_coco(category: str) -> dict:
    return {
        'info': {'description': 'converted by mmcell'},
        'images': [],
        'categories': [{'id': 1, 'name': category}],
        'annotations': [],
    }


def _append(coco: dict, file_name: str, image: CellImage) -> list[int]:
    """Add an image and its objects to ``coco``; returns the objects' areas in pixels."""
    height, width = image.pixels.shape[:2]
    image_id = len(coco['images']) + 1
    entry = {'id': image_id, 'file_name': file_name, 'height': height, 'width': width}
    coco['images'].append({**entry, 'subset': list(image.subsets)} if image.subsets else entry)
    areas = [int(coco_mask.area(mask)) for mask in image.masks]
    for mask, area in zip(image.masks, areas, strict=True):
        coco['annotations'].append(
            {
                'id': len(coco['annotations']) + 1,
                'image_id': image_id,
                'category_id': 1,
                'bbox': coco_mask.toBbox(mask).tolist(),
                'area': area,
                'iscrowd': 0,
                'segmentation': {
                    'size': [height, width],
                    'counts': bytes(mask['counts']).decode('ascii'),
                },
            }
        )
    return areas


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    encoded = cv2.imencode('.png', np.ascontiguousarray(pixels[:, :, ::-1]))[1]
    encoded.tofile(path)
