"""Summaries of scores as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from terminaltables import AsciiTable

from mmcell.evaluation.registry import SCORES

# One row per image: plain numbers and the image's name, never masks.
Row = dict[str, Any]

# Counts that a row may hold beside its scores, as they are written.
COUNTS = ('n_gt', 'n_pred', 'n_detections', 'tp', 'fp', 'fn', 'f1_tp')


def render_text(summary: Mapping[str, Any]) -> str:
    """The summary as tables for a terminal: one per subset, then one of all images."""
    blocks = [(f'{name}: ', subset) for name, subset in summary.get('subsets', {}).items()]
    blocks.append(('all: ' if blocks else '', summary))
    return '\n'.join(
        f'{AsciiTable(_table(block)).table}\n{title}{_counts_line(block)}'
        for title, block in blocks
    )


def render_markdown(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown tables, with the definition of each score in words."""
    subsets = summary.get('subsets', {})
    parts = ['## All images'] if subsets else []
    parts += _markdown_block(summary)
    for name, subset in subsets.items():
        parts += [f'## {name}', *_markdown_block(subset)]
    if subsets:
        parts.append('## Definitions')
    definitions = [f'- **{name}**: {text}.' for name, text in summary['definitions'].items()]
    parts += ['\n'.join(definitions), summary['averaging']]
    return '\n\n'.join(parts) + '\n'


def write_summary(out_dir: Path, rows: Sequence[Row], summary: Mapping[str, Any]) -> None:
    """Write ``per_image.csv``, ``summary.json`` (NaN as null) and ``summary.md``.

    Args:
        out_dir: created where missing; files of an earlier call are replaced.
        rows: one per image, with ``image`` and ``img_id`` beside the numbers; names of ``subset``
            are joined by ';'.
        summary: what :func:`~mmcell.evaluation.summary.summarize` gives; further JSON-ready entries
            are written too.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    subset = ['subset'] if 'subsets' in summary else []
    columns = ['image', 'img_id', *subset, *summary['scores'], *summary['counts']]
    # And what pooled values are made of, so that such files can be pooled.
    numbers = (k for row in rows for k, value in row.items() if isinstance(value, (int, float)))
    columns = list(dict.fromkeys([*columns, *(k for k in numbers if k not in SCORES)]))
    with open(out_dir / 'per_image.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns, extrasaction='ignore')
        writer.writeheader()
        writer.writerows({**row, 'subset': ';'.join(row.get('subset', ()))} for row in rows)
    with open(out_dir / 'summary.json', 'w', encoding='utf-8') as file:
        json.dump(without_nan(summary), file, indent=2, allow_nan=False)
    (out_dir / 'summary.md').write_text(render_markdown(summary), encoding='utf-8')


def _table(summary: Mapping[str, Any]) -> list[list[str]]:
    """The numbers of some images as rows of text, headings first."""
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


def _markdown_block(summary: Mapping[str, Any]) -> list[str]:
    heading, *body = (f'| {" | ".join(row)} |' for row in _table(summary))
    rule = '|---|' + '---:|' * 4
    return ['\n'.join([heading, rule, *body]), _counts_line(summary) + '.']


def without_nan(value: Any) -> Any:
    """Mappings and lists for JSON, which knows no NaN: None in its place."""
    if isinstance(value, Mapping):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and np.isnan(value) else value
