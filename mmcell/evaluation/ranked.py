"""Scores of ranked detections by name: average precision, of all images together.

They need the confidence of every detection, and masks before they are flattened, so that label maps
alone cannot give them. Neither torch nor MMDetection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mmcell.functional.scores import (
    IOU_THRESHOLDS,
    RankedMatches,
    average_precision,
    mean_matched_iou,
)

# A row's column with, per kind ('masks', 'boxes'), the matches of each class.
RANKED_COLUMN = 'ranked'


class RankedScore(NamedTuple):
    """One score of ranked detections; higher is better.

    Attributes:
        kind: 'masks' or 'boxes'.
        curve: a value at each of ``IOU_THRESHOLDS``.
        threshold: the one that counts; None takes the mean over all.
        definition: in words, without a full stop.
    """

    kind: str
    curve: Callable[[Sequence[RankedMatches]], npt.NDArray[np.float64]]
    threshold: float | None
    definition: str

    def pool(self, images: Sequence[RankedMatches]) -> float:
        """The score of one class; NaN where there is nothing to measure."""
        values = self.curve(images)
        if self.threshold is None:
            return float(values.mean())
        return float(values[IOU_THRESHOLDS.index(self.threshold)])


def _average_precisions(kind: str, prefix: str) -> dict[str, RankedScore]:
    ap = (
        f'Average precision of {kind} ranked by confidence over all images, before flattening; '
        'area under the precision-recall curve (VOC 2010); an IoU is reached, with ap_strict '
        'exceeded'
    )
    scores = {
        f'{prefix}ap': RankedScore(
            kind, average_precision, None, f'{ap}; mean over IoU 0.5:0.05:0.95'
        )
    }
    for threshold in (0.5, 0.7, 0.75):
        scores[f'{prefix}ap{100 * threshold:.0f}'] = RankedScore(
            kind, average_precision, threshold, f'{ap}; IoU {threshold}'
        )
    return scores


def _matched_ious() -> dict[str, RankedScore]:
    return {
        f'matched_iou{100 * threshold:.0f}': RankedScore(
            'masks',
            mean_matched_iou,
            threshold,
            f'Mean IoU of the masks that are right at IoU {threshold}, over all images',
        )
        for threshold in (0.5, 0.7)
    }


RANKED_SCORES: dict[str, RankedScore] = {
    **_average_precisions('masks', ''),
    **_matched_ious(),
    **_average_precisions('boxes', 'box_'),
}


def ranked_kinds(scores: Sequence[str]) -> tuple[str, ...]:
    """'masks', 'boxes', both or neither: what ``scores`` need of each image."""
    needed = {RANKED_SCORES[name].kind for name in scores if name in RANKED_SCORES}
    return tuple(sorted(needed, reverse=True))


def pool_ranked(rows: Sequence[dict[str, Any]], scores: Sequence[str]) -> dict[str, float]:
    """Those of ``scores`` that rank detections; mean over the classes that occur.

    Args:
        rows: one per image, with :data:`RANKED_COLUMN`: kind -> matches of each class.
        scores: names; others than those of :data:`RANKED_SCORES` are passed over.
    """
    pooled = {}
    for name in scores:
        if name not in RANKED_SCORES:
            continue
        score = RANKED_SCORES[name]
        by_class = zip(*(row[RANKED_COLUMN][score.kind] for row in rows), strict=True)
        # MMEngine gathers named tuples as plain ones.
        values = [score.pool([RankedMatches(*image) for image in images]) for images in by_class]
        occurring = [value for value in values if not np.isnan(value)]
        pooled[name] = float(np.mean(occurring)) if occurring else float('nan')
    return pooled
