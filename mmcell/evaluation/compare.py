"""What ``mmcell compare`` does between reading its options and the summary on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmcell.engine.errors import UserError, did_you_mean, writing_to
from mmcell.evaluation.comparison import Comparison, Method, compare_methods, read_method
from mmcell.evaluation.comparison_files import write_comparison
from mmcell.evaluation.comparison_text import outcomes, score_title
from mmcell.evaluation.quoted import load_quoted
from mmcell.evaluation.summary import BETTER
from mmcell.visualization.case_files import CaseFiles
from mmcell.visualization.cases import draw_cases
from mmcell.visualization.overlay import write_png
from mmcell.visualization.report import PictureGroup, write_report
from mmcell.visualization.score_plots import draw_boxes, draw_scatter

_MAX_NAMED = 5  # on the terminal


def split_names(text: str | None) -> list[str] | None:
    """Names of a list with commas; None stays None."""
    return None if text is None else [name.strip() for name in text.split(',') if name.strip()]


def read_methods(paths: Sequence[str], names: Sequence[str] | None) -> list[Method]:
    """Read each method's scores.

    Raises:
        UserError: If there is not one name per path, or a table is missing or broken.
    """
    if names is not None and len(names) != len(paths):
        raise UserError(f'--names: {len(names)} names for {len(paths)} results: {", ".join(names)}')
    called = names or [None] * len(paths)
    return [read_method(path, name) for path, name in zip(paths, called, strict=True)]


def write_results(
    out: Path,
    methods: Sequence[Method],
    scores: Sequence[str] | None = None,
    reference: str | None = None,
    quoted: Sequence[str] = (),
    images: Path | None = None,
    gt: str | None = None,
    labels: Sequence[str] = (),
    num_cases: int = 3,
    seed: int = 0,
) -> tuple[str, list[str]]:
    """Compare methods and write tables, pictures and the report.

    Args:
        out: folder, made where missing; files of an earlier call are replaced.
        methods: two or more.
        scores: as in :func:`~mmcell.evaluation.comparison.compare_methods`.
        reference: the same.
        quoted: files of published figures, or names of shipped ones.
        images: folder of the images, for pictures of the best and worst.
        gt: their ground truth, as ``mmcell evaluate`` reads it.
        labels: ``NAME=RESULTS``, the same for a method's predictions.
        num_cases: how many of the best, and of the worst images are drawn.
        seed: of the bootstrap.

    Returns:
        What happened, for a terminal, and one line per picture that could not be drawn.

    Raises:
        UserError: If something that was given cannot be used.
        OutputError: If ``out`` cannot be written to.
    """
    if bool(images) + bool(gt) + bool(labels) not in (0, 3):
        raise UserError('pictures of images need all of --images, --gt and --labels NAME=RESULTS')
    tables = [load_quoted(name) for name in quoted]
    comparison = compare_methods(methods, scores, reference, seed)
    sources = _label_sources(labels, comparison.names)
    files = CaseFiles(images, gt, sources) if images and gt else None
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--out: {error}') from error
    failures: list[str] = []
    with writing_to(out):
        write_comparison(out, comparison, tables)
        pictures = _draw_scores(out, comparison)
        if files:
            pictures += _draw_cases(out, comparison, files, num_cases, failures)
        write_report(out / 'report.html', comparison, tables, pictures)
    return _summary(comparison, out), failures


def _label_sources(labels: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    sources = {}
    for text in labels:
        name, equals, source = text.partition('=')
        if not equals or name not in names:
            raise UserError(
                f'--labels {text}: expected NAME=RESULTS with a name of {", ".join(names)}.'
                f'{did_you_mean(name, names)}'
            )
        sources[name] = source
    return {name: sources[name] for name in names if name in sources}


def _draw_scores(out: Path, comparison: Comparison) -> list[PictureGroup]:
    boxes, scatters = [], []
    for score in comparison.scores:
        title, values = score_title(score, True), comparison.values[score]
        if not comparison.used[score]:
            continue
        path = out / f'box_{score}.png'
        draw_boxes(path, values, title, comparison.reference)
        boxes.append((f'{title}: one box per method', path))
        if comparison.reference in values and len(values) > 1:
            path = out / f'scatter_{score}.png'
            groups = _groups(comparison, score)
            draw_scatter(path, comparison.reference, values, title, groups, BETTER[score])
            scatters.append((f'{title}: image by image', path))
    wide = len(comparison.methods) > 3
    return [
        PictureGroup('Box plots', boxes),
        PictureGroup(f'Image by image against {comparison.reference}', scatters, wide),
    ]


def _groups(comparison: Comparison, score: str) -> list[str] | None:
    """Each image's first subset, where there are any."""
    first: dict[str, str] = {}
    for subset, members in list(comparison.subsets.items())[:-1]:
        for image in members:
            first.setdefault(image, subset)
    return [first.get(image, 'other') for image in comparison.used[score]] if first else None


def _draw_cases(
    out: Path, comparison: Comparison, files: CaseFiles, num_cases: int, failures: list[str]
) -> list[PictureGroup]:
    """The images on which the reference does worst and best in the first score.

    What cannot be read is added to ``failures``; the others are drawn.
    """
    score, reference = comparison.scores[0], comparison.reference
    if reference not in comparison.values[score]:
        raise UserError(f'{reference} does not have {score}, by which images are chosen')
    used = [image in files.images for image in comparison.used[score]]
    names = np.array(comparison.used[score])[used].tolist()
    if not names:
        raise UserError(f'no image has a file in {files.described}: {comparison.images[0]}')
    values = {name: column[used] for name, column in comparison.values[score].items()}
    key = values[reference] if BETTER[score] != 'zero' else np.abs(values[reference])
    order = np.argsort(key if BETTER[score] == 'higher' else -key, kind='stable').tolist()
    worst = order[: min(num_cases, -(-len(order) // 2))]
    best = [k for k in order[::-1][:num_cases] if k not in worst]
    chosen = [('worst', k) for k in worst] + [('best', k) for k in best]
    title = score_title(score)
    cases, drawn = [], Counter[str]()
    for rank, k in chosen:
        heading = f'{names[k]}: {rank} for {reference} by {title}'
        captions = {name: f'{title} {column[k]:.3f}' for name, column in values.items()}
        try:
            cases.append(files.read(names[k], heading, captions))
            drawn[rank] += 1
        except UserError as error:
            failures.append(f'{names[k]}: {error}')
    if not cases:
        return []
    path = out / 'cases.png'
    write_png(path, draw_cases(cases))
    counts = f'The {drawn["worst"]} worst and the {drawn["best"]} best of {len(names)} images'
    caption = f'{counts}, by {title} of {reference}'
    return [PictureGroup('Worst and best images', [(caption, path)], wide=True)]


def _summary(comparison: Comparison, out: Path) -> str:
    said = [
        f'{len(comparison.images)} images in common, reference {comparison.reference}',
        *(
            f'{o.score} against {o.other}: {o.difference} ({o.interval}), p {o.p_t_holm} (t), '
            f'{o.p_wilcoxon_holm} (Wilcoxon) after Holm: {o.finding}'
            for o in outcomes(comparison)
        ),
        *(f'{score_title(s)}: not tested, {why}' for s, why in comparison.untested.items()),
    ]
    if comparison.left_out:
        first = ', '.join(list(comparison.left_out)[:_MAX_NAMED])
        rest = ', ... (all in table.md)' if len(comparison.left_out) > _MAX_NAMED else ''
        said.append(
            f'{len(comparison.left_out)} images left out because a method lacks them: {first}{rest}'
        )
    return '\n'.join([*said, f'report in {out / "report.html"}'])
