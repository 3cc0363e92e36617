"""Object-guided instance segmentation with center keypoints."""

from __future__ import annotations

from typing import Any

from mmdet.models.detectors import SingleStageDetector
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor


@MODELS.register_module()
class CenterKeypointDetector(SingleStageDetector):
    """Finds objects by their center keypoints and segments each box at its own resolution.

    ``backbone`` gives levels at strides 1, 2, 4, ... (:class:`FullResolutionResNet`), ``neck``
    decodes those from stride 4 on (:class:`UShapedDecoder` with two raw levels), ``bbox_head``
    detects on the finest decoded one (:class:`CenterKeypointHead`). Boxes are segmented on all
    levels of the neck.

    Segmentation learns on ground-truth boxes. Classes differ in their heatmaps alone; suppression
    by masks is across classes.

    Args:
        mask_head: config of the segmentation branch (:class:`ObjectGuidedMaskHead`).
        point_head: config of the auxiliary refinement (:class:`PointRefineHead`), which acts in
            training only; None leaves it out.
        **kwargs: as in MMDetection's ``SingleStageDetector``. ``test_cfg`` has ``max_per_img``,
            ``score_thr``, ``mask_thr`` and ``mask_nms``.

    Source: Yi et al., Object-Guided Instance Segmentation With Auxiliary Feature Refinement for
    Biological Images, IEEE TMI 40 (2021) 2403-2414, fig. 1.
    """

    def __init__(self, *, mask_head: dict, point_head: dict | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_head = MODELS.build({**mask_head, 'test_cfg': self.test_cfg})
        self.point_head = MODELS.build(point_head) if point_head else None

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Levels of the neck, finest first; float32 also under autocast: boxes are sampled."""
        return tuple(level.float() for level in super().extract_feat(batch_inputs))

    def _detection_level(self, levels: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (levels[self.neck.num_raw_levels],)

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            batch_inputs: (B, 3, H, W), normalised images.
            batch_data_samples: ``gt_instances`` (``bboxes``, ``labels``, ``masks``).

        Returns:
            ``loss_center_heatmap``, ``loss_wh``, ``loss_offset`` (detection), ``loss_mask``
            (segmentation) and, with a ``point_head``, ``loss_point_refine``.
        """
        levels = self.extract_feat(batch_inputs)
        losses = self.bbox_head.loss(self._detection_level(levels), batch_data_samples)
        batch_gt_instances, _, _ = unpack_gt_instances(batch_data_samples)
        objects = list(self.mask_head.segment_objects(levels, batch_gt_instances))
        losses.update(self.mask_head.loss(objects))
        if not objects:
            # Only masks are made of the finest level; its layers get a gradient of 0.
            losses['loss_mask'] = losses['loss_mask'] + levels[0].sum() * 0
        if self.point_head is not None:
            losses.update(self.point_head.loss(objects))
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
            The samples with ``pred_instances``, best first: ``bboxes``, ``scores``, ``labels`` and
            ``masks`` (RoiMasks on grids of their own, somewhat larger than the boxes).
        """
        levels = self.extract_feat(batch_inputs)
        results = self.bbox_head.predict(
            self._detection_level(levels), batch_data_samples, rescale=False
        )
        img_metas = [sample.metainfo for sample in batch_data_samples]
        results = self.mask_head.predict(levels, results, img_metas, rescale)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None
    ) -> tuple[list[Tensor], ...]:
        """Maps of the detection head: what MMDetection's analysis tools run."""
        return self.bbox_head(self._detection_level(self.extract_feat(batch_inputs)))
