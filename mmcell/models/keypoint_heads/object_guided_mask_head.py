"""Object-guided segmentation of boxes at their own resolution."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.functional.ragged_rois import PaddedRois, crop_objects, enlarged_levels, unpad_rois
from mmcell.models.keypoint_heads.center_keypoint_head import pixel_index_boxes
from mmcell.models.keypoint_heads.roi_segmentation import (
    RoiPart,
    RoiSegmentationBranch,
    roi_cross_entropy,
)
from mmcell.models.mask_rescoring import rescore_and_suppress
from mmcell.structures import LabelMapMasks, RoiMasks


class SegmentedObjects(NamedTuple):
    """A batch of ground-truth boxes with what should have been found in them.

    Attributes:
        part: the boxes, segmented.
        targets: (n, 1, h, w) values in [0, 1], the object at the samples of ``part.logits``.
    """

    part: RoiPart
    targets: PaddedRois


@MODELS.register_module()
class ObjectGuidedMaskHead(BaseModule):
    """Segments boxes coarse to fine; the detector's features tell the object from its neighbours.

    Shallow features show contours, those that detect say which one is meant. Every box is sampled
    at the resolution of the image, somewhat enlarged, and normalised on its own. Segmentation does
    not look at classes: it is the same for all of them.

    Args:
        in_channels: channels of the levels, finest first, level l reduced by 2^l: two shallow ones
            of the backbone, then those of the detection branch.
        head_channels: channels between the two last convolutions.
        enlarge: factor on the sides of a box (1.1 in the authors' program).
        affine: learned scale and shift behind the norm (eq. 6); the authors' program has none.
        max_rois: in training, draw at most this many objects of each image; None takes all.
        jitter: in training, move every side of a true box by up to this fraction of the box's width
            or height, as detected boxes are off: else the head learns that an object fills its box.
            0 in the paper.
        loss_weight: of the cross entropy (the authors' program: 2).
        test_cfg: ``mask_thr``, a pixel belongs to an object if its probability is >= this;
            ``mask_nms``, the IoU above which the worse of two masks is dropped, None keeps all;
            ``mask_score_weight``, how much scores follow the masks instead of the centers, 0 (as in
            the paper) to 1: see :func:`~mmcell.models.mask_rescoring.rescore_by_masks`.
        init_cfg: MMEngine initialisation.

    Source: Yi et al., IEEE TMI 2021, II-B.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        head_channels: int = 64,
        enlarge: float = 1.1,
        affine: bool = True,
        max_rois: int | None = None,
        jitter: float = 0.0,
        loss_weight: float = 2.0,
        test_cfg: ConfigDict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.branch = RoiSegmentationBranch(in_channels, head_channels, True, affine)
        self.num_levels, self.enlarge = len(in_channels), enlarge
        self.max_rois, self.jitter = max_rois, jitter
        self.loss_weight, self.test_cfg = loss_weight, test_cfg

    def segment_objects(
        self, features: Sequence[Tensor], batch_gt_instances: Sequence[InstanceData]
    ) -> Iterator[SegmentedObjects]:
        """Segment the ground-truth boxes of a batch.

        Args:
            features: (B, C_l, H_l, W_l) levels, finest first, float32.
            batch_gt_instances: ``bboxes`` and ``masks`` (LabelMapMasks or BitmapMasks).

        Yields:
            Boxes of similar size; those below 2 pixels are in none.
        """
        chosen = [self._draw(instances) for instances in batch_gt_instances]
        boxes, batch_index = _of_all_images([instances.bboxes for instances in chosen])
        if self.jitter:
            moves = self.jitter * (2 * torch.rand_like(boxes) - 1)
            boxes = boxes + moves * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        layers, layer_index, ids = label_layers([instances.masks for instances in chosen])
        layers, layer_index, ids = (t.to(boxes.device) for t in (layers, layer_index, ids))
        levels = enlarged_levels(pixel_index_boxes(boxes), self.num_levels, self.enlarge)
        for part in self.branch(features, levels, batch_index):
            members = part.members
            samples = levels.boxes[members, 0], levels.sizes[members, 0]
            targets = crop_objects(layers, ids[members], *samples, layer_index[members])
            yield SegmentedObjects(part, targets)

    def _draw(self, instances: InstanceData) -> InstanceData:
        if self.max_rois is None or len(instances) <= self.max_rois:
            return instances
        return instances[torch.randperm(len(instances))[: self.max_rois]]

    def loss(self, objects: Sequence[SegmentedObjects]) -> dict[str, Tensor]:
        """``loss_mask``: cross entropy, a mean over the samples of each box, then over boxes."""
        losses = [roi_cross_entropy(part.logits, targets) for part, targets in objects]
        return {'loss_mask': self.loss_weight * mean_loss(losses, self)}

    def predict(
        self,
        features: Sequence[Tensor],
        results_list: list[InstanceData],
        batch_img_metas: list[dict],
        rescale: bool = True,
    ) -> list[InstanceData]:
        """Add ``masks`` (RoiMasks) to the detections of each image.

        Args:
            features: levels as for :meth:`segment_objects`.
            results_list: ``bboxes`` at network scale, ``scores``, ``labels`` of each image.
            batch_img_metas: ``img_shape``, ``ori_shape`` and ``scale_factor`` of each image.
            rescale: give boxes and masks in pixels of the original images.

        Returns:
            What has a mask; not: boxes below 2 pixels, which the paper leaves out, and boxes in
            which nothing was found.
        """
        boxes, batch_index = _of_all_images([results.bboxes for results in results_list])
        levels = enlarged_levels(pixel_index_boxes(boxes), self.num_levels, self.enlarge)
        threshold = self.test_cfg.mask_thr
        parts, found = [], torch.zeros_like(batch_index, dtype=torch.bool)
        for members, logits, _ in self.branch(features, levels, batch_index):
            probs = PaddedRois(logits.values.sigmoid() * logits.inside(), logits.sizes)
            parts.append((members, probs))
            found[members] = probs.values.amax((1, 2, 3)) >= threshold
        grids = unpad_rois(parts, len(boxes))
        spans = _spanned(levels.boxes[:, 0], levels.sizes[:, 0])
        results = []
        for image, (instances, img_meta) in enumerate(
            zip(results_list, batch_img_metas, strict=True)
        ):
            _report_too_small(levels.counts[batch_index == image], img_meta)
            kept = found[batch_index == image]
            members = torch.nonzero(found & (batch_index == image)).flatten()
            instances, span = instances[kept], spans[members]
            size = img_meta['img_shape'][:2]
            if rescale:
                scale = boxes.new_tensor(img_meta['scale_factor']).repeat(2)
                instances.bboxes, span = instances.bboxes / scale, span / scale
                size = img_meta['ori_shape'][:2]
            instances.masks = RoiMasks(span, [grids[k][0] for k in members.tolist()], size)
            results.append(rescore_and_suppress(instances, self.test_cfg, threshold))
        return results


def mean_loss(losses: Sequence[Tensor], module: torch.nn.Module) -> Tensor:
    """Mean over all boxes of all batches; without boxes 0.

    Every parameter of ``module`` takes part, if only with a gradient of 0: boxes may be too small
    for some levels, and distributed training waits for gradients that do not come.
    """
    unused = sum(parameter.sum() for parameter in module.parameters()) * 0
    of_boxes = torch.cat([*losses, unused.new_zeros(0)])
    return of_boxes.sum() / max(len(of_boxes), 1) + unused


def label_layers(
    batch_masks: Sequence[LabelMapMasks | BitmapMasks],
) -> tuple[Tensor, Tensor, Tensor]:
    """All masks of a batch as label layers of one size.

    Returns:
        (K, H, W) int32 layers of all images, and for each of N objects the (N,) int64 layer that
        it is on and the (N,) int64 value that it has there.
    """
    layers, index, ids = [], [], []
    for masks in batch_masks:
        first = sum(map(len, layers))
        if isinstance(masks, LabelMapMasks):
            layers.append(masks.layers)
            index.append(first + masks.layer_index())
            ids.append(masks.ids)
        else:
            layers.append(masks.masks.astype(np.int32))
            index.append(first + np.arange(len(masks)))
            ids.append(np.ones(len(masks), dtype=np.int64))
    height, width = (max(part.shape[axis] for part in layers) for axis in (1, 2))
    padded = [
        F.pad(torch.from_numpy(part), (0, width - part.shape[2], 0, height - part.shape[1]))
        for part in layers
    ]
    return torch.cat(padded), *(torch.from_numpy(np.concatenate(part)) for part in (index, ids))


def _of_all_images(batch_boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Boxes of all images, and the (N,) int64 image of each."""
    boxes = torch.cat(list(batch_boxes))
    counts = torch.tensor([len(part) for part in batch_boxes])
    return boxes, torch.arange(len(counts)).repeat_interleave(counts).to(boxes.device)


def _spanned(ends: Tensor, sizes: Tensor) -> Tensor:
    """Boxes in image pixels whose equal cells have their centers at the samples of a grid."""
    half = (ends[:, 2:] - ends[:, :2]) / (sizes.flip(1) - 1).clamp(min=1) / 2
    return torch.cat([ends[:, :2] - half, ends[:, 2:] + half], dim=1) + 0.5


def _report_too_small(counts: Tensor, img_meta: dict) -> None:
    number = int((counts == 0).sum())
    if number:
        print_log(
            f'{img_meta.get("img_path", "an image")}: {number} detections below 2 pixels are left '
            'out, they have no mask',
            'current',
            logging.DEBUG,  # many, in the first validations of a training
        )
