"""Images, ground truth and predictions of several methods, found by name and read together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmcell.datasets.image_io import IMAGE_SUFFIXES, read_image
from mmcell.datasets.label_io import numbered_from_one
from mmcell.engine.errors import UserError
from mmcell.evaluation.readers.files import Entry, Side, find_side, image_name
from mmcell.visualization.cases import Case


class CaseFiles:
    """Finds the files of an image.

    Args:
        images: folder of images.
        gt: ground truth, as ``mmcell evaluate`` reads it.
        predictions: method -> its predictions, the same.

    Attributes:
        images: names of the images that have a file everywhere.
        described: where was looked.

    Raises:
        UserError: If a place holds nothing that can be read.
    """

    def __init__(self, images: Path, gt: str, predictions: Mapping[str, str]) -> None:
        self._pictures: dict[str, list[Path]] = {}
        for path in sorted(images.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                self._pictures.setdefault(image_name(path.name), []).append(path)
        gt_side = _find(gt)
        self._gt = gt_side.entries
        self._predictions = {
            method: _find(source, gt_side.coco_files, None).entries
            for method, source in predictions.items()
        }
        places = (self._pictures, self._gt, *self._predictions.values())
        self.images = set.intersection(*(set(place) for place in places))
        self.described = ', '.join(map(str, (images, gt, *predictions.values())))

    def read(self, image: str, title: str, captions: Mapping[str, str]) -> Case:
        """Read an image that is in :attr:`images`.

        Args:
            image: its name.
            title: of the case.
            captions: method -> words beside its name.

        Raises:
            UserError: If a file is broken, ambiguous or of another size; names it.
        """
        path = self._picture(image)
        try:
            pixels = read_image(path)
        except (OSError, ValueError) as error:
            raise UserError(str(error)) from error
        size = pixels.shape[:2]
        gt = _read(self._gt[image], size)
        predictions = {m: _read(entries[image], size) for m, entries in self._predictions.items()}
        captions = {method: captions.get(method, 'no score') for method in predictions}
        return Case(title, pixels, gt, predictions, captions)

    def _picture(self, image: str) -> Path:
        paths = self._pictures[image]
        # Masks may lie beside their images: x_masks.tif is of the image x.tif.
        plain = [path for path in paths if image_name(path.name) == path.stem] or paths
        if len(plain) > 1:
            files = ' and '.join(map(str, plain))
            raise UserError(f'{files} are of one image: leave one of them in the folder')
        return plain[0]


def _find(source: str, coco_files: Sequence = (), score_threshold: float | None = 0.0) -> Side:
    try:
        side = find_side(source, coco_files, score_threshold)
    except ValueError as error:
        raise UserError(str(error)) from error
    for _, files, problem in side.failures:
        raise UserError(problem if files in problem else f'{files}: {problem}')
    return side


def _read(entries: list[Entry], size: tuple[int, int]) -> npt.NDArray[np.integer]:
    if len(entries) > 1:
        sources = ' and '.join(entry.source for entry in entries)
        raise UserError(f'{sources} are of one image: choose with a pattern')
    try:
        label_map = entries[0].load(size=size).label_map
    except Exception as error:
        raise UserError(f'{entries[0].source}: {error}') from error
    if label_map.shape != size:
        raise UserError(f'{entries[0].source} is {label_map.shape}, its image {size}')
    # Colours are looked up in tables as long as the largest id.
    return numbered_from_one(label_map)
