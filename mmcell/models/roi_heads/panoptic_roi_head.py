"""Instance branch of PFFNet and Cell R-CNN V2."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.models.roi_heads.mask_quality_head import mask_quality_targets
from mmcell.models.roi_heads.roi_masks_roi_head import RoiMasksRoIHead


@MODELS.register_module()
class PanopticRoIHead(RoiMasksRoIHead):
    """RoI head that hands its instances to the semantic fusion and scores its masks.

    Args:
        mask_quality_head: config of a :class:`MaskQualityHead`; None leaves the quality out, as in
            Cell R-CNN V2.
        **kwargs: as in MMDetection's ``StandardRoIHead``.
    """

    def __init__(self, *, mask_quality_head: dict | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_quality_head = MODELS.build(mask_quality_head) if mask_quality_head else None

    def loss(
        self,
        x: tuple[Tensor, ...],
        rpn_results_list: list[InstanceData],
        batch_data_samples: list[DetDataSample],
    ) -> dict[str, Tensor]:
        """Losses alone, see :meth:`loss_and_instances`."""
        return self.loss_and_instances(x, rpn_results_list, batch_data_samples)[0]

    def loss_and_instances(
        self,
        x: tuple[Tensor, ...],
        rpn_results_list: list[InstanceData],
        batch_data_samples: list[DetDataSample],
    ) -> tuple[dict[str, Tensor], list[InstanceData]]:
        """Losses, and the instances as the network sees them now.

        Args:
            x: levels of the neck.
            rpn_results_list: proposals of each image.
            batch_data_samples: annotations of each image.

        Returns:
            ``loss_cls``, ``loss_bbox``, ``loss_mask`` and, with a quality head,
            ``loss_mask_quality``; and for each image the sampled positives with ``bboxes`` (N, 4),
            their RoIs, ``mask_logits`` (N, C, M, M) in these, and ``object_index`` (N,), the
            annotated object that each belongs to.
        """
        annotations, ignored, _ = unpack_gt_instances(batch_data_samples)
        samples = []
        for i, proposals in enumerate(rpn_results_list):
            proposals.priors = proposals.pop('bboxes')
            assigned = self.bbox_assigner.assign(proposals, annotations[i], ignored[i])
            features = [level[i : i + 1] for level in x]
            samples.append(
                self.bbox_sampler.sample(assigned, proposals, annotations[i], feats=features)
            )
        bbox_results = self.bbox_loss(x, samples)
        mask_results = self.mask_loss(x, samples, bbox_results['bbox_feats'], annotations)
        losses = {**bbox_results['loss_bbox'], **mask_results['loss_mask']}

        counts = [len(sample.pos_priors) for sample in samples]
        mask_logits = mask_results['mask_preds'].split(counts)
        instances = [
            InstanceData(
                # Where the masks were predicted. At the regressed boxes, which the paper names, a
                # right mask would lie beside its object, and be taught to be wrong.
                bboxes=sample.pos_priors,
                mask_logits=logits,
                object_index=sample.pos_assigned_gt_inds,
            )
            for logits, sample in zip(mask_logits, samples, strict=True)
        ]
        return losses, instances

    def mask_loss(
        self,
        x: tuple[Tensor, ...],
        sampling_results: list,
        bbox_feats: Tensor,
        batch_gt_instances: list[InstanceData],
    ) -> dict:
        """As in ``StandardRoIHead``, with the loss of the mask quality."""
        boxes = [result.pos_priors for result in sampling_results]
        results = self._mask_forward(x, bbox2roi(boxes))
        mask_preds, mask_feats = results['mask_preds'], results['mask_feats']
        results.update(
            self.mask_head.loss_and_target(
                mask_preds, sampling_results, batch_gt_instances, self.train_cfg
            )
        )
        if self.mask_quality_head is not None:
            labels = torch.cat([result.pos_gt_labels for result in sampling_results])
            probs = self.foreground_probs(mask_preds, labels)
            areas = [
                probs.new_tensor(instances.masks.areas)[result.pos_assigned_gt_inds]
                for result, instances in zip(sampling_results, batch_gt_instances, strict=True)
            ]
            targets = mask_quality_targets(
                probs, results['mask_targets'], torch.cat(boxes), torch.cat(areas)
            )
            quality = self.mask_quality_head(mask_feats, probs)
            results['loss_mask'].update(self.mask_quality_head.loss(quality, targets))
        return results

    def _predict_rois(
        self, x: tuple[Tensor, ...], rois: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Predictions for one batch of RoIs: ``mask_probs`` (n, M, M), ``quality`` (n,)."""
        results = self._mask_forward(x, rois)
        predictions = {'mask_probs': self.foreground_probs(results['mask_preds'], labels)}
        if self.mask_quality_head is not None:
            quality = self.mask_quality_head(results['mask_feats'], predictions['mask_probs'])
            predictions['quality'] = quality.float().sigmoid()
        return predictions

    def _add_predictions(
        self,
        results: InstanceData,
        mask_boxes: Tensor,
        image_size: tuple[int, int],
        mask_probs: Tensor,
        quality: Tensor | None = None,
    ) -> None:
        """Store masks and, with a quality head, ``mask_scores``: s_conf = s_cls * s_qua (eq. 6)."""
        super()._add_predictions(results, mask_boxes, image_size, mask_probs)
        if quality is not None:
            results.mask_scores = results.scores * quality
