"""The scores of one image by name: meaning, which way is better, how they are measured and pooled.

A new score is a function in :mod:`mmcell.functional.scores` and an entry in :data:`SCORES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mmcell.functional.overlap import OverlapTable
from mmcell.functional.scores import (
    PanopticQuality,
    aji,
    aji_plus,
    dice,
    object_f1_counts,
    panoptic_quality,
    pq_from_sums,
)

# Column -> value: what a measure finds in one image, or the sums of it over many.
Values = Mapping[str, Any]


class Score(NamedTuple):
    """One score.

    Attributes:
        measure: gives a column of the score's name, and the columns that it is pooled from. Scores
            that share a measure are measured together.
        definition: in words, without a full stop.
        pool: the pooled score from the columns added up over images; None where there is none.
        pooled: how, in words.
        better: 'higher', 'lower' or 'zero'.
    """

    measure: Callable[[OverlapTable], Values]
    definition: str
    pool: Callable[[Values], float] | None = None
    pooled: str = ''
    better: str = 'higher'


def _dice(table: OverlapTable) -> Values:
    foreground = table.gt_areas.sum() + table.pred_areas.sum()
    return {
        'dice': dice(table),
        'shared_px': int(table.intersections.sum()),
        'foreground_px': int(foreground),
    }


def _f1(table: OverlapTable) -> Values:
    tp, fp, fn = object_f1_counts(table)
    return {'f1': _ratio(2 * tp, 2 * tp + fp + fn), 'f1_tp': tp}


def _panoptic(table: OverlapTable) -> Values:
    quality = panoptic_quality(table)
    return {**quality._asdict(), 'sum_iou': quality.sq * quality.tp if quality.tp else 0.0}


def _pooled_quality(sums: Values) -> PanopticQuality:
    return pq_from_sums(sums['tp'], sums['fp'], sums['fn'], sums['sum_iou'])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float('nan')


_PANOPTIC_SUMS = 'from TP, FP, FN and IoU added up over images'

SCORES: dict[str, Score] = {
    'aji': Score(
        lambda table: {'aji': aji(table)},
        'Aggregated Jaccard index; objects in order of their id take the unused prediction of best '
        'IoU (the variant of the PFFNet papers)',
    ),
    'aji_plus': Score(
        lambda table: {'aji_plus': aji_plus(table)},
        'Aggregated Jaccard index over the one-to-one assignment of largest total IoU (HoVer-Net)',
    ),
    'aji_reusable': Score(
        lambda table: {'aji_reusable': aji(table, exclusive=False)},
        'Aggregated Jaccard index; a prediction may serve several objects (Algorithm 1 of Kumar et '
        'al., the MoNuSeg script)',
    ),
    'dice': Score(
        _dice,
        'Dice of the foreground pixels',
        lambda sums: _ratio(2 * sums['shared_px'], sums['foreground_px']),
        'from pixels added up over images',
    ),
    'f1': Score(
        _f1,
        'Object F1; a prediction is right if it covers > 0.5 of the object it overlaps most',
        lambda sums: _ratio(2 * sums['f1_tp'], sums['n_gt'] + sums['n_pred']),
        'from objects added up over images',
    ),
    'dq': Score(
        _panoptic,
        'Detection quality TP / (TP + FP/2 + FN/2), pairs matching at IoU > 0.5',
        lambda sums: _pooled_quality(sums).dq,
        _PANOPTIC_SUMS,
    ),
    'sq': Score(
        _panoptic,
        'Segmentation quality, mean IoU of the matched pairs; undefined without a match',
        lambda sums: _pooled_quality(sums).sq,
        _PANOPTIC_SUMS,
    ),
    'pq': Score(
        _panoptic,
        'Panoptic quality DQ * SQ; 0 without a match',
        lambda sums: _pooled_quality(sums).pq,
        _PANOPTIC_SUMS,
    ),
}


def check_scores(names: Iterable[str], known: Iterable[str] = tuple(SCORES)) -> tuple[str, ...]:
    """The chosen scores, each once and in table order.

    Args:
        names: some of ``known``; 'all' chooses every one.
        known: names of scores, in table order.

    Raises:
        ValueError: If one is unknown; names close ones.
    """
    names, known = ([names] if isinstance(names, str) else list(names)), list(known)
    for name in names:
        if name not in known and name != 'all':
            # Here, because it brings MMEngine along.
            from mmcell.engine.errors import did_you_mean

            raise ValueError(
                f'there is no score {name!r}.{did_you_mean(name, known)} Known are '
                f'{", ".join(known)}; all chooses every one.'
            )
    if not names:
        raise ValueError(f'no score is chosen; known are {", ".join(known)}')
    return tuple(name for name in known if name in names or 'all' in names)


def measure_table(table: OverlapTable, scores: Iterable[str]) -> dict[str, Any]:
    """Columns of the chosen scores, and those that they are pooled from; nothing else is computed.

    Args:
        table: of one image.
        scores: names in :data:`SCORES`.
    """
    chosen = set(scores)
    found: dict[str, Any] = {}
    for measure in dict.fromkeys(SCORES[name].measure for name in scores):
        values = measure(table)
        found.update((k, v) for k, v in values.items() if k in chosen or k not in SCORES)
    return found


def pool(sums: Values, scores: Iterable[str]) -> dict[str, float]:
    """Pooled values of those of ``scores`` that have one.

    Args:
        sums: columns of :func:`measure_table` added up over images, ``n_gt`` and ``n_pred`` too.
        scores: names in :data:`SCORES`.
    """
    return {
        name: float(SCORES[name].pool(sums)) for name in scores if SCORES[name].pool is not None
    }


def definition(name: str) -> str:
    """What a score means and how it is pooled, in words, without a full stop."""
    score = SCORES[name]
    return f'{score.definition}. Pooled: {score.pooled}' if score.pooled else score.definition
