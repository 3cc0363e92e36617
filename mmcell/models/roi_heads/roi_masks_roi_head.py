"""MMDetection's RoI heads, with masks that stay in their boxes."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures.bbox import HorizontalBoxes, bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.models.detection_limit import warn_at_limit
from mmcell.models.finite_maps import check_finite_maps
from mmcell.models.mask_rescoring import rescore_by_masks
from mmcell.structures import RoiMasks

MASK_BATCH = 256
"""RoIs that pass through the mask heads at a time: 4,000 at once would need gigabytes."""


class RoiMasksMixin:
    """Makes a ``StandardRoIHead``, or a head below it, predict :class:`RoiMasks`.

    Placed before MMDetection's class among the bases. Nothing is pasted into full-size images. A
    head that predicts more than its mask head does extends :meth:`_predict_rois` and, if that is
    more than masks, :meth:`_add_predictions`.

    ``test_cfg`` may have

    - ``mask_score_weight``, 0 (the default) to 1, with which scores follow the masks: see
      :func:`~mmcell.models.mask_rescoring.rescore_by_masks`;
    - ``mask_enlarge``, at least 1 (the default): a factor on both sides of the boxes that masks are
      predicted in, around their centers, so that a mask is not cut where its box is a little small.
      ``bboxes`` are not changed.
    """

    def _bbox_forward(self, x: tuple[Tensor, ...], rois: Tensor) -> dict:
        """As in the parent, in float32 around the layers: mmcv's RoIAlign and NMS want it."""
        results = super()._bbox_forward(tuple(level.float() for level in x), rois)
        return {name: values.float() for name, values in results.items()}

    def bbox_loss(self, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]) -> dict:
        """As in the parent; without any RoI there is still a ``loss_cls``, 0.

        Where all RoIs of a process lie in ignored regions, its classifier would have no gradient,
        for which the other processes wait.
        """
        results = super().bbox_loss(x, sampling_results)
        results['loss_bbox'].setdefault('loss_cls', results['cls_score'].sum() * 0)
        return results

    def _mask_forward(self, x: tuple[Tensor, ...], *args: Any, **kwargs: Any) -> dict:
        """As in the parent, with float32 levels: mmcv's RoIAlign wants them."""
        return super()._mask_forward(tuple(level.float() for level in x), *args, **kwargs)

    def predict_mask(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        results_list: list[InstanceData],
        rescale: bool = False,
    ) -> list[InstanceData]:
        """The detections of each image with ``masks`` (RoiMasks), the best first.

        Args:
            x: levels of the neck.
            batch_img_metas: ``ori_shape``, ``img_shape`` and ``scale_factor`` of each image.
            results_list: ``bboxes`` at network scale, ``labels`` and ``scores`` of each image.
            rescale: give boxes and masks in pixels of the original images.

        Raises:
            ValueError: If levels have NaN or infinite values, which would give no objects; or
                ``mask_enlarge`` is below 1.
        """
        check_finite_maps(x, batch_img_metas, 'features')
        enlarge = self.test_cfg.get('mask_enlarge', 1.0)
        mask_boxes = [
            _enlarged(results.bboxes, enlarge, img_meta['img_shape'][:2])
            for results, img_meta in zip(results_list, batch_img_metas, strict=True)
        ]
        rois = bbox2roi(mask_boxes)
        labels = torch.cat([results.labels for results in results_list])
        parts = [
            self._predict_rois(x, *batch)
            for batch in zip(rois.split(MASK_BATCH), labels.split(MASK_BATCH), strict=True)
        ]
        predictions = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        counts = [len(results) for results in results_list]
        for i, (results, img_meta) in enumerate(zip(results_list, batch_img_metas, strict=True)):
            warn_at_limit(
                len(results),
                self.test_cfg.max_per_img,
                'model.test_cfg.rcnn.max_per_img',
                img_meta,
            )
            image_size, boxes = img_meta['img_shape'][:2], mask_boxes[i]
            if rescale:
                scale = boxes.new_tensor(img_meta['scale_factor']).repeat(2)
                results.bboxes, boxes = results.bboxes / scale, boxes / scale
                image_size = img_meta['ori_shape'][:2]
            mine = {name: values.split(counts)[i] for name, values in predictions.items()}
            self._add_predictions(results, boxes, image_size, **mine)
        weight = self.test_cfg.get('mask_score_weight', 0.0)
        return [rescore_by_masks(results, weight) for results in results_list]

    def _predict_rois(
        self, x: tuple[Tensor, ...], rois: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Predictions for one batch of RoIs: ``mask_probs`` (n, M, M)."""
        mask_logits = self._mask_forward(x, rois)['mask_preds']
        return {'mask_probs': self.foreground_probs(mask_logits, labels)}

    def _add_predictions(
        self,
        results: InstanceData,
        mask_boxes: Tensor,
        image_size: tuple[int, int],
        mask_probs: Tensor,
    ) -> None:
        """Store the predictions of one image's RoIs, ``mask_boxes`` (n, 4), with its detections."""
        results.masks = RoiMasks(mask_boxes, mask_probs, image_size)

    def foreground_probs(self, mask_logits: Tensor, labels: Tensor) -> Tensor:
        """Pick the channel of each RoI's class: (n, C, M, M) and (n,) to (n, M, M) float32."""
        if self.mask_head.class_agnostic:
            return mask_logits[:, 0].float().sigmoid()
        first = int(getattr(self.mask_head, 'has_background_channel', False))
        rows = torch.arange(len(labels), device=labels.device)
        return mask_logits[rows, labels + first].float().sigmoid()


def _enlarged(boxes: Tensor, factor: float, image_size: tuple[int, int]) -> Tensor:
    """(N, 4) boxes with sides ``factor`` times as long, cut off at the image's border."""
    if not factor >= 1:
        raise ValueError(f'mask_enlarge must be at least 1, got {factor}')
    if factor == 1:
        return boxes
    larger = HorizontalBoxes(boxes, clone=True)
    larger.resize_((factor, factor))
    larger.clip_(image_size)
    return larger.tensor


@MODELS.register_module()
class RoiMasksRoIHead(RoiMasksMixin, StandardRoIHead):
    """``StandardRoIHead`` whose ``pred_instances.masks`` is a :class:`RoiMasks`.

    Switches the built-in Mask R-CNN to masks in their boxes: ``roi_head=dict(type=
    'RoiMasksRoIHead')``.
    """
