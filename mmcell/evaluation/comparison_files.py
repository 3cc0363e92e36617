"""A comparison as Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import json
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import mmcell
from mmcell.evaluation.comparison import ALL, Comparison
from mmcell.evaluation.comparison_text import (
    DEFINITIONS,
    OUTCOME_HEADINGS,
    POOLED,
    STARS,
    Cell,
    Line,
    columns,
    definitions,
    explanations,
    lines,
    outcomes,
    pooled_lines,
    quotations,
    score_title,
    timing_lines,
)
from mmcell.evaluation.quoted import QuotedTable
from mmcell.evaluation.statistics import CONFIDENCE, MIN_IMAGES, NUM_RESAMPLES
from mmcell.evaluation.summary import BETTER
from mmcell.evaluation.tables import without_nan

_CSV_COLUMNS = (
    'method', 'source', 'subset', 'score', 'mean', 'std', 'n', 'mean_difference', 'ci_low',
    'ci_high', 'wins', 'ties', 'losses', 't', 'p_t', 'p_t_holm', 'w', 'p_wilcoxon',
    'p_wilcoxon_holm', 'note',
)  # fmt: skip
_LATEX = {
    '\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}',
    '↑': r'$\uparrow$', '↓': r'$\downarrow$', '→': r'$\rightarrow$', '–': '--',
    '<': r'\textless{}', '>': r'\textgreater{}', '|': r'\textbar{}', '"': r'\textquotedbl{}',
    **{c: f'\\{c}' for c in '&%$#_{}'},
}  # fmt: skip


def write_comparison(out: Path, comparison: Comparison, quoted: Sequence[QuotedTable] = ()) -> None:
    """Write ``table.md``, ``table.tex``, ``table.csv`` and ``comparison.json``.

    Args:
        out: folder, made where missing; files of an earlier call are replaced.
        comparison: what to write.
        quoted: published figures to put beside it.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / 'table.md').write_text(render_markdown(comparison, quoted), encoding='utf-8')
    (out / 'table.tex').write_text(render_latex(comparison, quoted), encoding='utf-8')
    with open(out / 'table.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, _CSV_COLUMNS, restval='')
        writer.writeheader()
        writer.writerows(_csv_rows(comparison, quoted))
    with open(out / 'comparison.json', 'w', encoding='utf-8') as file:
        json.dump(as_json(comparison, quoted), file, indent=2, allow_nan=False)


def render_markdown(comparison: Comparison, quoted: Sequence[QuotedTable] = ()) -> str:
    """Means and deviations, tests, and how they came about."""
    headings = [
        score_title(score, True) + (f' {subset}' if len(comparison.subsets) > 1 else '')
        for score, subset in columns(comparison)
    ]
    body = [
        [_markdown_name(line), *(_markdown_cell(cell) for cell in line.cells)]
        for line in lines(comparison, quoted)
    ]
    parts = [_markdown_table(['method', *headings], body)]
    tests = [list(line) for line in outcomes(comparison)]
    if tests:
        parts += [f'## {comparison.reference} against the others']
        parts += [_markdown_table(list(OUTCOME_HEADINGS), _plain(tests))]
    timing, timing_notes = timing_lines(comparison)
    for title, rows, notes in (
        ('Pooled', pooled_lines(comparison, quoted), [POOLED]),
        ('Speed and memory', timing, timing_notes),
    ):
        if rows:
            parts += [f'## {title}', _markdown_table(rows[0], _plain(rows[1:])), ' '.join(notes)]
    parts += ['## How to read it']
    parts += ['\n'.join(f'- {_escape_stars(text)}' for text in explanations(comparison))]
    if quoted:
        parts += ['\n'.join(f'- {text}' for text in quotations(comparison, quoted))]
    parts += ['\n'.join(f'- **{title}**: {text}.' for title, text in definitions(comparison))]
    return '# Comparison\n\n' + '\n\n'.join(parts) + '\n'


def _markdown_name(line: Line) -> str:
    name = _escape_stars(line.name)
    name = f'**{name}**' if line.is_reference else name
    return f'{name} [{line.quoted}]' if line.quoted else name


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return '–'
    mean = f'**{cell.mean}**' if cell.is_best else cell.mean
    return mean + (f' ({cell.std})' if cell.std else '') + _escape_stars(cell.stars)


def _markdown_table(headings: list[str], body: list[list[str]]) -> str:
    texts = [
        '| ' + ' | '.join(cell.replace('|', r'\|') for cell in row) + ' |'
        for row in (headings, *body)
    ]
    rule = '|---|' + '---:|' * (len(headings) - 1)
    return '\n'.join([texts[0], rule, *texts[1:]])


def _plain(body: list[list[str]]) -> list[list[str]]:
    """Cells without emphasis of their own."""
    return [[_escape_stars(cell) for cell in row] for row in body]


def _escape_stars(text: str) -> str:
    """Text whose stars Markdown does not take for emphasis."""
    return text.replace('*', r'\*')


def render_latex(comparison: Comparison, quoted: Sequence[QuotedTable] = ()) -> str:
    """Two tables for a paper; they need the package booktabs."""
    subsets = list(comparison.subsets)
    span = len(subsets)
    titles = [
        rf'\multicolumn{{{span}}}{{c}}{{{escape_latex(score_title(s, True))}}}'
        for s in comparison.scores
    ]
    head = ['Method & ' + ' & '.join(titles) + r' \\']
    if span > 1:
        names = ' & '.join(escape_latex(subset) for subset in subsets)
        head += [' & ' + ' & '.join([names] * len(comparison.scores)) + r' \\']
    body = []
    for line in lines(comparison, quoted):
        name = escape_latex(line.name)
        if line.quoted:
            name += rf'\textsuperscript{{{line.quoted}}}'
        body.append(' & '.join([name, *(_latex_cell(cell) for cell in line.cells)]) + r' \\')
    caption = [
        f'Mean and standard deviation over {len(comparison.images)} images, the best in bold. '
        f'Stars: {comparison.reference} is better than this method, {STARS}.',
        *quotations(comparison, quoted),
    ]
    notes = ['Needs \\usepackage{booktabs}.', *explanations(comparison)]
    parts = [
        '\n'.join(f'% {note}' for note in notes),
        _latex_table('l' + 'c' * span * len(comparison.scores), head, body, caption),
    ]
    tests = [' & '.join(map(_latex_p, line)) + r' \\' for line in outcomes(comparison)]
    if tests:
        head = [' & '.join(escape_latex(heading) for heading in OUTCOME_HEADINGS) + r' \\']
        caption = [f'{comparison.reference} against the other methods.']
        parts.append(_latex_table('lll' + 'r' * 9, head, tests, caption))
    return '\n\n'.join(parts) + '\n'


def _latex_table(layout: str, head: list[str], body: list[str], caption: list[str]) -> str:
    text = ' '.join(escape_latex(sentence) for sentence in caption)
    return '\n'.join(
        [
            r'\begin{table*}',
            r'\centering',
            rf'\caption{{{text}}}',
            rf'\begin{{tabular}}{{{layout}}}',
            r'\toprule',
            *head,
            r'\midrule',
            *body,
            r'\bottomrule',
            r'\end{tabular}',
            r'\end{table*}',
        ]
    )


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return '--'
    mean = rf'\textbf{{{cell.mean}}}' if cell.is_best else escape_latex(cell.mean)
    std = f' ({escape_latex(cell.std)})' if cell.std else ''
    return mean + std + _raised(cell.stars)


def _latex_p(text: str) -> str:
    """2.69e-03*** as a power of ten with raised stars; any other text escaped."""
    match = re.fullmatch(r'([\d.]+)(?:e(-\d+))?(\**)', text)
    if not match:
        return re.sub(r'(?<!\S)-(?=\d)', '$-$', escape_latex(text))
    number, power, stars = match.groups()
    shown = rf'${number} \times 10^{{{int(power)}}}$' if power else number
    return shown + _raised(stars)


def _raised(stars: str) -> str:
    return rf'\textsuperscript{{{stars}}}' if stars else ''


def escape_latex(text: str) -> str:
    """Text whose special characters LaTeX prints as they are."""
    return ''.join(_LATEX.get(character, character) for character in text)


def _csv_rows(comparison: Comparison, quoted: Sequence[QuotedTable]) -> list[dict[str, Any]]:
    """One row per method, subset and score, at full precision."""
    rows: list[dict[str, Any]] = []
    for method in comparison.methods:
        for score, subset in columns(comparison):
            spread = comparison.spread(method.name, score, subset)
            if spread is None:
                continue
            row = {'method': method.name, 'source': 'measured', 'subset': subset, 'score': score}
            row |= spread._asdict()
            tested = comparison.tests[score].get(method.name)
            if tested and subset == ALL:
                row |= asdict(tested.test) | {
                    'p_t_holm': tested.p_t_holm,
                    'p_wilcoxon_holm': tested.p_wilcoxon_holm,
                }
            rows.append(row)
    for table in quoted:
        for quotation in table.rows:
            for score, figure in quotation.scores.items():
                source = f'quoted: {table.source}, table {quotation.table}, {table.dataset}'
                row = {'method': quotation.method, 'source': source, 'subset': quotation.subset}
                rows.append({**row, 'score': score, **figure._asdict()})
    return rows


def as_json(comparison: Comparison, quoted: Sequence[QuotedTable] = ()) -> dict[str, Any]:
    """Everything that was computed and how; what is undefined is None."""
    packages = {name: metadata.version(name) for name in ('numpy', 'scipy')}
    content = {
        'methods': {m.name: str(m.source) for m in comparison.methods},
        'reference': comparison.reference,
        'images': comparison.images,
        'images_left_out': comparison.left_out,
        'images_without_value': {s: comparison.undefined(s) for s in comparison.scores},
        'subsets': comparison.subsets,
        'scores': {
            score: {
                'definition': DEFINITIONS[score],
                'better': BETTER[score],
                'means': {
                    name: {
                        subset: comparison.spread(name, score, subset)._asdict()
                        for subset in comparison.subsets
                    }
                    for name in comparison.values[score]
                },
                'tests': {
                    other: asdict(tested.test)
                    | {'p_t_holm': tested.p_t_holm, 'p_wilcoxon_holm': tested.p_wilcoxon_holm}
                    for other, tested in comparison.tests[score].items()
                },
                'untested': comparison.untested.get(score),
            }
            for score in comparison.scores
        },
        'how': {
            'tests': 'scipy.stats.ttest_rel and scipy.stats.wilcoxon, one-tailed: the reference is '
            'better; p_*_holm: corrected over the methods of a score',
            'interval': f'scipy.stats.bootstrap of the mean paired difference, BCa, '
            f'{NUM_RESAMPLES} resamples, {CONFIDENCE:.0%}, two-sided',
            'std': 'of a sample, n - 1',
            'min_images': MIN_IMAGES,
            'seed': comparison.seed,
        },
        'quoted': [asdict(table) for table in quoted],
        'pooled': {m.name: m.summary.get('pooled') for m in comparison.methods if m.summary},
        'timing': {m.name: m.timing for m in comparison.methods if m.timing},
        'versions': {'mmcell': mmcell.__version__, 'python': platform.python_version(), **packages},
        'time': datetime.now(timezone.utc).isoformat(timespec='seconds'),
    }
    return without_nan(content)
