"""COCO annotations of cells, checked when they are read."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.fileio import load
from mmengine.logging import print_log
from pycocotools import mask as coco_mask

from mmcell.datasets.coco_segmentation import segmentation_to_rle
from mmcell.datasets.splits import subsets_of
from mmcell.functional.rle import rle_to_counts

# Tools that trace through pixel centres or round outward leave the image by up to one pixel.
_BORDER_TOLERANCE_PX = 1


@DATASETS.register_module()
class CellDataset(CocoDataset):
    """Instances of cells from a COCO file, with masks as RLE (any kind) or polygons.

    What mmdet's ``CocoDataset`` leaves out in silence is kept or refused here: images without
    objects and objects of any size are kept, categories the model does not know are an error.
    Boxes are those of the masks. Masks without a pixel are counted in a warning and left out.
    Annotations marked ``iscrowd`` or ``ignore`` are neither learned nor counted as background; in a
    training crop that holds nothing else, MMDetection's R-CNNs take them as background.

    Each instance of the data list has ``bbox`` (x1, y1, x2, y2 in pixels), ``bbox_label`` (index
    into the classes), ``ignore_flag`` and ``mask`` (compressed RLE). An image may name the subsets
    it belongs to (``"subset": "unseen"`` or a list of names); its data has them as the list
    ``subset``, and :class:`~mmcell.evaluation.cell_metric.CellMetric` scores each on its own.

    Raises:
        FileNotFoundError: If the annotation file does not exist.
        ValueError: If the file holds no images, names categories outside ``metainfo['classes']``,
            or has a damaged annotation; the message names file, image and annotation.
    """

    METAINFO: ClassVar[dict] = {'classes': ('nucleus',), 'palette': [(220, 20, 60)]}

    def load_data_list(self) -> list[dict]:
        """Read and check ``ann_file``: one entry per image, in the file's order."""
        if '://' not in self.ann_file and not Path(self.ann_file).is_file():
            raise FileNotFoundError(
                f'{self.ann_file}: no such annotation file; convert the data set with '
                'tools/dataset_converters, or set data_root and ann_file'
            )
        try:
            coco = load(self.ann_file, file_format='json', backend_args=self.backend_args)
        except ValueError as error:
            raise ValueError(
                f'{self.ann_file}: is no JSON, or cut off ({error}); convert the data set again'
            ) from error
        if not isinstance(coco, dict) or not coco.get('images'):
            raise ValueError(f'{self.ann_file}: the data set is empty, no images are listed')
        self._read_categories(coco.get('categories', []))

        annotations = defaultdict(list)
        for annotation in coco.get('annotations', []):
            annotations[annotation.get('image_id')].append(annotation)
        image_ids = [image['id'] for image in coco['images']]
        if len(set(image_ids)) < len(image_ids):
            raise ValueError(f'{self.ann_file}: image ids are not unique')
        for image_id in annotations.keys() - set(image_ids):
            raise ValueError(
                f'{self.ann_file}: annotation {annotations[image_id][0].get("id")} belongs to '
                f'image {image_id!r}, which is not listed'
            )
        self._without_pixels: list[Any] = []
        data_list = [
            self.parse_data_info({'raw_img_info': image, 'raw_ann_info': annotations[image['id']]})
            for image in coco['images']
        ]
        if self._without_pixels:
            print_log(
                f'{self.ann_file}: {len(self._without_pixels)} annotations have a mask without a '
                f'single pixel and are left out, the first is {self._without_pixels[0]}',
                logger='current',
                level=logging.WARNING,
            )
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Check one image's annotations and bring them to mmdet's form."""
        image = raw_data_info['raw_img_info']
        missing = [key for key in ('file_name', 'height', 'width') if key not in image]
        if missing:
            raise ValueError(f'{self.ann_file}: image {image["id"]} lacks {", ".join(missing)}')
        instances = [
            instance
            for annotation in raw_data_info['raw_ann_info']
            if (instance := self._parse_annotation(annotation, image)) is not None
        ]
        for instance in instances:
            self.cat_img_map[self.cat_ids[instance['bbox_label']]].append(image['id'])
        return {
            'img_path': str(Path(self.data_prefix.get('img', '')) / image['file_name']),
            'img_id': image['id'],
            'seg_map_path': None,
            'height': image['height'],
            'width': image['width'],
            'instances': instances,
            'subset': subsets_of(image, self.ann_file),
        }

    def _read_categories(self, categories: list[dict]) -> None:
        """Map category ids to labels by name; a class without annotations may be missing."""
        classes = list(self.metainfo['classes'])
        names = [category['name'] for category in categories]
        if set(names) - set(classes) or not names:
            raise ValueError(
                f'{self.ann_file}: has categories {names}, but the data set is configured for '
                f'classes {classes}; rename one of them, or set metainfo=dict(classes=...) and the '
                "model's num_classes"
            )
        self.cat2label = {
            category['id']: classes.index(category['name']) for category in categories
        }
        by_label = {label: category_id for category_id, label in self.cat2label.items()}
        # Indexed by label, so that classes the file does not use keep their place.
        self.cat_ids = [by_label.get(label) for label in range(len(classes))]
        self.cat_img_map: dict[Any, list] = defaultdict(list)

    def _parse_annotation(self, annotation: dict, image: dict) -> dict | None:
        size = (image['height'], image['width'])
        try:
            if annotation.get('category_id') not in self.cat2label:
                raise ValueError(
                    f'its category id is {annotation.get("category_id")!r}, known are '
                    f'{sorted(self.cat2label)}'
                )
            if annotation.get('bbox') is not None:
                _check_inside(annotation['bbox'], size)
            mask = segmentation_to_rle(annotation.get('segmentation'), size)
            rle_to_counts(mask)  # refuses damaged ones
        except (ValueError, TypeError) as error:
            raise ValueError(
                f'{self.ann_file}: image {image["file_name"]!r}, annotation '
                f'{annotation.get("id")}: {error}'
            ) from error
        x, y, width, height = coco_mask.toBbox(mask).tolist()
        if width == 0 or height == 0:
            self._without_pixels.append(annotation.get('id'))
            return None
        return {
            'bbox': [x, y, x + width, y + height],
            'bbox_label': self.cat2label[annotation['category_id']],
            'ignore_flag': int(bool(annotation.get('iscrowd') or annotation.get('ignore'))),
            'mask': mask,
        }


def _check_inside(box: list[float], size: tuple[int, int]) -> None:
    """Refuse a COCO box (x, y, width, height) that leaves the image of ``size``."""
    x, y, width, height = box
    low, right, bottom = -_BORDER_TOLERANCE_PX, size[1], size[0]
    inside = min(x, y) >= low and x + width <= right - low and y + height <= bottom - low
    if not inside or min(width, height) < 0:
        raise ValueError(
            f'its bbox {box} (x, y, width, height) is outside the image of width {size[1]} and '
            f'height {size[0]}'
        )
