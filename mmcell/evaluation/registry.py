"""The scores of one image by name: meaning, which way is better, how they are measured and pooled.

A new score is a function in :mod:`mmcell.functional.scores` and an entry in :data:`SCORES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from mmcell.evaluation.ranked import RANKED_SCORES
from mmcell.functional.overlap import OverlapTable
from mmcell.functional.scores import (
    CtcCounts,
    PanopticQuality,
    aji,
    aji_plus,
    count_difference,
    ctc_counts,
    dice,
    dsb_score,
    object_dice,
    object_f1_counts,
    object_hausdorff,
    panoptic_quality,
    pq_from_sums,
    symmetric_best_dice,
)

# Column -> value: what a measure finds in one image, or the sums of it over many.
Values = Mapping[str, Any]


class Image(NamedTuple):
    """What is measured.

    Attributes:
        table: overlaps of ground truth and prediction.
        maps: both label maps, (H, W) integers; None where only the table is at hand.
    """

    table: OverlapTable
    maps: tuple[npt.ArrayLike, npt.ArrayLike] | None = None


class Score(NamedTuple):
    """One score.

    Attributes:
        measure: gives a column of the score's name, and the columns that it is pooled from. Scores
            that share a measure are measured together.
        definition: in words, without a full stop.
        pool: the pooled score from the columns added up over images; None where there is none.
        pooled: how, in words.
        better: 'higher', 'lower' or 'zero'.
        needs_maps: an overlap table alone does not do.
    """

    measure: Callable[[Image], Values]
    definition: str
    pool: Callable[[Values], float] | None = None
    pooled: str = ''
    better: str = 'higher'
    needs_maps: bool = False


def _dice(image: Image) -> Values:
    table = image.table
    foreground = table.gt_areas.sum() + table.pred_areas.sum()
    return {
        'dice': dice(table),
        'shared_px': int(table.intersections.sum()),
        'foreground_px': int(foreground),
    }


def _f1(image: Image) -> Values:
    tp, fp, fn = object_f1_counts(image.table)
    return {'f1': _ratio(2 * tp, 2 * tp + fp + fn), 'f1_tp': tp}


def _panoptic(image: Image) -> Values:
    quality = panoptic_quality(image.table)
    return {**quality._asdict(), 'sum_iou': quality.sq * quality.tp if quality.tp else 0.0}


def _pooled_quality(sums: Values) -> PanopticQuality:
    return pq_from_sums(sums['tp'], sums['fp'], sums['fn'], sums['sum_iou'])


def _counts(image: Image) -> Values:
    difference = count_difference(image.table)
    return {'count_difference': difference, 'absolute_count_difference': abs(difference)}


def _ctc(image: Image) -> Values:
    found = ctc_counts(image.table)
    columns = {f'ctc_{name}': value for name, value in found._asdict().items() if name != 'n_gt'}
    return {'ctc_seg': found.seg, 'ctc_det': found.det, 'op_csb': _op_csb(found), **columns}


def _pooled_ctc(sums: Values) -> CtcCounts:
    return CtcCounts(
        sums['ctc_ns'], sums['ctc_fn'], sums['ctc_fp'], sums['n_gt'], sums['ctc_sum_iou']
    )


def _op_csb(counts: CtcCounts) -> float:
    return (counts.seg + counts.det) / 2


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float('nan')


_PANOPTIC_SUMS = 'from TP, FP, FN and IoU added up over images'
_CTC_SUMS = 'from objects added up over images, as the challenge does over frames'

SCORES: dict[str, Score] = {
    'aji': Score(
        lambda image: {'aji': aji(image.table)},
        'Aggregated Jaccard index; objects in order of their id take the unused prediction of best '
        'IoU (the variant of the PFFNet papers)',
    ),
    'aji_plus': Score(
        lambda image: {'aji_plus': aji_plus(image.table)},
        'Aggregated Jaccard index over the one-to-one assignment of largest total IoU (HoVer-Net)',
    ),
    'aji_reusable': Score(
        lambda image: {'aji_reusable': aji(image.table, exclusive=False)},
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
    'sbd': Score(
        lambda image: {'sbd': symmetric_best_dice(image.table)},
        'Symmetric best Dice; mean of the best Dice that each object finds on the other side, the '
        'worse of both directions (leaf segmentation challenge)',
    ),
    'object_dice': Score(
        lambda image: {'object_dice': object_dice(image.table)},
        'Dice of each object with the one it overlaps most, weighted by area, both directions '
        'averaged (GlaS challenge)',
    ),
    'object_hausdorff': Score(
        lambda image: {'object_hausdorff': object_hausdorff(*image.maps)},
        'Hausdorff distance in pixels of each object to the one it overlaps most, else the '
        'nearest, weighted by area, both directions averaged (GlaS challenge); the image diagonal '
        'where only one side has objects',
        better='lower',
        needs_maps=True,
    ),
    'count_difference': Score(
        _counts, 'Predicted minus ground-truth number of objects (DiC)', better='zero'
    ),
    'absolute_count_difference': Score(
        _counts,
        'Absolute difference of predicted and ground-truth number of objects (|DiC|)',
        better='lower',
    ),
    'dsb': Score(
        lambda image: {'dsb': dsb_score(image.table)},
        'TP / (TP + FP + FN), mean over the thresholds 0.5 to 0.95 that the IoU of a pair must '
        'exceed (Data Science Bowl 2018)',
    ),
    'ctc_seg': Score(
        _ctc,
        'SEG of the Cell Tracking Challenge; mean IoU of the objects with the prediction that '
        'covers > 0.5 of them, 0 for those without',
        lambda sums: _pooled_ctc(sums).seg,
        _CTC_SUMS,
    ),
    'ctc_det': Score(
        _ctc,
        'DET of the Cell Tracking Challenge; 1 - cost of mending the detections over that of '
        'adding them all (split 5, add 10, delete 1)',
        lambda sums: _pooled_ctc(sums).det,
        _CTC_SUMS,
    ),
    'op_csb': Score(
        _ctc,
        'Mean of SEG and DET, by which the Cell Tracking Challenge ranks segmentation (OP_CSB)',
        lambda sums: _op_csb(_pooled_ctc(sums)),
        _CTC_SUMS,
    ),
}


def check_scores(
    names: str | Iterable[str], known: Iterable[str] = tuple(SCORES)
) -> tuple[str, ...]:
    """The chosen scores, each once and in table order.

    Args:
        names: some of ``known``; 'all' chooses every one.
        known: names of scores, in table order.

    Raises:
        ValueError: If one is unknown; names close ones. If there is none.
    """
    names, known = ([names] if isinstance(names, str) else list(names)), list(known)
    for name in names:
        if name in RANKED_SCORES and name not in known:
            raise ValueError(
                f'{name} ranks detections by their confidence, which label maps do not hold: '
                'CellMetric computes it while a model is tested'
            )
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


def measure_image(image: Image, scores: Iterable[str]) -> dict[str, Any]:
    """A row: the chosen scores and what they are pooled from; nothing else is computed.

    Args:
        image: its table, and the label maps where a score needs them.
        scores: names in :data:`SCORES`.

    Raises:
        ValueError: If a score needs the label maps and they are not given.
    """
    for name in scores:
        if SCORES[name].needs_maps and image.maps is None:
            raise ValueError(f'{name} needs both label maps, an overlap table does not do')
    chosen = set(scores)
    found: dict[str, Any] = {'n_gt': image.table.n_gt, 'n_pred': image.table.n_pred}
    for measure in dict.fromkeys(SCORES[name].measure for name in scores):
        values = measure(image)
        found.update((k, v) for k, v in values.items() if k in chosen or k not in SCORES)
    return found


def pool(sums: Values, scores: Iterable[str]) -> dict[str, float]:
    """Pooled values of those of ``scores`` that have one.

    Args:
        sums: columns of :func:`measure_image` added up over images.
        scores: names in :data:`SCORES`.
    """
    return {
        name: float(SCORES[name].pool(sums)) for name in scores if SCORES[name].pool is not None
    }


def definition(name: str) -> str:
    """What a score means and how it is pooled, in words, without a full stop."""
    score = SCORES[name]
    return f'{score.definition}. Pooled: {score.pooled}' if score.pooled else score.definition
