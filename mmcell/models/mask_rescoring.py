"""Scores that follow the masks: a detector of points or boxes knows little of how they turn out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.structures import InstanceData
from torch import Tensor


def rescore_by_masks(
    instances: InstanceData, mask_weight: float, threshold: float = 0.5
) -> InstanceData:
    """Detections with scores s^(1 - w) q^w, the best first; q is the expected IoU of the mask.

    Args:
        instances: ``scores`` s in [0, 1] and ``masks`` (RoiMasks) of one image. With
            ``mask_scores``, these are s as well, on their own.
        mask_weight: w in [0, 1]; 0 leaves scores and order as they are.
        threshold: a pixel belongs to a mask if its value is >= this.

    Raises:
        ValueError: If the weight is not in [0, 1].

    Source: Wu et al., IoU-aware Single-stage Object Detector for Accurate Localization, Image and
    Vision Computing 97 (2020), whose network predicts the IoU of boxes; here it follows from the
    masks (:meth:`~mmcell.structures.RoiMasks.expected_iou`).
    """
    if not 0 <= mask_weight <= 1:
        raise ValueError(f'mask_score_weight must be in [0, 1], got {mask_weight}')
    if mask_weight == 0:
        return instances
    quality = instances.masks.expected_iou(threshold)
    for name in ('scores', 'mask_scores'):
        if name in instances:
            setattr(instances, name, instances[name] ** (1 - mask_weight) * quality**mask_weight)
    return _taken(instances, instances.scores.argsort(descending=True, stable=True))


def rescore_and_suppress(
    instances: InstanceData, test_cfg: Mapping[str, Any], threshold: float = 0.5
) -> InstanceData:
    """Detections of one image as ``test_cfg`` wants them by their masks, the best first.

    Args:
        instances: as in :func:`rescore_by_masks`.
        test_cfg: ``mask_score_weight``, see :func:`rescore_by_masks`, by default 0, and
            ``mask_nms``: masks whose IoU with a better one is > this are dropped. Without it, or if
            it is None, all stay.
        threshold: a pixel belongs to a mask if its value is >= this.

    Raises:
        ValueError: If the weight is not in [0, 1].
    """
    instances = rescore_by_masks(instances, test_cfg.get('mask_score_weight', 0.0), threshold)
    iou = test_cfg.get('mask_nms')
    if iou is None:
        return instances
    return _taken(instances, instances.masks.nms(instances.scores, iou, threshold))


def _taken(instances: InstanceData, index: Tensor) -> InstanceData:
    """``instances[index]``, for which MMEngine would cut masks out one by one."""
    fields = {name: values[index] for name, values in instances.items()}
    return InstanceData(metainfo=instances.metainfo, **fields)
