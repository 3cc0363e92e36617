"""Which file is which image, and which reader it needs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmcell.datasets.image_io import IMAGE_SUFFIXES
from mmcell.datasets.label_io import COMPARED_FILES, LABEL_SUFFIXES
from mmcell.evaluation.readers.cellpose import read_cellpose_seg
from mmcell.evaluation.readers.coco import CocoImage, read_coco, read_coco_image
from mmcell.evaluation.readers.geojson import read_geojson
from mmcell.evaluation.readers.imagej import read_imagej_rois
from mmcell.evaluation.readers.instances import Instances
from mmcell.evaluation.readers.label_files import read_hovernet_mat, read_label_file

# The end of a file's name, its reader, and whether the format stores the image's size.
_READERS: tuple[tuple[str, Callable[..., Instances], bool], ...] = (
    ('_seg.npy', read_cellpose_seg, True),
    *((suffix, read_label_file, True) for suffix in LABEL_SUFFIXES),
    ('.mat', read_hovernet_mat, True),
    ('.geojson', read_geojson, False),
    ('.geojson.gz', read_geojson, False),
    ('.zip', read_imagej_rois, False),
)
_COCO = '.json'

SCORE_THRESHOLD = 0.5
"""Of predicted COCO objects, unless one is given: beta of PFFNet."""

# What tools, and formats, append to an image's name.
_ENDINGS = (
    *('_cp_masks', '_masks', '_mask', '_seg', '_rois', '_labels', '_label', '_instances'),
    *('.stardist', '_stardist', '.cellpose', '_cellpose', '.ome'),
    *IMAGE_SUFFIXES,
    *('.svs', '.ndpi', '.mrxs', '.npy', '.mat', '.geojson', '.gz', '.json', '.zip'),
)


class Entry(NamedTuple):
    """The objects of one image on one side.

    Attributes:
        source: the file, for errors; with the image's name where the file holds several.
        load: reads them; takes ``size``, (height, width) or None.
        stores_size: whether the format knows the image's size, so that ``size`` may be None.
        subset: what the image belongs to, as far as the file says.
    """

    source: str
    load: Callable[..., Instances]
    stores_size: bool
    subset: tuple[str, ...] = ()


class Failure(NamedTuple):
    """An image or file that is not scored.

    Attributes:
        image: its name without suffixes; '' where the file names no image.
        files: the files concerned.
        error: what is wrong, in one line.
    """

    image: str
    files: str
    error: str


class Side(NamedTuple):
    """Ground truth or predictions.

    Attributes:
        entries: name of an image -> its objects; several where the name is ambiguous.
        failures: files that could not be understood.
        ignored: files of other kinds.
        coco_files: of each of its COCO files the images by id.
    """

    entries: dict[str, list[Entry]]
    failures: list[Failure]
    ignored: list[Path]
    coco_files: list[dict[Any, CocoImage]]


def find_side(
    source: str | Path,
    coco_files: Sequence[Mapping[Any, CocoImage]] = (),
    score_threshold: float | None = 0.0,
) -> Side:
    """Find the images of one side; only COCO files are read.

    Args:
        source: a file, a folder (what lies directly in it) or a pattern, ``'x/*_masks.tif'``.
        coco_files: of the other side; a list of COCO results refers to its only one.
        score_threshold: COCO objects with a score below it are left out, in [0, 1]. None: below
            0.5, but none of files by ``mmcell predict``, which has applied the model's.

    Raises:
        ValueError: If nothing is there.
    """
    side = Side({}, [], [], [])
    files = _files(source)
    some = [path for path in files if path.name.lower().endswith(LABEL_SUFFIXES)][:COMPARED_FILES]
    for path in files:
        if path.name.lower().endswith(_COCO):
            try:
                _add_coco(side, path, coco_files, score_threshold)
            except (ValueError, OSError) as error:
                side.failures.append(Failure('', str(path), one_line(error)))
            continue
        fitting = [found for found in _READERS if path.name.lower().endswith(found[0])]
        if fitting:
            _, reader, stores_size = fitting[0]
            load = partial(reader, path)
            if reader is read_label_file:
                load = partial(load, others=some)
            entry = Entry(str(path), load, stores_size)
            side.entries.setdefault(image_name(path.name), []).append(entry)
        else:
            side.ignored.append(path)
    if not side.entries and not side.failures:
        endings = ', '.join([*(ending for ending, _, _ in _READERS), _COCO])
        raise ValueError(f'{source}: no objects there; expected files ending in {endings}')
    return side


def image_name(file_name: str) -> str:
    """A file's name without folders, suffixes and what tools append: ``x_cp_masks.png`` is x."""
    name = file_name.replace('\\', '/').rsplit('/', 1)[-1]
    while True:
        lower = name.lower()
        ending = next((e for e in _ENDINGS if lower.endswith(e) and lower != e), None)
        if ending is None:
            return name
        name = name[: -len(ending)]


def name_in_folder(file_name: str) -> str:
    """As :func:`image_name`, with the folders that tell images of one name apart."""
    folder = file_name.replace('\\', '/').rpartition('/')[0]
    name = image_name(file_name)
    return f'{folder}/{name}' if folder else name


def one_line(error: BaseException) -> str:
    """What an error says, for a table."""
    return ' '.join(str(error).split()) or repr(error)


def _files(source: str | Path) -> list[Path]:
    path = Path(source)
    if not os.path.lexists(path):  # a name may begin with ~ itself
        path = Path(os.path.expanduser(path))
    if path.is_file():
        return [path]
    if path.is_dir():
        found = path.iterdir()
    else:
        anchor = Path(path.anchor)
        found = anchor.glob(str(path.relative_to(anchor)))
    return sorted(p for p in found if p.is_file() and not p.name.startswith('.'))


def _add_coco(
    side: Side,
    path: Path,
    coco_files: Sequence[Mapping[Any, CocoImage]],
    score_threshold: float | None,
) -> None:
    # Ids of several files could clash.
    content = read_coco(path, coco_files[0] if len(coco_files) == 1 else None)
    side.coco_files.append(content.images)
    if content.problem:
        side.failures.append(Failure('', str(path), content.problem))
    if score_threshold is None:
        score_threshold = 0.0 if content.is_final else SCORE_THRESHOLD
    counts = Counter(image_name(image.file_name) for image in content.images.values())
    for image_id, image in content.images.items():
        name = image_name(image.file_name)
        if counts[name] > 1:
            name = name_in_folder(image.file_name)
        annotations = content.annotations[image_id]
        load = partial(read_coco_image, image, annotations, score_threshold)
        entry = Entry(f'{path} ({image.file_name})', load, True, image.subset)
        side.entries.setdefault(name, []).append(entry)
