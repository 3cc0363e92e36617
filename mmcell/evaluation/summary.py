"""From scores per image to a summary: means, pooled values, tables and files."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from terminaltables import AsciiTable

from mmcell.functional.overlap import OverlapTable
from mmcell.functional.scores import (
    aji,
    aji_plus,
    dice,
    object_f1,
    object_f1_counts,
    panoptic_quality,
    pq_from_sums,
)

# One row per image: plain numbers and the image's name, never masks.
Row = dict[str, Any]

DEFINITIONS = {
    'aji': 'Aggregated Jaccard index; objects in order of their id take the unused prediction of '
    'best IoU (the variant of the PFFNet papers)',
    'aji_plus': 'Aggregated Jaccard index over the one-to-one assignment of largest total IoU '
    '(HoVer-Net)',
    'dice': 'Dice of the foreground pixels',
    'f1': 'Object F1; a prediction is right if it covers > 0.5 of the object it overlaps most',
    'dq': 'Detection quality TP / (TP + FP/2 + FN/2), pairs matching at IoU > 0.5',
    'sq': 'Segmentation quality, mean IoU of the matched pairs; undefined without a match',
    'pq': 'Panoptic quality DQ * SQ; 0 without a match',
}
COUNTS = ('n_gt', 'n_pred', 'n_detections', 'tp', 'fp', 'fn')
MPQ = 'Mean over the classes that occur of their pooled PQ, each class on its own (pq_<class>)'
AVERAGING = (
    'Mean and std (population) are over the images in which a score is defined; none is where an '
    'image has neither objects nor predictions. Pooled values come from counts added up over all '
    'images. n_detections counts what the model returned, n_pred what is visible in the label map '
    'after thresholding and flattening; tp, fp and fn are those of panoptic quality.'
)


def score_image(table: OverlapTable) -> Row:
    """Every score of one image, and the counts that pooled values are made of."""
    quality = panoptic_quality(table)
    return {
        'aji': aji(table),
        'aji_plus': aji_plus(table),
        'dice': dice(table),
        'f1': object_f1(table),
        **quality._asdict(),
        'sum_iou': quality.sq * quality.tp if quality.tp else 0.0,
        'f1_tp': object_f1_counts(table).tp,
        'n_gt': table.n_gt,
        'n_pred': table.n_pred,
    }


def summarize(rows: Sequence[Row], classes: Sequence[str] = ()) -> dict[str, Any]:
    """Means, standard deviations and pooled values of a data set.

    Args:
        rows: one per image: what :func:`score_image` gives, plus ``n_detections``; with more than
            one class also ``class_sums``, (tp, fp, fn, sum_iou) of each.
        classes: names of the classes; more than one adds ``mpq``, their mean pooled PQ.

    Returns:
        ``n_images``; ``images_left_out``, those with neither objects nor predictions; ``scores``:
        name -> mean, std, n_images (with a value); ``pooled``: name -> value; ``counts``:
        name -> sum over images; ``definitions`` and ``averaging`` in words. What is undefined is
        NaN.
    """
    scores = {}
    for name in DEFINITIONS:
        values = np.array([row[name] for row in rows], dtype=np.float64)
        values = values[~np.isnan(values)]
        scores[name] = {
            'mean': float(values.mean()) if len(values) else float('nan'),
            'std': float(values.std()) if len(values) else float('nan'),
            'n_images': len(values),
        }
    counts = {name: sum(row[name] for row in rows) for name in COUNTS}
    sum_iou = sum(row['sum_iou'] for row in rows)
    quality = pq_from_sums(counts['tp'], counts['fp'], counts['fn'], sum_iou)
    objects = counts['n_gt'] + counts['n_pred']
    found = sum(row['f1_tp'] for row in rows)
    pooled = {
        'f1': 2 * found / objects if objects else float('nan'),
        'dq': quality.dq,
        'sq': quality.sq,
        'pq': quality.pq,
    }
    definitions = dict(DEFINITIONS)
    if len(classes) > 1:
        pooled.update(_class_qualities(rows, classes))
        definitions['mpq'] = MPQ
    return {
        'n_images': len(rows),
        'images_left_out': sum(row['n_gt'] + row['n_pred'] == 0 for row in rows),
        'scores': scores,
        'pooled': pooled,
        'counts': counts,
        'definitions': definitions,
        'averaging': AVERAGING,
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


def _table(summary: Mapping[str, Any]) -> list[list[str]]:
    """The summary as rows of text, headings first."""
    rows = [['score', 'mean', 'std', 'images', 'pooled']]
    for name, score in summary['scores'].items():
        pooled = summary['pooled'].get(name)
        rows.append(
            [
                name,
                f'{score["mean"]:.4f}',
                f'{score["std"]:.4f}',
                str(score['n_images']),
                '' if pooled is None else f'{pooled:.4f}',
            ]
        )
    for name, pooled in summary['pooled'].items():
        if name not in summary['scores']:
            rows.append([name, '', '', '', f'{pooled:.4f}'])
    return rows


def _counts_line(summary: Mapping[str, Any]) -> str:
    counts = ', '.join(f'{name} {value}' for name, value in summary['counts'].items())
    return f'{summary["n_images"]} images ({summary["images_left_out"]} left out), {counts}'


def render_text(summary: Mapping[str, Any]) -> str:
    """The summary as a table for a terminal."""
    return f'{AsciiTable(_table(summary)).table}\n{_counts_line(summary)}'


def render_markdown(summary: Mapping[str, Any]) -> str:
    """The summary as a Markdown table, with the definition of each score in words."""
    heading, *body = (f'| {" | ".join(row)} |' for row in _table(summary))
    rule = '|---|' + '---:|' * 4
    definitions = [f'- **{name}**: {text}.' for name, text in summary['definitions'].items()]
    parts = [[heading, rule, *body], [_counts_line(summary) + '.'], definitions, [AVERAGING]]
    return '\n\n'.join('\n'.join(part) for part in parts) + '\n'


def write_summary(out_dir: Path, rows: Sequence[Row], summary: Mapping[str, Any]) -> None:
    """Write ``per_image.csv``, ``summary.json`` (NaN as null) and ``summary.md``.

    Args:
        out_dir: created where missing; files of an earlier call are replaced.
        rows: one per image, with ``image`` and ``img_id`` beside the numbers.
        summary: what :func:`summarize` gives; further JSON-ready entries are written too.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    columns = ['image', 'img_id', *DEFINITIONS, *COUNTS, 'f1_tp']
    with open(out_dir / 'per_image.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns, extrasaction='ignore')
        writer.writeheader()
        writer.writerows(rows)
    with open(out_dir / 'summary.json', 'w', encoding='utf-8') as file:
        json.dump(_without_nan(summary), file, indent=2, allow_nan=False)
    (out_dir / 'summary.md').write_text(render_markdown(summary), encoding='utf-8')


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
