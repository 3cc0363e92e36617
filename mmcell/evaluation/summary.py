"""From scores per image to a summary: means, pooled values, subsets. Neither torch nor MMDetection.

What scores there are is in :mod:`mmcell.evaluation.registry`, tables and files in
:mod:`mmcell.evaluation.tables`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmcell.evaluation.ranked import RANKED_COLUMN, RANKED_SCORES, pool_ranked
from mmcell.evaluation.registry import SCORES, Image, check_scores, definition, measure_image, pool
from mmcell.evaluation.tables import COUNTS, Row, render_markdown, render_text, write_summary
from mmcell.functional.overlap import OverlapTable, overlap_table
from mmcell.functional.scores import pq_from_sums

__all__ = [
    'AVERAGING',
    'BETTER',
    'DEFAULT_SCORES',
    'DEFINITIONS',
    'RANKED_DEFINITIONS',
    'Row',
    'as_metrics',
    'render_markdown',
    'render_text',
    'score_image',
    'summarize',
    'write_summary',
]

# Of label maps, in table order.
DEFINITIONS = {name: definition(name) for name in SCORES}
# Of detections with their confidence: CellMetric has them, a label map does not.
RANKED_DEFINITIONS = {name: score.definition for name, score in RANKED_SCORES.items()}
# 'higher', 'lower' or 'zero'.
BETTER = {
    **{name: score.better for name, score in SCORES.items()},
    **{name: 'higher' for name in RANKED_SCORES},
}
DEFAULT_SCORES = ('aji', 'aji_plus', 'dice', 'f1', 'dq', 'sq', 'pq')
MPQ = 'Mean over the classes that occur of their pooled PQ, each class on its own (pq_<class>)'
AVERAGING = (
    'Mean and std (population) are over the images in which a score is defined; where an image has '
    'neither objects nor predictions only differences of counts are. Pooled values come from all '
    'images together; average precision of several classes is the mean over those that occur. '
    'n_detections counts what the model returned, n_pred what is visible in the label map after '
    'thresholding and flattening; tp, fp and fn are those of panoptic quality.'
)

# Columns of a row that say nothing when they are added up.
_NOT_SUMMED = {*SCORES, 'image', 'img_id', 'subset', 'class_sums', RANKED_COLUMN}


def score_image(
    gt: npt.ArrayLike | OverlapTable,
    pred: npt.ArrayLike | None = None,
    scores: Sequence[str] = DEFAULT_SCORES,
) -> Row:
    """The chosen scores of one image, and the counts that pooled values are made of.

    Args:
        gt: (H, W) integers, 0 = background, or an overlap table, where no score needs more.
        pred: (H, W) integers; left out where ``gt`` is a table.
        scores: names in :data:`DEFINITIONS`, or 'all'. Nothing else is computed.

    Raises:
        ValueError: If a score is unknown or the label maps cannot be compared.
    """
    image = Image(overlap_table(gt, pred), None if pred is None else (gt, pred))
    return measure_image(image, check_scores(scores))


def summarize(
    rows: Sequence[Row], classes: Sequence[str] = (), scores: Sequence[str] = DEFAULT_SCORES
) -> dict[str, Any]:
    """Means, standard deviations and pooled values of a data set and of its subsets.

    Args:
        rows: one per image: what :func:`score_image` gives for ``scores``; optionally
            ``n_detections``; ``subset``, the names of the subsets that the image belongs to;
            ``ranked``, see :mod:`mmcell.evaluation.ranked`; with more than one class and PQ
            ``class_sums``, (tp, fp, fn, sum_iou) of each.
        classes: names of the classes; more than one adds ``mpq``, their mean pooled PQ, to PQ.
        scores: names in :data:`DEFINITIONS`, with ``ranked`` also in :data:`RANKED_DEFINITIONS`,
            or 'all'.

    Returns:
        ``n_images``; ``images_left_out``, those with neither objects nor predictions; ``scores``:
        name -> mean, std, n_images (with a value); ``pooled``: name -> value; ``counts``:
        name -> sum over images; ``subsets``, only where rows name some: name -> the same five;
        ``definitions`` and ``averaging`` in words; ``better``. What is undefined is NaN.
    """
    ranked = RANKED_SCORES if rows and RANKED_COLUMN in rows[0] else ()
    scores = check_scores(scores, (*SCORES, *ranked))
    mpq_classes = classes if len(classes) > 1 and 'pq' in scores else ()
    summary = _summarize(rows, mpq_classes, scores)
    members: dict[str, list[Row]] = {}
    for row in rows:
        for subset in row.get('subset', ()):
            members.setdefault(subset, []).append(row)
    if members:
        summary['subsets'] = {
            name: _summarize(members[name], mpq_classes, scores) for name in sorted(members)
        }
    definitions = {**DEFINITIONS, **RANKED_DEFINITIONS}
    summary['definitions'] = {name: definitions[name] for name in scores}
    if mpq_classes:
        summary['definitions']['mpq'] = MPQ
    summary['better'] = {name: BETTER[name] for name in scores}
    summary['averaging'] = AVERAGING
    return summary


def _summarize(
    rows: Sequence[Row], mpq_classes: Sequence[str], scores: Sequence[str]
) -> dict[str, Any]:
    """The numbers of :func:`summarize` for some images."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update({name: row[name] for name in row if name not in _NOT_SUMMED})
    per_image = [name for name in scores if name in SCORES]
    pooled = {**pool(sums, per_image), **pool_ranked(rows, scores)}
    if mpq_classes:
        pooled.update(_class_qualities(rows, mpq_classes))
    return {
        'n_images': len(rows),
        'images_left_out': sum(row['n_gt'] + row['n_pred'] == 0 for row in rows),
        'scores': {name: _mean([row[name] for row in rows]) for name in per_image},
        'pooled': pooled,
        'counts': {name: sums[name] for name in COUNTS if name in sums},
    }


def _mean(values: Sequence[float]) -> dict[str, float]:
    defined = np.array(values, dtype=np.float64)
    defined = defined[~np.isnan(defined)]
    return {
        'mean': float(defined.mean()) if len(defined) else float('nan'),
        'std': float(defined.std()) if len(defined) else float('nan'),
        'n_images': len(defined),
    }


def _class_qualities(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, float]:
    """Pooled PQ of each class, and their mean; classes that never occur are left out of it."""
    sums = np.sum([row['class_sums'] for row in rows], axis=0, dtype=np.float64)
    qualities = [
        pq_from_sums(int(tp), int(fp), int(fn), float(sum_iou)).pq
        for tp, fp, fn, sum_iou in sums.reshape(len(classes), 4)
    ]
    occurring = [quality for quality in qualities if not np.isnan(quality)]
    mean = float(np.mean(occurring)) if occurring else float('nan')
    return {'mpq': mean, **{f'pq_{c}': q for c, q in zip(classes, qualities, strict=True)}}


def as_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The summary as one flat dict of numbers, for MMEngine's loggers."""
    metrics: dict[str, float] = {}
    for name, score in summary['scores'].items():
        metrics[name] = score['mean']
        metrics[f'{name}_std'] = score['std']
    for name, value in summary['pooled'].items():
        metrics[f'{name}_pooled'] = value
    metrics['images_left_out'] = summary['images_left_out']
    return metrics
