"""COCO: one JSON for a whole folder, ground truth or a list of results."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmcell.datasets.coco_segmentation import FINAL_OBJECTS, segmentation_to_rle
from mmcell.datasets.splits import subsets_of
from mmcell.evaluation.readers.instances import Instances, Size, flatten
from mmcell.evaluation.readers.json_files import load_json

Annotation = dict[str, Any]


class CocoImage(NamedTuple):
    """An entry of ``images``.

    Attributes:
        file_name: as the file has it, folders included.
        size: height, width in pixels.
        subset: names of what it belongs to, mmcell's addition to COCO.
    """

    file_name: str
    size: Size
    subset: tuple[str, ...] = ()


class CocoFile(NamedTuple):
    """What a file holds.

    Attributes:
        images: id -> image.
        annotations: id of an image -> its annotations, in the order of the file.
        problem: what is wrong with some of the annotations, which are left out; '' for nothing.
        is_final: ``mmcell predict`` wrote it: its objects have passed a threshold of scores.
    """

    images: dict[Any, CocoImage]
    annotations: dict[Any, list[Annotation]]
    problem: str = ''
    is_final: bool = False


def read_coco(path: Path, images: Mapping[Any, CocoImage] | None = None) -> CocoFile:
    """Read a COCO file.

    Args:
        path: a dict of ``images`` and ``annotations``, or a list of results.
        images: those of the other side: a list of results does not name its images. Ids may be
            numbers there and the same as strings here, or the other way round.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not COCO, a list of results without ``images`` to go with, or none of
            its annotations is of a known image.
    """
    content = load_json(path)
    if isinstance(content, list):
        if not images:
            raise ValueError(
                f'{path}: is a list, as COCO results are, which names images by id alone; it needs '
                'the one COCO file of these images as ground truth'
            )
        known, annotations = dict(images), content
    elif isinstance(content, dict) and {'images', 'annotations'} <= set(content):
        known, annotations = _images(content['images'], path), content['annotations']
    else:
        raise ValueError(f'{path}: is not COCO: no dict of images and annotations, no results list')
    by_image: dict[Any, list[Annotation]] = {image_id: [] for image_id in known}
    # Some programs write numbers as strings.
    id_of = {str(image_id): image_id for image_id in known}
    strays = []
    for annotation in annotations:
        image_id = annotation.get('image_id') if isinstance(annotation, dict) else None
        known_id = image_id if isinstance(image_id, Hashable) and image_id in by_image else None
        found = id_of.get(str(image_id)) if known_id is None else known_id
        if found is None:
            strays.append(image_id)
        else:
            by_image[found].append(annotation)
    if strays and len(strays) == len(annotations):
        raise ValueError(
            f'{path}: none of its annotations is of a known image; the first has the image_id '
            f'{strays[0]!r}, images have {", ".join(list(id_of)[:3])}, ...'
        )
    problem = ''
    if strays:
        problem = f'{len(strays)} annotations are of no known image, the first of image_id '
        problem += repr(strays[0])
    info = content.get('info') if isinstance(content, dict) else None
    is_final = isinstance(info, dict) and info.get('description') == FINAL_OBJECTS
    return CocoFile(known, by_image, problem, is_final)


def read_coco_image(
    image: CocoImage,
    annotations: list[Annotation],
    score_threshold: float,
    size: Size | None = None,
) -> Instances:
    """The objects of one image; polygons are rasterised as pycocotools does it.

    Args:
        image: its size is the label map's.
        annotations: those with ``iscrowd`` or ``ignore`` are left out, as are those with a
            ``score`` below the threshold. A shared pixel goes to the higher score, or to the
            earlier object where they have none.
        score_threshold: in [0, 1].
        size: not used.

    Raises:
        ValueError: If a segmentation is malformed or of another size; does not name the file.
    """
    kept = [annotation for annotation in annotations if _counts(annotation, score_threshold)]
    rles = []
    for annotation in kept:
        try:
            rles.append(segmentation_to_rle(annotation.get('segmentation'), image.size))
        except (ValueError, TypeError) as error:
            name = annotation.get('id', annotations.index(annotation))
            raise ValueError(f'annotation {name}: {error}') from error
    scores = [float(annotation.get('score', 0)) for annotation in kept]
    return flatten(rles, image.size, scores, left_out=len(annotations) - len(kept))


def _counts(annotation: Annotation, score_threshold: float) -> bool:
    if annotation.get('iscrowd') or annotation.get('ignore'):
        return False
    return 'score' not in annotation or annotation['score'] >= score_threshold


def _images(entries: list[Any], path: Path) -> dict[Any, CocoImage]:
    images: dict[Any, CocoImage] = {}
    for entry in entries:
        try:
            size = (int(entry['height']), int(entry['width']))
            image_id, file_name = entry['id'], str(entry['file_name'])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f'{path}: an entry of images lacks id, file_name, height or width: '
                f'{str(entry)[:200]}'
            ) from error
        if image_id in images:
            raise ValueError(f'{path}: two images have the id {image_id!r}')
        images[image_id] = CocoImage(file_name, size, tuple(subsets_of(entry, path)))
    return images
