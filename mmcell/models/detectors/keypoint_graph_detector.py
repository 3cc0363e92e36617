"""Instance segmentation in boxes that keypoints and a graph between them give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.models.mask_rescoring import rescore_and_suppress
from mmcell.structures import RoiMasks


@MODELS.register_module()
class KeypointGraphDetector(SingleStageDetector):
    """Boxes by keypoints on several scales, then a mask in every box at the box's own resolution.

    Args:
        mask_head: config of a :class:`KeypointGraphMaskHead`.
        segment_from: 'branch' gives it the backbone's features, to be joined within each box;
            's1' the finest level of the decoder, which the paper compares with.
        backbone: config of a :class:`FullResolutionResNet`; the authors' program: ResNet-50 to its
            third stage, that is stride 16.
        neck: config of a :class:`UShapedDecoder` without raw levels.
        bbox_head: config of a :class:`KeypointGraphHead`.
        test_cfg: of the head (see there); besides, ``mask_nms`` drops masks whose IoU with a
            better one is > this. None, the default, as in the paper, does not.
            ``mask_score_weight``, 0 (the default, as in the paper) to 1, makes scores follow the
            masks: see :func:`~mmcell.models.mask_rescoring.rescore_by_masks`.
        **kwargs: as in MMDetection's ``SingleStageDetector``.

    Raises:
        ValueError: If ``segment_from`` is unknown, or ``mask_head`` is not made for it.

    Source: Yi et al., Multi-scale Cell Instance Segmentation with Keypoint Graph Based Bounding
    Boxes, MICCAI 2019.
    """

    def __init__(self, *, mask_head: dict, segment_from: str = 'branch', **kwargs: Any) -> None:
        if segment_from not in ('branch', 's1'):
            raise ValueError(f"segment_from must be 'branch' or 's1', got {segment_from!r}")
        super().__init__(**kwargs)
        self.segment_from = segment_from
        self.mask_head = MODELS.build(mask_head)
        num_levels = len(self.mask_head.combinations) + 1
        if (num_levels == 1) != (segment_from == 's1'):
            raise ValueError(
                "mask_head.in_channels must have one level for segment_from='s1' and those of the "
                f'backbone otherwise, got {num_levels} for {segment_from!r}'
            )

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            batch_inputs: (B, 3, H, W), normalised images.
            batch_data_samples: with ``gt_instances.masks``; where ``ignored_instances`` have some,
                nothing is learned.

        Returns:
            ``loss_heatmap_s1``, ``loss_short_offsets_s1``, ``loss_mid_offsets_s1`` of each scale,
            and ``loss_mask``.
        """
        label_maps = _label_maps(batch_data_samples, batch_inputs)
        decoded, for_masks = self._extract_levels(batch_inputs)
        ignored = _ignored_pixels(batch_data_samples, batch_inputs)
        losses = self.bbox_head.loss(decoded, label_maps, ignored)
        losses.update(self.mask_head.loss(for_masks, label_maps))
        return losses

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Detect and segment.

        Args:
            batch_inputs: (B, 3, H, W), normalised images.
            batch_data_samples: meta information of each image.
            rescale: give results in pixels of the original images.

        Returns:
            The samples with ``pred_instances``: ``bboxes``, ``scores``, ``labels`` (all 0) and
            ``masks`` (RoiMasks), the best first.
        """
        metas = [sample.metainfo for sample in batch_data_samples]
        decoded, for_masks = self._extract_levels(batch_inputs)
        results = self.bbox_head.predict(decoded, metas)
        counts = [len(found) for found in results]
        boxes = torch.cat([found.bboxes for found in results])
        images = torch.arange(len(counts), device=boxes.device)
        images = images.repeat_interleave(torch.tensor(counts, device=boxes.device))
        boxes, probs = self.mask_head.predict_masks(for_masks, boxes, images)
        start = 0
        finished = []
        for found, count, meta in zip(results, counts, metas, strict=True):
            mine = slice(start, start + count)
            finished.append(self._with_masks(found, boxes[mine], probs[mine], meta, rescale))
            start += count
        return self.add_pred_to_datasample(batch_data_samples, finished)

    def _extract_levels(self, batch_inputs: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Levels of the decoder, and those that masks are made from."""
        features = self.backbone(batch_inputs)
        decoded = self.neck(features)
        return decoded, features if self.segment_from == 'branch' else decoded[:1]

    def _with_masks(
        self, found: InstanceData, boxes: Tensor, probs: list[Tensor], meta: dict, rescale: bool
    ) -> InstanceData:
        """Detections of one image with their masks; boxes below two pixels have none and go."""
        present = torch.tensor([mask.numel() > 0 for mask in probs], dtype=torch.bool)
        found, boxes = found[present.to(boxes.device)], boxes[present.to(boxes.device)]
        image_size = meta['img_shape'][:2]
        if rescale:
            boxes = boxes / boxes.new_tensor(meta['scale_factor']).repeat(2)
            image_size = meta['ori_shape'][:2]
        found.bboxes = boxes
        found.masks = RoiMasks(boxes, [mask for mask in probs if mask.numel()], image_size)
        return rescore_and_suppress(found, self.test_cfg or {})


def _label_maps(batch_data_samples: list[DetDataSample], batch_inputs: Tensor) -> Tensor:
    """(B, H, W) int64 labels of the objects, padded like the images, on their device."""
    height, width = batch_inputs.shape[-2:]
    padded = []
    for sample in batch_data_samples:
        masks = sample.gt_instances.get('masks')
        if not hasattr(masks, 'to_label_map'):
            raise ValueError(
                'KeypointGraphDetector needs gt_instances.masks as LabelMapMasks, got '
                f'{type(masks).__name__}: put LoadCellAnnotations into the train_pipeline'
            )
        labels = torch.from_numpy(masks.to_label_map()).to(batch_inputs.device).long()
        padded.append(F.pad(labels, (0, width - masks.width, 0, height - masks.height)))
    return torch.stack(padded)


def _ignored_pixels(batch_data_samples: list[DetDataSample], batch_inputs: Tensor) -> Tensor | None:
    """(B, H, W) bool, padded like the images, on their device; None where there are none."""
    ignored = batch_inputs.new_zeros(len(batch_inputs), *batch_inputs.shape[-2:], dtype=torch.bool)
    for pixels, sample in zip(ignored, batch_data_samples, strict=True):
        masks = sample.get('ignored_instances', {}).get('masks', ())
        if len(masks):
            pixels[: masks.height, : masks.width] = torch.from_numpy(masks.to_label_map() > 0)
    return ignored if ignored.any() else None
