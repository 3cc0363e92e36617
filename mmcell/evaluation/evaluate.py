"""Scoring the results of any tool, file by file, in parallel."""

from __future__ import annotations

import csv
import math
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from mmcell.engine.errors import UserError, writing_to
from mmcell.evaluation.pairs import Pair, Reading, Scored, failure, score_pair
from mmcell.evaluation.readers.files import Failure, Side, find_side, image_name, name_in_folder
from mmcell.evaluation.registry import check_scores
from mmcell.evaluation.summary import DEFAULT_SCORES, Row, render_text, summarize, write_summary

# A new process loads libraries for as long as it takes to score some ten images of 1000 x 1000
# pixels, or a hundred of 256 x 256.
_IMAGES_PER_WORKER = 32

OVERLAP_RULE = 'a shared pixel goes to the higher score, without scores to the earlier object'


class Matching(NamedTuple):
    """Images by what can be done with them.

    Attributes:
        pairs: on both sides, once each; in order of their name.
        failures: on one side only, ambiguous, or in a file that could not be understood.
        ignored: files of other kinds.
    """

    pairs: list[Pair]
    failures: list[Failure]
    ignored: list[Path]


class Evaluation(NamedTuple):
    """What came of it.

    Attributes:
        text: the table for a terminal, and notes on how the files were read.
        failures: every image and file that is not scored.
        rows: the scored images.
        summary: of them; empty if there is none.
        notes: those of the text.
    """

    text: str
    failures: list[Failure]
    rows: Sequence[Row]
    summary: Mapping[str, Any]
    notes: Sequence[str]


def choose_scores(names: str | None) -> tuple[str, ...]:
    """Scores from a list with commas, in table order; 'all' is every one, None the papers'.

    Raises:
        UserError: If one is unknown.
    """
    if names is None:
        return DEFAULT_SCORES
    try:
        return check_scores([name.strip() for name in names.split(',') if name.strip()])
    except ValueError as error:
        raise UserError(f'--scores: {error}') from error


def match_sides(gt: str | Path, pred: str | Path, score_threshold: float | None = None) -> Matching:
    """Pair ground truth and predictions by the name of the image.

    Args:
        gt: a file, folder or pattern of ground truth.
        pred: the same of predictions.
        score_threshold: predicted COCO objects with a score below it are left out, in [0, 1]; None:
            as in :func:`~mmcell.evaluation.readers.files.find_side`.

    Raises:
        UserError: If nothing is found on one side.
    """
    try:
        gt_side = find_side(gt)
        pred_side = find_side(pred, gt_side.coco_files, score_threshold)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    pairs, failures = [], [*gt_side.failures, *pred_side.failures]
    for name in sorted({*gt_side.entries, *pred_side.entries}):
        problem = _mismatch(name, gt_side, pred_side)
        if problem:
            failures.append(problem)
        else:
            pairs.append(Pair(name, gt_side.entries[name][0], pred_side.entries[name][0]))
    return Matching(pairs, failures, [*gt_side.ignored, *pred_side.ignored])


def _mismatch(name: str, gt: Side, pred: Side) -> Failure | None:
    """What keeps an image from being scored, if anything does."""
    sides = {'ground truth': gt.entries.get(name, []), 'prediction': pred.entries.get(name, [])}
    files = '; '.join(entry.source for entries in sides.values() for entry in entries)
    try:
        name.encode()
    except UnicodeEncodeError:
        problem = 'its name is not valid UTF-8, in which tables name it: rename the file'
        return Failure(_shown(name), _shown(files), problem)
    for kind, entries in sides.items():
        if not entries:
            return Failure(name, files, f'has no {kind}')
        if len(entries) > 1:
            several = ' and '.join(entry.source for entry in entries)
            hint = "choose with a pattern such as 'folder/*_masks.tif'"
            return Failure(name, files, f'its {kind} is ambiguous, {several}; {hint}')
    return None


def _shown(name: str) -> str:
    """A name of any bytes as text."""
    return name.encode(errors='surrogateescape').decode(errors='backslashreplace')


def score_pairs(
    pairs: Sequence[Pair],
    scores: Sequence[str],
    workers: int | None = None,
    on_done: Callable[[], object] = lambda: None,
) -> list[Scored | Failure]:
    """Score images in several processes.

    Args:
        pairs: the images.
        scores: names in :data:`mmcell.evaluation.summary.DEFINITIONS`.
        workers: processes; 1 stays in this one; None takes what the cores and the number of images
            make worth starting.
        on_done: called after each image.

    Returns:
        One result per pair, in their order, for any number of workers.
    """
    if workers is None:
        workers = min(_cores(), math.ceil(len(pairs) / _IMAGES_PER_WORKER))
    results: list[Scored | Failure | None] = [None] * len(pairs)
    for k, result in _in_any_order(pairs, scores, workers):
        results[k] = result
        on_done()
    return results


def _in_any_order(
    pairs: Sequence[Pair], scores: Sequence[str], workers: int
) -> Iterator[tuple[int, Scored | Failure]]:
    if workers <= 1:
        for k, pair in enumerate(pairs):
            yield k, score_pair(pair, scores)
        return
    futures, unfinished = {}, []
    with _processes(workers) as pool:
        for k, pair in enumerate(pairs):
            try:
                futures[pool.submit(score_pair, pair, scores)] = k
            except BrokenProcessPool:
                unfinished.append(k)
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                unfinished.append(futures[future])
    # A process died, and its pool with it: which pair did it shows when each is alone.
    yield from _one_by_one(pairs, scores, sorted(unfinished))


def _one_by_one(
    pairs: Sequence[Pair], scores: Sequence[str], order: Sequence[int]
) -> Iterator[tuple[int, Scored | Failure]]:
    """Score the pairs that ``order`` names in a process of their own, a new one for each death."""
    left = list(order)
    while left:
        with _processes(1) as pool:
            while left:
                k = left.pop(0)
                try:
                    yield k, pool.submit(score_pair, pairs[k], scores).result()
                except BrokenProcessPool:
                    yield k, failure(pairs[k], 'the process that scored it died: out of memory?')
                    break


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processes(workers: int) -> ProcessPoolExecutor:
    # Not fork: the progress bar has a thread, and a forked child may inherit its locks.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context('spawn'))


def read_subsets(path: Path) -> dict[str, list[str]]:
    """Read which subsets an image belongs to.

    Args:
        path: CSV with the columns image and subset; an image may have several rows.

    Returns:
        Name of the image, without suffixes but with folders where the file gives them -> names of
        its subsets.

    Raises:
        UserError: If a column is missing or the file is no CSV text.
    """
    subsets: dict[str, list[str]] = {}
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            table = csv.DictReader(file)
            if not {'image', 'subset'} <= set(table.fieldnames or ()):
                raise ValueError(f'expected the columns image and subset, got {table.fieldnames}')
            for line in table:
                if not line['image'] or not line['subset']:
                    raise ValueError(f'line {table.line_num} lacks an image or a subset')
                # Semicolons join names in per_image.csv.
                if ';' in line['subset']:
                    raise ValueError(
                        f'line {table.line_num} has {line["subset"]!r}: give each subset a line'
                    )
                names = subsets.setdefault(name_in_folder(line['image']), [])
                names += [name for name in [line['subset']] if name not in names]
    except (ValueError, OSError, csv.Error) as error:
        raise UserError(f'{path}: {error}') from error
    return subsets


def conclude(
    matching: Matching,
    results: Sequence[Scored | Failure],
    scores: Sequence[str],
    subsets: Mapping[str, Sequence[str]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Summarise scored images.

    Args:
        matching: of :func:`match_sides`.
        results: of :func:`score_pairs`.
        scores: names of the scores in the results.
        subsets: of :func:`read_subsets`, in place of those that a COCO ground truth names.
        options: how this was called, for ``summary.json``.
    """
    scored = [result for result in results if isinstance(result, Scored)]
    failures = [*matching.failures, *(r for r in results if isinstance(r, Failure))]
    rows = [result.row for result in scored]
    subset_notes = []
    if subsets is not None:
        rows, subset_notes = _with_subsets(rows, subsets)
    readings = {'gt': _total([r.gt for r in scored]), 'pred': _total([r.pred for r in scored])}
    notes = [*_reading_notes(readings), *subset_notes]
    if failures:
        notes.append(f'{len(failures)} images or files are not scored and not in these numbers')
    if not rows:
        return Evaluation('no image was scored', failures, [], {}, [])
    summary = {
        **summarize(rows, scores=scores),
        'options': dict(options or {}),
        'overlap_rule': OVERLAP_RULE,
        'objects': {side: total._asdict() for side, total in readings.items()},
        'failures': len(failures),
    }
    text = '\n'.join([render_text(summary), *notes])
    return Evaluation(text, failures, rows, summary, notes)


def write_evaluation(out_dir: Path, evaluation: Evaluation) -> None:
    """Write ``per_image.csv``, ``summary.json`` and ``summary.md`` if an image was scored.

    And ``failures.csv`` if one was not.

    Args:
        out_dir: of :func:`prepare_out`.
        evaluation: of :func:`conclude`.

    Raises:
        OutputError: If the folder cannot be written to.
    """
    with writing_to(out_dir):
        if evaluation.failures:
            with open(out_dir / 'failures.csv', 'w', newline='', encoding='utf-8') as file:
                csv.writer(file).writerows([Failure._fields, *evaluation.failures])
        if evaluation.rows:
            write_summary(out_dir, evaluation.rows, evaluation.summary)
            with open(out_dir / 'summary.md', 'a', encoding='utf-8') as file:
                file.writelines(f'\n{note}.\n' for note in evaluation.notes)


def prepare_out(out_dir: Path) -> None:
    """Make the folder for results before the work, not after it.

    Raises:
        UserError: If it cannot be made, or holds results, which would mix with those of this call.
    """
    for name in ('summary.json', 'failures.csv'):
        if (out_dir / name).exists():
            raise UserError(f'{out_dir} holds results already: choose another folder or delete it.')
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{out_dir}: cannot be made: {error}') from error


def _with_subsets(
    rows: Sequence[Row], subsets: Mapping[str, Sequence[str]]
) -> tuple[list[Row], list[str]]:
    """Rows that know their subsets, and a note on images that the table or the rows lack.

    Without folders a name means the images of this name in all folders.
    """
    listed = defaultdict(list)
    for name in subsets:
        listed[image_name(name)].append(name)
    chosen, used = [], set()
    for row in rows:
        image = row['image']
        if image in subsets:
            names = [image]
        else:
            alike = listed[image_name(image)]
            names = [name for name in alike if '/' not in image or '/' not in name]
        used.update(names)
        members = dict.fromkeys(subset for name in names for subset in subsets[name])
        chosen.append({**row, 'subset': list(members)})
    without = sum(not row['subset'] for row in chosen)
    note = f'subsets: {without} scored images are in none, {len(subsets) - len(used)} listed ones '
    return chosen, [note + 'not scored']


def _total(readings: Sequence[Reading]) -> Reading:
    return Reading(*map(sum, zip(*readings, strict=True))) if readings else Reading(0, 0, 0)


def _reading_notes(readings: Mapping[str, Reading]) -> list[str]:
    """What flattening and thresholds did, where they did something."""
    notes = []
    for side, total in readings.items():
        parts = []
        if total.cut:
            parts.append(f'{total.cut} objects gave pixels to one that overlaps them')
        if total.lost:
            parts.append(f'{total.lost} have no pixel of their own and count as absent')
        if total.left_out:
            parts.append(
                f'{total.left_out} entries are left out (score below the threshold, crowd, or '
                'regions beside detections)'
            )
        if parts:
            rule = f' ({OVERLAP_RULE})' if total.cut or total.lost else ''
            notes.append(f'{side}: {", ".join(parts)}{rule}')
    return notes
