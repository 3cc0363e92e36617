"""What a comparison says, in words and cells: shared by Markdown, LaTeX and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmcell.engine.errors import UserError
from mmcell.evaluation.comparison import ALL, Comparison, Tested
from mmcell.evaluation.quoted import Figure, QuotedRow, QuotedTable
from mmcell.evaluation.statistics import CONFIDENCE, NUM_RESAMPLES, mark
from mmcell.evaluation.summary import BETTER, RANKED_DEFINITIONS
from mmcell.evaluation.summary import DEFINITIONS as OF_LABEL_MAPS

# Of every score that a table may hold.
DEFINITIONS = {**OF_LABEL_MAPS, **RANKED_DEFINITIONS}

_WORDS = {
    **{word: word.upper() for word in ('aji', 'f', 'dq', 'sq', 'pq', 'sbd', 'dsb', 'ap', 'fps')},
    **{word: word.upper() for word in ('ctc', 'seg', 'det', 'op', 'csb')},
    **{'dice': 'Dice', 'hausdorff': 'Hausdorff', 'iou': 'IoU'},
}
_ARROWS = {'higher': '↑', 'lower': '↓', 'zero': '→ 0'}
_LEVEL = 0.05
DASH = '–'
POOLED = 'Of all images of a method together, also those that another method lacks; not tested.'


class Cell(NamedTuple):
    """Mean and deviation of a method in one column.

    Attributes:
        mean: as text.
        std: as text; '' if unknown.
        stars: marks of significance.
        is_best: whether no measured method has a better mean here.
    """

    mean: str
    std: str = ''
    stars: str = ''
    is_best: bool = False


class Line(NamedTuple):
    """A method's line; ``quoted`` is the letter of its source, '' for measured methods."""

    name: str
    cells: list[Cell | None]
    quoted: str = ''
    is_reference: bool = False


class Outcome(NamedTuple):
    """One comparison with the reference, as text."""

    score: str
    other: str
    finding: str
    n: str
    difference: str
    interval: str
    record: str
    t: str
    p_t: str
    p_t_holm: str
    p_wilcoxon: str
    p_wilcoxon_holm: str


OUTCOME_HEADINGS = (
    'score', 'against', 'finding', 'n', 'difference', f'{CONFIDENCE:.0%} interval',
    'won/tied/lost', 't', 'p (t)', 'Holm', 'p (Wilcoxon)', 'Holm',
)  # fmt: skip


def score_title(score: str, with_arrow: bool = False) -> str:
    """A score as tables call it, on demand with the direction that is better."""
    words = [word.rstrip('0123456789') for word in score.split('_')]
    digits = [word[len(word.rstrip('0123456789')) :] for word in score.split('_')]
    shown = [_WORDS.get(w, w) + number for w, number in zip(words, digits, strict=True)]
    title = ' '.join(shown).replace('AJI plus', 'AJI+')
    title = title[0].upper() + title[1:]
    return f'{title} {_ARROWS[BETTER[score]]}' if with_arrow and score in BETTER else title


def number(value: float | None) -> str:
    """Four decimals for fractions, two for lengths and counts, a dash for nothing."""
    if value is None or math.isnan(value):
        return DASH
    return f'{value:.4f}' if abs(value) < 10 else f'{value:.2f}'


def p_text(p_value: float) -> str:
    """A p-value to three decimals, or with its power of ten if it is below 0.001."""
    if math.isnan(p_value):
        return DASH
    return f'{p_value:.2e}' if 0 < p_value < 0.001 else f'{p_value:.3f}'


def columns(comparison: Comparison) -> list[tuple[str, str]]:
    """Score and subset of each column."""
    return [(score, subset) for score in comparison.scores for subset in comparison.subsets]


def lines(comparison: Comparison, quoted: Sequence[QuotedTable] = ()) -> list[Line]:
    """Quoted methods first, then the measured ones in the order given."""
    table = []
    for letter, quotation in zip(_letters(len(quoted)), quoted, strict=True):
        table += _quoted_lines(comparison, quotation, letter)
    best = {column: _best(comparison, *column) for column in columns(comparison)}
    for name in comparison.names:
        cells: list[Cell | None] = []
        for column in columns(comparison):
            spread = comparison.spread(name, *column)
            if spread is None:
                cells.append(None)
                continue
            tested = comparison.tests[column[0]].get(name) if column[1] == ALL else None
            stars = mark(tested.p_t_holm) if tested else ''
            is_best = spread.mean == best[column]
            cells.append(Cell(number(spread.mean), number(spread.std), stars, is_best))
        table.append(Line(name, cells, is_reference=name == comparison.reference))
    return table


def _best(comparison: Comparison, score: str, subset: str) -> float | None:
    """The best mean; None where a mean near 0 may hide large deviations of both signs."""
    spreads = [comparison.spread(name, score, subset) for name in comparison.values[score]]
    means = [spread.mean for spread in spreads if spread and not math.isnan(spread.mean)]
    if not means or BETTER[score] == 'zero':
        return None
    return max(means) if BETTER[score] == 'higher' else min(means)


def _quoted_lines(comparison: Comparison, quotation: QuotedTable, letter: str) -> list[Line]:
    """One line per method and table, as far as the figures have a column."""
    methods: dict[tuple[str, str], list[QuotedRow]] = {}
    for row in quotation.rows:
        methods.setdefault((row.method, row.table), []).append(row)
    table = []
    for (method, _), rows in methods.items():
        figures = {(s, row.subset): figure for row in rows for s, figure in row.scores.items()}
        cells = [_quoted_cell(figures.get(column)) for column in columns(comparison)]
        if any(cells):
            table.append(Line(method, cells, quoted=letter))
    return table


def _quoted_cell(figure: Figure | None) -> Cell | None:
    if figure is None:
        return None
    return Cell(number(figure.mean), '' if figure.std is None else number(figure.std))


def _letters(count: int) -> list[str]:
    return [chr(ord('a') + k % 26) * (1 + k // 26) for k in range(count)]


def quotations(comparison: Comparison, quoted: Sequence[QuotedTable]) -> list[str]:
    """Where quoted figures are from, a few sentences per file, with its letter."""
    said = []
    for letter, q in zip(_letters(len(quoted)), quoted, strict=True):
        text = (
            f'[{letter}] Quoted from {q.source}, table {q.table}, on {q.dataset}; measured there, '
            'not here, and not tested.'
        )
        if not _quoted_lines(comparison, q, letter):
            text += ' It has no figure for the columns of the first table.'
        said.append(f'{text} {q.notes}'.rstrip())
    return said


def outcomes(comparison: Comparison) -> list[Outcome]:
    """Every test, score by score."""
    return [
        _outcome(score, other, tested)
        for score, tests in comparison.tests.items()
        for other, tested in tests.items()
    ]


def _outcome(score: str, other: str, tested: Tested) -> Outcome:
    test = tested.test
    return Outcome(
        score_title(score),
        other,
        finding(score, tested),
        str(test.n),
        f'{test.mean_difference:+.4f}',
        f'{number(test.ci_low)} to {number(test.ci_high)}',
        f'{test.wins}/{test.ties}/{test.losses}',
        DASH if math.isnan(test.t) else f'{test.t:.2f}',
        p_text(test.p_t),
        p_text(tested.p_t_holm) + mark(tested.p_t_holm),
        p_text(test.p_wilcoxon),
        p_text(tested.p_wilcoxon_holm) + mark(tested.p_wilcoxon_holm),
    )


def finding(score: str, tested: Tested) -> str:
    """What the tests of one comparison say about the reference, in a few words."""
    test = tested.test
    if test.note:
        return test.note
    by_t, by_rank = tested.p_t_holm < _LEVEL, tested.p_wilcoxon_holm < _LEVEL
    if by_t and by_rank:
        return 'reference better'
    if by_t or by_rank:
        return f'better by {"t-test" if by_t else "Wilcoxon"} alone'
    lost = test.ci_high < 0 if BETTER[score] == 'higher' else test.ci_low > 0
    return 'reference worse (interval)' if lost else 'no difference shown'


STARS = 't-test after Holm, * p < 0.05, ** p < 0.01, *** p < 0.001'


def explanations(comparison: Comparison) -> list[str]:
    """How the figures came about, and everything that was left out."""
    reference = comparison.reference
    said = [
        f'{_image_counts(comparison)}, paired by file name. Mean and standard deviation (n - 1) '
        'over images.',
        f'Tests on all images, one-tailed; alternative: {reference} is better. Paired t-test and '
        "Wilcoxon signed-rank test (ties dropped), each with Holm's correction over the "
        f'methods compared in a score. Stars at a method: {reference} is better, {STARS}.',
        f'Difference: mean over images of {reference} minus the other method, of absolute values '
        f'where 0 is best. Its {CONFIDENCE:.0%} interval is two-sided: bootstrap of the images '
        f'(BCa, {NUM_RESAMPLES:,} resamples, seed {comparison.seed}).',
    ]
    if comparison.left_out:
        listed = '; '.join(f'{i} ({", ".join(m)})' for i, m in comparison.left_out.items())
        said.append(
            f'{len(comparison.left_out)} images left out of everything because a method lacks '
            f'them: {listed}.'
        )
    for score in comparison.scores:
        undefined = comparison.undefined(score)
        if undefined:
            said.append(
                f'{score_title(score)}: {len(undefined)} images left out because a method has no '
                f'value there: {", ".join(undefined)}.'
            )
    for score, reason in comparison.untested.items():
        said.append(f'{score_title(score)}: not tested, {reason}.')
    return said


def _image_counts(comparison: Comparison) -> str:
    total = f'{len(comparison.images)} images'
    parts = [f'{name} {len(i)}' for name, i in comparison.subsets.items() if name != ALL]
    return f'{total} ({", ".join(parts)})' if parts else total


def pooled_lines(comparison: Comparison, quoted: Sequence[QuotedTable] = ()) -> list[list[str]]:
    """Values of all images together, from each method's summary.json; headings first.

    Average precision is there, which has no value per image, and so is what is quoted of it.
    """
    pooled = {m.name: m.summary.get('pooled', {}) for m in comparison.methods}
    possible = (*comparison.scores, *RANKED_DEFINITIONS)
    scores = [s for s in possible if any(s in values for values in pooled.values())]
    if not scores:
        return []
    rows = [[name, *(number(values.get(s)) for s in scores)] for name, values in pooled.items()]
    ranked = [score if score in RANKED_DEFINITIONS else '' for score in scores]
    for letter, table in zip(_letters(len(quoted)), quoted, strict=True):
        for row in table.rows:
            if row.subset == ALL and row.scores.keys() & set(ranked):
                figures = (row.scores.get(score) for score in ranked)
                means = [DASH if figure is None else number(figure.mean) for figure in figures]
                rows.append([f'{row.method} [{letter}]', *means])
    return [['method', *map(score_title, scores)], *rows]


def definitions(comparison: Comparison) -> list[tuple[str, str]]:
    """Title and meaning of every score that was measured."""
    pooled = {score for m in comparison.methods for score in m.summary.get('pooled', {})}
    shown = (*comparison.scores, *(score for score in RANKED_DEFINITIONS if score in pooled))
    return [(score_title(score), DEFINITIONS[score]) for score in shown]


def timing_lines(comparison: Comparison) -> tuple[list[list[str]], list[str]]:
    """Speed and memory of the methods that were timed: a table, headings first, and its notes.

    Raises:
        UserError: If a ``timing.json`` lacks what ``tools/test.py --timing`` writes.
    """
    timed = [method for method in comparison.methods if method.timing]
    if not timed:
        return [], []
    headings = [
        'method', 'images/s', 'ms/image', 'peak memory', 'peak CUDA memory', 'megapixels', 'batch',
        'images', 'warm-up', 'device',
    ]  # fmt: skip
    notes = ['Speed: median over images, quartiles in parentheses; warm-up images are not counted.']
    rows, conditions = [], set()
    for method in timed:
        path = method.source.with_name('timing.json')
        try:
            conditions.add((method.timing['device'], method.timing['batch_size']))
            row = _timing_line(method.name, method.timing)
            included = '; '.join(f'{k}: {v}' for k, v in method.timing['included'].items())
            said = f'Included: {included}. Not included: {method.timing["not_included"]}.'
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f'{path}: is not what tools/test.py --timing writes: {error!r}'
            ) from None
        rows.append(row)
        if said not in notes:
            notes.append(said)
    if len(conditions) > 1:
        notes.append('Device or batch size differ: these speeds cannot be compared.')
    return [headings, *rows], notes


def _timing_line(name: str, timing: Mapping[str, Any]) -> list[str]:
    total = timing['seconds_per_image']['total']
    return [
        name,
        '{median:.2f} ({q1:.2f}–{q3:.2f})'.format(**timing['fps']),
        '{:.1f} ({:.1f}–{:.1f})'.format(*(1000 * total[key] for key in ('median', 'q1', 'q3'))),
        _mebibytes(timing['peak_rss_bytes']),
        _mebibytes(timing['peak_cuda_bytes']),
        f'{timing["median_megapixels"]:.2f}',
        str(timing['batch_size']),
        str(timing['n_images']),
        str(timing['warmup_images']),
        str(timing['device']),
    ]


def _mebibytes(count: int | None) -> str:
    return DASH if count is None else f'{count / 2**20:.0f} MiB'
