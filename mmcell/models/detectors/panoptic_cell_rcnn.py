"""Panoptic Cell R-CNN family: Cell R-CNN, Cell R-CNN V2 and PFFNet (V3)."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from mmcell.models.roi_heads.panoptic_roi_head import PanopticRoIHead


@MODELS.register_module()
class PanopticCellRCNN(TwoStageDetector):
    """Two-stage instance segmentation that learns semantics in both branches.

    ===============  ============================  ================  ========================
    system           semantic branch               instance branch   further losses
    ===============  ============================  ================  ========================
    Cell R-CNN       ``semantic_head``             Mask R-CNN        none
    Cell R-CNN V2    ``semantic_head``             replacement       none
    PFFNet           ``semantic_head``             RAFF              quality and consistency
    Panoptic FPN     ``semantic_head`` (on neck)   Mask R-CNN        none
    ===============  ============================  ================  ========================

    The semantic parts are run in training only, unless a prediction asks for the semantic map.

    Args:
        semantic_head: config of the semantic branch: on the backbone's features
            (:class:`GCNSemanticHead`), or on the neck's if the head has ``on_neck = True``
            (:class:`PanopticFPNSemanticHead`).
        instance_semantic_head: config of the semantic task of the instance branch
            (:class:`RAFF`); needs a :class:`PanopticRoIHead`.
        loss_consistency: config of the loss between both semantic predictions
            (:class:`SemanticConsistencyLoss`); needs both heads.
        semantic_interval: the semantic heads learn in every ``semantic_interval``-th iteration, the
            first one among them; the others take less time. Above 1, distributed training needs
            ``find_unused_parameters = True`` in the config. Losses keep their weights: in the
            mean over iterations they are divided by ``semantic_interval``. Not in the paper; known
            as lazy regularisation (Karras et al., StyleGAN2, CVPR 2020, section 3.1).
        **kwargs: as in MMDetection's ``TwoStageDetector``.

    Raises:
        ValueError: If ``loss_consistency`` is given without both semantic heads,
            ``instance_semantic_head`` without a :class:`PanopticRoIHead`, or ``semantic_interval``
            is below 1.

    Source: Liu et al., PFFNet, IEEE TIP 30 (2021) 2045-2059, fig. 1 and eq. 5.
    """

    def __init__(
        self,
        *,
        semantic_head: dict | None = None,
        instance_semantic_head: dict | None = None,
        loss_consistency: dict | None = None,
        semantic_interval: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if instance_semantic_head and not isinstance(self.roi_head, PanopticRoIHead):
            raise ValueError(
                "instance_semantic_head needs roi_head.type='PanopticRoIHead', "
                f'got {type(self.roi_head).__name__!r}'
            )
        if loss_consistency and not (semantic_head and instance_semantic_head):
            raise ValueError('loss_consistency needs semantic_head and instance_semantic_head')
        if semantic_interval < 1:
            raise ValueError(f'semantic_interval must be at least 1, got {semantic_interval}')
        self.semantic_interval = semantic_interval

        def build(config: dict | None) -> torch.nn.Module | None:
            return MODELS.build(config) if config else None

        self.semantic_head = build(semantic_head)
        self.instance_semantic_head = build(instance_semantic_head)
        self.loss_consistency = build(loss_consistency)

    def init_weights(self) -> None:
        """Draw the initial weights, those of backbone, neck and RPN from the seed alone.

        What building the heads took from the random generator is given back, so systems of the
        family that are compared at one seed start from the same features: short trainings from
        scratch differ more by them than by the system.
        """
        torch.manual_seed(torch.initial_seed())
        super().init_weights()

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            batch_inputs: (B, 3, H, W), normalised images.
            batch_data_samples: ``gt_instances`` (``bboxes``, ``labels``, ``masks``) and, if there
                is a semantic head, ``gt_sem_seg``.

        Returns:
            ``loss_rpn_cls``, ``loss_rpn_bbox``, ``loss_cls``, ``loss_bbox``, ``loss_mask``,
            ``loss_mask_quality``, ``loss_semantic`` (semantic branch), ``loss_instance_semantic``
            (instance branch) and ``loss_consistency``: the nine terms of eq. 5, as far as their
            heads are configured and, the last three, the iteration is one of those with semantic
            losses; beside them the accuracy ``acc`` of the box head.
        """
        features, levels = self._extract_levels(batch_inputs)
        losses, proposals = self._rpn_loss_and_proposals(levels, batch_data_samples)
        image_size = tuple(batch_inputs.shape[-2:])
        # Of the running iteration, so that a resumed training goes on in step.
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        with_semantics = iteration % self.semantic_interval == 0
        fused = scores = None
        if self.instance_semantic_head is None or not with_semantics:
            losses.update(self.roi_head.loss(levels, proposals, batch_data_samples))
        else:
            roi_losses, instances = self.roi_head.loss_and_instances(
                levels, proposals, batch_data_samples
            )
            losses.update(roi_losses)
            fused = self.instance_semantic_head(levels[0], instances, image_size)
        if self.semantic_head is not None and with_semantics:
            scores = self._semantic_scores(features, levels, image_size)

        if fused is not None or scores is not None:
            target = _semantic_target(batch_data_samples, image_size)
            if scores is not None:
                losses.update(self.semantic_head.loss(scores, target))
            if fused is not None:
                losses.update(self.instance_semantic_head.loss(fused, target))
            if self.loss_consistency is not None:
                losses['loss_consistency'] = self.loss_consistency(scores, fused, target)
        return losses

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: list[DetDataSample],
        rescale: bool = True,
        return_semantic: bool = False,
    ) -> list[DetDataSample]:
        """Detect and segment.

        Args:
            batch_inputs: (B, 3, H, W), normalised images.
            batch_data_samples: meta information of each image.
            rescale: give results in pixels of the original images.
            return_semantic: also run the semantic branch.

        Returns:
            The samples with ``pred_instances``: ``bboxes``, ``scores`` (class scores), ``labels``,
            ``masks`` (RoiMasks) and, with a quality head, ``mask_scores`` (s_conf of eq. 6); on
            request with ``pred_sem_seg.sem_seg`` (1, H, W) labels, 0 is background, and
            ``pred_sem_seg.probs`` (num_classes + 1, H, W).

        Raises:
            ValueError: If the semantic map is asked of a model without semantic branch.
        """
        if return_semantic and self.semantic_head is None:
            raise ValueError('return_semantic needs a model with a semantic_head')
        features, levels = self._extract_levels(batch_inputs)
        with _no_autocast(batch_inputs):
            proposals = self.rpn_head.predict(levels, batch_data_samples, rescale=False)
        results = self.roi_head.predict(levels, proposals, batch_data_samples, rescale=rescale)
        batch_data_samples = self.add_pred_to_datasample(batch_data_samples, results)
        if return_semantic:
            scores = self._semantic_scores(features, levels, tuple(batch_inputs.shape[-2:]))
            for sample, logits in zip(batch_data_samples, scores, strict=True):
                sample.pred_sem_seg = _semantic_prediction(logits, sample, rescale)
        return batch_data_samples

    def _extract_levels(
        self, batch_inputs: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Features of the backbone (C2..C5) and of the neck (P2..P6).

        The neck's are in float32 under autocast, too: mmcv's box operators (NMS, RoIAlign) take
        nothing else on a CPU.
        """
        features = self.backbone(batch_inputs)
        return features, tuple(level.float() for level in self.neck(features))

    def _semantic_scores(
        self,
        features: tuple[Tensor, ...],
        levels: tuple[Tensor, ...],
        image_size: tuple[int, int],
    ) -> Tensor:
        """(B, num_classes + 1, H, W) logits of the semantic branch."""
        on_neck = getattr(self.semantic_head, 'on_neck', False)
        return self.semantic_head(levels if on_neck else features, image_size)

    def _rpn_loss_and_proposals(
        self, levels: tuple[Tensor, ...], batch_data_samples: list[DetDataSample]
    ) -> tuple[dict[str, Tensor], list[InstanceData]]:
        """Losses of the region proposals, named ``loss_rpn_*``, and the proposals of each image."""
        class_agnostic = []
        for sample in batch_data_samples:
            boxes = sample.gt_instances.bboxes
            labels = torch.zeros_like(sample.gt_instances.labels)
            proposal_sample = DetDataSample(metainfo=sample.metainfo)
            proposal_sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
            if 'ignored_instances' in sample:
                proposal_sample.ignored_instances = sample.ignored_instances
            class_agnostic.append(proposal_sample)
        proposal_cfg = self.train_cfg.get('rpn_proposal', self.test_cfg.rpn)
        with _no_autocast(levels[0]):
            return self.rpn_head.loss_and_predict(levels, class_agnostic, proposal_cfg=proposal_cfg)


def _no_autocast(tensor: Tensor) -> torch.autocast:
    return torch.autocast(tensor.device.type, enabled=False)


def _semantic_target(
    batch_data_samples: list[DetDataSample], image_size: tuple[int, int]
) -> Tensor:
    """(B, H, W) int64 labels, padded like the images."""
    for sample in batch_data_samples:
        if 'gt_sem_seg' not in sample or tuple(sample.gt_sem_seg.shape) != image_size:
            raise ValueError(
                'the semantic losses need a gt_sem_seg as large as the padded images: put '
                'SemanticFromInstances before PackDetInputs into the train_pipeline, and '
                'pad_seg=True into the data_preprocessor'
            )
    return torch.cat([sample.gt_sem_seg.sem_seg for sample in batch_data_samples]).long()


def _semantic_prediction(logits: Tensor, sample: DetDataSample, rescale: bool) -> PixelData:
    """Class probabilities and labels of one image, without its padding."""
    height, width = sample.img_shape[:2]
    probs = logits[:, :height, :width].float().softmax(0)
    if rescale:
        probs = torch.nn.functional.interpolate(
            probs[None], sample.ori_shape[:2], mode='bilinear', align_corners=False
        )[0]
    return PixelData(sem_seg=probs.argmax(0, keepdim=True), probs=probs)
