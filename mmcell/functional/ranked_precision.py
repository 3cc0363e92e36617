"""Average precision of ranked predictions: label maps, boxes, or masks that may overlap.

Per image :func:`ranked_matches` turns IoUs and confidences into a few numbers per prediction, which
is all that a metric has to keep; :func:`average_precision` pools them over images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mmcell.functional.overlap import BoolArray, IntArray, OverlapTable

FloatArray = npt.NDArray[np.float64]

IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)

# Predictions that are compared with their neighbours at once: bounds the memory.
BATCH_PREDICTIONS = 64


class PairIous(NamedTuple):
    """IoU of the K pairs that overlap, of G ground-truth objects and P predictions.

    Attributes:
        gt_index: (K,) ground-truth object of each pair.
        pred_index: (K,) prediction of each pair.
        ious: (K,) in (0, 1].
        n_gt: G.
        n_pred: P.
    """

    gt_index: IntArray
    pred_index: IntArray
    ious: FloatArray
    n_gt: int
    n_pred: int


class RankedMatches(NamedTuple):
    """One image's predictions against its ground truth, at T thresholds.

    Attributes:
        scores: (P,) confidence of each prediction, in the order in which they were given.
        tp: (T, P) bool, whether a prediction is right.
        ious: (P,) IoU with the ground-truth object of largest IoU; 0 without overlap.
        n_gt: ground-truth objects that count.
        thresholds: (T,) IoU.
    """

    scores: FloatArray
    tp: BoolArray
    ious: FloatArray
    n_gt: int
    thresholds: FloatArray


def pair_ious(ious: npt.ArrayLike) -> PairIous:
    """The pairs that overlap.

    Args:
        ious: (P, G), one row per prediction, in [0, 1].

    Raises:
        ValueError: If ``ious`` is not two-dimensional or holds other values.
    """
    matrix = np.asarray(ious, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f'ious must be (predictions, ground truth), got shape {matrix.shape}')
    if not ((matrix >= 0) & (matrix <= 1)).all():
        raise ValueError(f'ious must lie in [0, 1], got {matrix.min()} to {matrix.max()}')
    pred_index, gt_index = np.nonzero(matrix)
    return PairIous(gt_index, pred_index, matrix[pred_index, gt_index], *matrix.shape[::-1])


def box_ious(gt: npt.ArrayLike, pred: npt.ArrayLike) -> PairIous:
    """IoU of boxes; their area is (x2 - x1) * (y2 - y1).

    Args:
        gt: (G, 4), x1, y1, x2, y2.
        pred: (P, 4).

    Raises:
        ValueError: If the boxes have another shape, are not finite, or x2 < x1 or y2 < y1.
    """
    gt_boxes, pred_boxes = _checked_boxes(gt, 'gt'), _checked_boxes(pred, 'pred')
    return _in_batches(
        lambda p, g: _box_iou_matrix(pred_boxes[p], gt_boxes[g]), gt_boxes, pred_boxes
    )


def rle_ious(gt: Sequence[Mapping[str, Any]], pred: Sequence[Mapping[str, Any]]) -> PairIous:
    """IoU of masks, which may overlap.

    Args:
        gt: G compressed COCO RLEs of one size.
        pred: P of the same size.

    Raises:
        ValueError: If a mask is not a compressed RLE or of another size.
    """
    from pycocotools import mask as coco_mask

    masks = [*gt, *pred]
    for k, rle in enumerate(masks):
        name = f'gt {k}' if k < len(gt) else f'pred {k - len(gt)}'
        if not isinstance(rle['counts'], bytes | str):
            raise ValueError(
                f'{name} must be a compressed RLE, got counts as {type(rle["counts"]).__name__}: '
                'compress it with mmcell.functional.rle.counts_to_rle'
            )
        if tuple(rle['size']) != tuple(masks[0]['size']):
            raise ValueError(
                f'masks must have the same size, got {tuple(rle["size"])} for {name} and '
                f'{tuple(masks[0]["size"])} before it (height, width)'
            )
    boxes = coco_mask.toBbox(masks).reshape(-1, 4) if masks else np.zeros((0, 4))
    boxes[:, 2:] += boxes[:, :2]  # from width, height
    return _in_batches(
        lambda p, g: coco_mask.iou([pred[i] for i in p], [gt[j] for j in g], [0] * len(g)),
        boxes[: len(gt)],
        boxes[len(gt) :],
    )


def ranked_matches(
    ious: OverlapTable | PairIous,
    scores: npt.ArrayLike,
    thresholds: Sequence[float] = IOU_THRESHOLDS,
    *,
    strict: bool = False,
    keep_gt: npt.ArrayLike | None = None,
) -> RankedMatches:
    """Decide for each prediction of one image whether it is right, best confidence first.

    A prediction is compared with the one ground-truth object of largest IoU (ties: the first). It
    is right if that IoU reaches the threshold and no prediction before it was right about the same
    object; otherwise wrong, whatever else it overlaps (the rule of PASCAL VOC).

    Args:
        ious: overlap table, or IoU of the pairs that overlap.
        scores: (P,) confidence, in the order of the predictions; for a table that of ``pred_ids``.
            Of equal scores the first prediction comes first.
        thresholds: (T,) IoU.
        strict: a match needs IoU > threshold instead of >=.
        keep_gt: (G,) bool, ground truth that counts; the rest is treated as background. The code
            of the object-guided and the keypoint graph papers drops what is up to 2 pixels high or
            wide, which :func:`~mmcell.functional.overlap.object_boxes` tells.

    Raises:
        ValueError: If the number of scores differs from that of predictions, a score is NaN, a
            threshold lies outside (0, 1], or ``keep_gt`` has another length.
    """
    confidences = np.asarray(scores, dtype=np.float64)
    limits = np.asarray(thresholds, dtype=np.float64)
    if confidences.shape != (ious.n_pred,):
        raise ValueError(
            f'scores must be one number for each of {ious.n_pred} predictions, got shape '
            f'{confidences.shape}'
        )
    if np.isnan(confidences).any():
        raise ValueError(f'scores must be numbers, got NaN at {np.isnan(confidences).argmax()}')
    if limits.ndim != 1 or not ((limits > 0) & (limits <= 1)).all():
        raise ValueError(f'thresholds must be numbers in (0, 1], got {thresholds}')
    kept = np.ones(ious.n_gt, dtype=bool) if keep_gt is None else np.asarray(keep_gt, dtype=bool)
    if kept.shape != (ious.n_gt,):
        raise ValueError(
            f'keep_gt must be one bool for each of {ious.n_gt} objects, got shape {kept.shape}'
        )

    best_iou, best_gt = _best_matches(ious, kept)
    tp = np.zeros((len(limits), ious.n_pred), dtype=bool)
    ranking = np.argsort(-confidences, kind='stable')
    for t, limit in enumerate(limits):
        reaches = best_iou > limit if strict else best_iou >= limit
        candidates = ranking[reaches[ranking]]
        _, first = np.unique(best_gt[candidates], return_index=True)
        tp[t, candidates[first]] = True
    return RankedMatches(confidences, tp, best_iou, int(kept.sum()), limits)


def _best_matches(ious: OverlapTable | PairIous, kept: BoolArray) -> tuple[FloatArray, IntArray]:
    """(P,) largest IoU of each prediction with the ground truth that is kept, and with which."""
    counts = kept[ious.gt_index]
    gt_index, pred_index, values = (
        pairs[counts] for pairs in (ious.gt_index, ious.pred_index, ious.ious)
    )
    order = np.lexsort((gt_index, -values, pred_index))
    matched, first = np.unique(pred_index[order], return_index=True)
    best_iou, best_gt = np.zeros(ious.n_pred), np.full(ious.n_pred, -1)
    best_iou[matched] = values[order[first]]
    best_gt[matched] = gt_index[order[first]]
    return best_iou, best_gt


def average_precision(matches: RankedMatches | Sequence[RankedMatches]) -> FloatArray:
    """Area under the precision-recall curve of all images together, at each threshold.

    Predictions of all images are ranked by confidence (ties: in the given order); precision at a
    recall is the best at that recall or a higher one; the area is exact, as in VOC 2010 and later.

    Args:
        matches: one image's, or those of all images.

    Returns:
        (T,) in [0, 1]; NaN where there is neither ground truth nor prediction, 0 where only one of
        them is.

    Raises:
        ValueError: If there is no image, or thresholds differ between images.

    Source: Everingham et al., The PASCAL VOC challenge: a retrospective, IJCV 111 (2015) 98-136.
    """
    pooled = _pool(matches)
    if pooled.n_gt == 0:
        return np.full(len(pooled.thresholds), 0.0 if len(pooled.scores) else np.nan)
    tp = pooled.tp[:, np.argsort(-pooled.scores, kind='stable')]
    precision = tp.cumsum(1) / np.arange(1, tp.shape[1] + 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Recall rises by 1 / n_gt at each prediction that is right.
    return (envelope * tp).sum(1) / pooled.n_gt


def mean_matched_iou(matches: RankedMatches | Sequence[RankedMatches]) -> FloatArray:
    """Mean IoU of the predictions that are right, of all images together, at each threshold.

    Args:
        matches: one image's, or those of all images.

    Returns:
        (T,) in (0, 1]; NaN where no prediction is right.

    Raises:
        ValueError: If there is no image, or thresholds differ between images.
    """
    pooled = _pool(matches)
    right = pooled.tp.sum(1)
    total = pooled.tp @ pooled.ious
    return np.divide(total, right, out=np.full(len(right), np.nan), where=right > 0)


def _pool(matches: RankedMatches | Sequence[RankedMatches]) -> RankedMatches:
    """Many images as one."""
    if isinstance(matches, RankedMatches):
        return matches
    if len(matches) == 0:
        raise ValueError('matches must hold at least one image, got none')
    thresholds = matches[0].thresholds
    for k, image in enumerate(matches):
        if not np.array_equal(image.thresholds, thresholds):
            raise ValueError(
                f'all images must have the same thresholds, got {thresholds} for image 0 and '
                f'{image.thresholds} for image {k}'
            )
    return RankedMatches(
        np.concatenate([image.scores for image in matches]),
        np.concatenate([image.tp for image in matches], axis=1),
        np.concatenate([image.ious for image in matches]),
        sum(image.n_gt for image in matches),
        thresholds,
    )


def _in_batches(
    iou_matrix: Callable[[IntArray, IntArray], FloatArray], gt: FloatArray, pred: FloatArray
) -> PairIous:
    """Pairs that overlap, out of small matrices.

    Args:
        iou_matrix: IoU (p, g) of some predictions and some ground-truth objects.
        gt: (G, 4) boxes around the ground truth.
        pred: (P, 4) boxes around the predictions.
    """
    found: list[tuple[IntArray, IntArray, FloatArray]] = []
    # From left to right, so that a batch has few neighbours, whatever the size of the image.
    left_to_right = np.argsort(pred[:, 0], kind='stable')
    for start in range(0, len(pred), BATCH_PREDICTIONS):
        batch = left_to_right[start : start + BATCH_PREDICTIONS]
        near = (gt[:, 0] < pred[batch, 2].max()) & (gt[:, 2] > pred[batch, 0].min())
        neighbours = np.flatnonzero(near)
        if len(neighbours) == 0:
            continue
        matrix = iou_matrix(batch, neighbours)
        rows, columns = np.nonzero(matrix)
        found.append((neighbours[columns], batch[rows], matrix[rows, columns]))
    if not found:
        none = np.zeros(0, dtype=np.int64)
        return PairIous(none, none, np.zeros(0), len(gt), len(pred))
    gt_index, pred_index, ious = (np.concatenate(part) for part in zip(*found, strict=True))
    return PairIous(gt_index, pred_index, ious, len(gt), len(pred))


def _checked_boxes(boxes: npt.ArrayLike, name: str) -> FloatArray:
    """``boxes`` as (N, 4) float64."""
    values = np.asarray(boxes, dtype=np.float64)
    if values.size == 0:
        return values.reshape(0, 4)
    if values.ndim != 2 or values.shape[1] != 4:
        raise ValueError(f'{name} must be boxes (N, 4), got shape {values.shape}')
    wrong = ~(np.isfinite(values).all(1) & (values[:, :2] <= values[:, 2:]).all(1))
    if wrong.any():
        k = int(wrong.argmax())
        raise ValueError(
            f'{name} must be finite x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, got '
            f'{values[k].tolist()} as box {k}'
        )
    return values


def _box_iou_matrix(a: FloatArray, b: FloatArray) -> FloatArray:
    """(A, B) IoU; 0 where the union is without area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(min=0).prod(2)
    union = (a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
