"""Loading images and instance masks, and deriving the semantic target from the masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS

from mmcell.datasets.coco_segmentation import segmentation_to_rle
from mmcell.datasets.image_io import read_image
from mmcell.structures import LabelMapMasks

# Pixels that no loss counts, as mmdet pads semantic maps.
IGNORE_INDEX = 255


@TRANSFORMS.register_module()
class LoadCellImage(BaseTransform):
    """Load an image of any kind that `read_image` takes, as 8-bit BGR.

    Required Keys: img_path, height and width (optional; in pixels).
    Added Keys: img ((H, W, 3) uint8), img_shape, ori_shape.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file cannot be decoded.
        ValueError: If the image is of an unsupported kind, or not of the size that the annotations
            say.
    """

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']``."""
        image = np.ascontiguousarray(read_image(results['img_path'])[:, :, ::-1])
        shape = image.shape[:2]
        annotated = (results.get('height', shape[0]), results.get('width', shape[1]))
        if shape != annotated:
            raise ValueError(
                f'{results["img_path"]}: the image is {shape} (height, width), but its annotations '
                f'were made for {annotated}'
            )
        results.update(img=image, img_shape=shape, ori_shape=shape)
        return results


@TRANSFORMS.register_module()
class LoadCellAnnotations(LoadAnnotations):
    """Load instances as `LabelMapMasks`, with the boxes of the masks.

    Required Keys: ori_shape, instances (bbox_label, ignore_flag, mask: any COCO segmentation).
    Added Keys: gt_masks (LabelMapMasks), gt_bboxes (mmdet's boxes, (N, 4) pixels),
    gt_bboxes_labels ((N,) int64), gt_ignore_flags ((N,) bool).

    Args:
        box_type: mmdet's box type.
    """

    def __init__(self, box_type: str = 'hbox') -> None:
        super().__init__(with_mask=True, box_type=box_type)

    def transform(self, results: dict) -> dict:
        """Load what ``results['instances']`` holds, at the size of the image file."""
        instances = results.get('instances', [])
        size = tuple(results['ori_shape'])
        try:
            rles = [segmentation_to_rle(instance['mask'], size) for instance in instances]
            masks = LabelMapMasks.from_rles(rles, size)
        except ValueError as error:
            raise ValueError(f'{results.get("img_path")}: its annotations: {error}') from error
        results['gt_masks'] = masks
        results['gt_bboxes'] = masks.get_bboxes(self.box_type)
        results['gt_ignore_flags'] = np.array(
            [instance['ignore_flag'] for instance in instances], dtype=bool
        )
        self._load_labels(results)
        return results


@TRANSFORMS.register_module()
class SemanticFromInstances(BaseTransform):
    """Paint the instances into a semantic map; goes after all augmentation.

    Required Keys: gt_masks (LabelMapMasks), gt_bboxes_labels, gt_ignore_flags (optional).
    Added Keys: gt_seg_map ((H, W) uint8: 0 = background, label + 1 = inside an instance of that
    label, 255 = inside an ignored one), ignore_index.
    """

    def transform(self, results: dict) -> dict:
        """Derive ``results['gt_seg_map']``; where instances overlap, the first one shows."""
        labels = np.asarray(results['gt_bboxes_labels'])
        if len(labels) and labels.max() + 1 >= IGNORE_INDEX:
            raise ValueError(f'at most {IGNORE_INDEX - 1} classes fit a uint8 semantic map')
        class_of = np.concatenate([[0], labels + 1]).astype(np.uint8)
        ignored: Any = results.get('gt_ignore_flags')
        if ignored is not None:
            class_of[1:][np.asarray(ignored, dtype=bool)] = IGNORE_INDEX
        results['gt_seg_map'] = class_of[results['gt_masks'].to_label_map()]
        results['ignore_index'] = IGNORE_INDEX
        return results
