"""One image's detections against its ground truth, with their confidence and their overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from mmdet.structures.mask import encode_mask_results

from mmcell.functional.rle import Rle
from mmcell.functional.scores import RankedMatches, box_ious, ranked_matches, rle_ious
from mmcell.structures.flattening import masks_to_rles


def match_detections(
    gt: Mapping[str, Any],
    pred: Mapping[str, Any],
    kinds: Sequence[str],
    num_classes: int = 1,
    mask_threshold: float = 0.5,
    strict: bool = False,
) -> dict[str, list[RankedMatches]]:
    """Decide which detections of an image are right, class by class.

    Args:
        gt: ``masks`` (LabelMapMasks or BitmapMasks) or ``bboxes`` ((N, 4) pixels of the image) of
            the objects; ``labels``, with more than one class.
        pred: the same of the detections, ``masks`` in any form of
            :data:`~mmcell.structures.flattening.Masks`; and ``scores``. Masks are ranked by
            ``mask_scores`` where there are some.
        kinds: 'masks', 'boxes' or both.
        num_classes: 1 compares everything with everything.
        mask_threshold: as in :class:`~mmcell.evaluation.cell_metric.CellMetric`.
        strict: a match needs IoU > threshold instead of >=.

    Returns:
        For each kind the matches of each class, at all ``IOU_THRESHOLDS``.

    Raises:
        ValueError: If boxes are asked for and missing.
    """
    members = [
        (_members(gt, label, num_classes), _members(pred, label, num_classes))
        for label in range(num_classes)
    ]
    matches = {}
    for kind in kinds:
        if kind == 'masks':
            gt_shapes: Any = _object_array(_gt_rles(gt['masks']))
            shapes: Any = _object_array(masks_to_rles(pred['masks'], mask_threshold))
            compare: Any = rle_ious
            confidence = pred.get('mask_scores', pred['scores'])
        else:
            gt_shapes, shapes = _boxes(gt, 'ground truth'), _boxes(pred, 'predictions')
            compare, confidence = box_ious, pred['scores']
        scores = confidence.float().cpu().numpy()
        matches[kind] = [
            ranked_matches(
                compare(gt_shapes[of_gt], shapes[of_pred]), scores[of_pred], strict=strict
            )
            for of_gt, of_pred in members
        ]
    return matches


def _members(
    instances: Mapping[str, Any], label: int, num_classes: int
) -> slice | npt.NDArray[np.bool_]:
    return slice(None) if num_classes == 1 else (instances['labels'] == label).cpu().numpy()


def _gt_rles(masks: Any) -> list[Rle]:
    return masks.to_rle() if hasattr(masks, 'to_rle') else encode_mask_results(masks.masks)


def _object_array(rles: Sequence[Rle]) -> npt.NDArray[np.object_]:
    """RLEs that a boolean mask can index."""
    array = np.empty(len(rles), dtype=object)
    array[:] = rles
    return array


def _boxes(instances: Mapping[str, Any], whose: str) -> npt.NDArray[np.float64]:
    if 'bboxes' not in instances:
        raise ValueError(f'the {whose} have no bboxes: leave the scores of boxes out (box_ap...)')
    boxes = instances['bboxes']
    return getattr(boxes, 'tensor', boxes).double().cpu().numpy()
