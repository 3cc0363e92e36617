"""Methods side by side: scores per image read, paired by file name, summarized and tested."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mmcell.engine.errors import UserError, did_you_mean
from mmcell.evaluation.readers.files import image_name, name_in_folder
from mmcell.evaluation.registry import check_scores
from mmcell.evaluation.statistics import MIN_IMAGES, PairedTest, holm, paired_test
from mmcell.evaluation.summary import BETTER, DEFINITIONS, RANKED_DEFINITIONS

ALL = 'all'
# The columns of the papers' tables.
DEFAULT_SCORES = ('aji', 'dice', 'f1', 'pq')


@dataclass(frozen=True)
class Method:
    """What a method scored.

    Attributes:
        name: as tables call it.
        source: the file that was read.
        scores: score -> image -> value; NaN where it is undefined. Images go by their names without
            suffixes, which tools write differently.
        subsets: image -> the subsets it belongs to.
        summary: content of ``summary.json`` beside the table; empty without one.
        timing: content of ``timing.json`` beside it; empty without one.
    """

    name: str
    source: Path
    scores: dict[str, dict[str, float]]
    subsets: dict[str, tuple[str, ...]]
    summary: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> list[str]:
        """Names of the images, in the order of the file."""
        return list(self.subsets)


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample, n - 1) over n images; NaN where there is none."""

    mean: float
    std: float
    n: int


class Tested(NamedTuple):
    """A test against the reference, and its p-values after Holm's correction."""

    test: PairedTest
    p_t_holm: float
    p_wilcoxon_holm: float


@dataclass(frozen=True)
class Comparison:
    """Methods on the images that all of them have.

    Attributes:
        methods: in the order given.
        reference: name of the method that the others are tested against.
        scores: compared ones.
        images: on which every method was scored.
        left_out: image that some method lacks -> names of the methods that lack it.
        used: score -> images with a value in every method that has the score.
        values: score -> method -> (N,) values, in the order of ``used``.
        subsets: subset -> its images; the last one is 'all'.
        tests: score -> other method -> tests against the reference.
        untested: score -> why there are no tests.
        seed: of the bootstrap.
    """

    methods: tuple[Method, ...]
    reference: str
    scores: tuple[str, ...]
    images: list[str]
    left_out: dict[str, list[str]]
    used: dict[str, list[str]]
    values: dict[str, dict[str, npt.NDArray[np.float64]]]
    subsets: dict[str, list[str]]
    tests: dict[str, dict[str, Tested]]
    untested: dict[str, str]
    seed: int

    @property
    def names(self) -> list[str]:
        """Names of the methods, in the order given."""
        return [method.name for method in self.methods]

    def spread(self, method: str, score: str, subset: str = ALL) -> Spread | None:
        """Mean and deviation of a method on a subset; None if it does not have the score."""
        if method not in self.values[score]:
            return None
        members = set(self.subsets[subset])
        inside = [image in members for image in self.used[score]]
        values = self.values[score][method][inside]
        return Spread(
            float(values.mean()) if len(values) else np.nan,
            float(values.std(ddof=1)) if len(values) > 1 else np.nan,
            len(values),
        )

    def undefined(self, score: str) -> list[str]:
        """Images left out of a score because some method has no value there."""
        used = set(self.used[score])
        return [image for image in self.images if image not in used]


def read_method(path: str | Path, name: str | None = None) -> Method:
    """Read the scores of a method.

    Args:
        path: a table with a column ``image``, columns named like scores of mmcell and optionally
            ``subset`` (names joined by ';'), or a folder that holds it as ``per_image.csv``. Images
            go by :func:`~mmcell.evaluation.readers.files.image_name`.
        name: what to call it; the folder's name, or that of the table, by default.

    Raises:
        UserError: If there is no such table or it is broken; names file and line.
    """
    table = Path(path)
    if table.is_dir():
        table /= 'per_image.csv'
    if not table.is_file():
        raise UserError(f'{table}: no such table of scores per image, as tools/test.py writes it')
    if name is None:
        named = table.absolute().parent if table.name == 'per_image.csv' else table.with_suffix('')
        name = named.name
    scores, subsets = _read_table(table)
    summary = _read_json(table.with_name('summary.json'))
    pooled = summary.get('pooled', {})
    if not isinstance(pooled, dict) or not all(
        value is None or isinstance(value, (int, float)) for value in pooled.values()
    ):
        raise UserError(f'{table.with_name("summary.json")}: "pooled" is not a number per score')
    return Method(name, table, scores, subsets, summary, _read_json(table.with_name('timing.json')))


def _read_table(path: Path) -> tuple[dict[str, dict[str, float]], dict[str, tuple[str, ...]]]:
    subsets: dict[str, tuple[str, ...]] = {}
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            known = [column for column in columns if column in DEFINITIONS]
            if 'image' not in columns or not known:
                raise UserError(
                    f'{path}, line 1: expected a column "image" and some of '
                    f'{", ".join(DEFINITIONS)}, got {", ".join(columns) or "nothing"}'
                )
            scores: dict[str, dict[str, float]] = {column: {} for column in known}
            rows = [(f'{path}, line {reader.line_num}', row) for row in reader]
            counts = Counter(image_name(row.get('image') or '') for _, row in rows)
            for where, row in rows:
                # DictReader fills up short rows with None and collects what is too much under it.
                if None in row or None in row.values():
                    raise UserError(f'{where}: expected {len(columns)} cells as in the heading')
                image = image_name(row['image'])
                # Images of different folders. All of them: in a table that lacks some, the first of
                # a name may be another image.
                if counts[image] > 1 and row.get('img_id'):
                    image = f'{image} (id {row["img_id"]})'
                elif counts[image] > 1:
                    image = name_in_folder(row['image'])
                if not image or image in subsets:
                    problem = 'is there already' if image else 'has no name'
                    raise UserError(f'{where}: image {row["image"]!r} {problem}')
                subsets[image] = tuple(filter(None, row.get('subset', '').split(';')))
                for column in known:
                    scores[column][image] = _number(row[column], f'{where}, {column}')
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f'{path}: cannot be read as CSV: {error}') from error
    if not subsets:
        raise UserError(f'{path}: holds no image')
    return scores, subsets


def _number(text: str, where: str) -> float:
    """An empty cell is no value; neither is infinity, of which there is no mean."""
    try:
        value = float(text or 'nan')
    except ValueError:
        raise UserError(f'{where}: expected a number or nothing, got {text!r}') from None
    return value if np.isfinite(value) else np.nan


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: cannot be read as JSON: {error}') from error
    if not isinstance(content, dict):
        raise UserError(f'{path}: expected a JSON object')
    return content


def compare_methods(
    methods: Sequence[Method],
    scores: Iterable[str] | None = None,
    reference: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Pair methods by image and test the reference against each other one.

    Args:
        methods: two or more, of different names.
        scores: which to compare; 'all' for all that some method has; by default AJI, Dice, F1 and
            PQ as far as they are there.
        reference: name of the method that may be better than the others; the first by default.
        seed: of the bootstrap.

    Raises:
        UserError: If names are not unique or unknown, subsets contradict each other, no method has
            a score, or fewer than three images are common to all.
    """
    names = [method.name for method in methods]
    if len(methods) < 2:
        raise UserError('one method alone cannot be compared: name two tables or folders, or more')
    if len(set(names)) < len(names):
        raise UserError(f'methods need different names, got {", ".join(names)}: give --names')
    reference = names[0] if reference is None else reference
    if reference not in names:
        raise UserError(
            f'there is no method {reference!r}.{did_you_mean(reference, names)} '
            f'Methods are {", ".join(names)}'
        )
    chosen = _choose_scores(methods, scores)
    images, left_out = _pair(methods)
    used, values = {}, {}
    for score in chosen:
        used[score], values[score] = _values(methods, score, images)
    tests, untested = {}, {}
    for score in chosen:
        tests[score], reason = _test(values[score], reference, score, seed)
        if reason:
            untested[score] = reason
    subsets = _subsets(methods, images)
    return Comparison(
        tuple(methods), reference, chosen, images, left_out, used, values, subsets, tests,
        untested, seed,
    )  # fmt: skip


def _choose_scores(methods: Sequence[Method], scores: Iterable[str] | None) -> tuple[str, ...]:
    scores = [scores] if isinstance(scores, str) else scores and list(scores)
    for name in scores or ():
        if name in RANKED_DEFINITIONS:
            raise UserError(
                f'{name} ranks the detections of all images: images have no value of it that could '
                'be tested. The report names it where CellMetric computed it.'
            )
    there = [name for name in DEFINITIONS if any(name in method.scores for method in methods)]
    if scores is None:
        return tuple(name for name in DEFAULT_SCORES if name in there) or tuple(there)
    try:
        return check_scores(scores, there)
    except ValueError as error:
        raise UserError(f'in these tables {error}') from None


def _pair(methods: Sequence[Method]) -> tuple[list[str], dict[str, list[str]]]:
    """Images that all methods have, and for the others the methods that lack them."""
    lacking = {
        image: [method.name for method in methods if image not in method.subsets]
        for method in methods
        for image in method.images
    }
    images = [image for image, lack in lacking.items() if not lack]
    if len(images) < MIN_IMAGES:
        example = ', '.join(f'{method.name}: {method.images[0]}' for method in methods)
        raise UserError(
            f'{len(images)} images are common to all methods by their file name, a paired test '
            f'needs at least {MIN_IMAGES}: fewer differences say nothing about their spread. '
            f'First images: {example}'
        )
    return images, {image: lack for image, lack in lacking.items() if lack}


def _values(
    methods: Sequence[Method], score: str, images: list[str]
) -> tuple[list[str], dict[str, np.ndarray]]:
    having = [method for method in methods if score in method.scores]
    table = np.array([[m.scores[score][image] for image in images] for m in having])
    defined = ~np.isnan(table).any(axis=0)
    used = [image for image, is_defined in zip(images, defined, strict=True) if is_defined]
    return used, {m.name: row[defined] for m, row in zip(having, table, strict=True)}


def _test(
    values: Mapping[str, np.ndarray], reference: str, score: str, seed: int
) -> tuple[dict[str, Tested], str]:
    """Tests of one score, which make up a family for Holm's correction, or why there are none."""
    if reference not in values:
        return {}, f'{reference} does not have this score'
    num_images = len(values[reference])
    if num_images < MIN_IMAGES:
        return {}, f'{num_images} images have a value in every method, {MIN_IMAGES} are needed'
    others = [name for name in values if name != reference]
    if not others:
        return {}, 'no other method has this score'
    tests = [paired_test(values[reference], values[o], BETTER[score], seed) for o in others]
    p_t = holm([test.p_t for test in tests])
    p_wilcoxon = holm([test.p_wilcoxon for test in tests])
    adjusted = zip(tests, p_t.tolist(), p_wilcoxon.tolist(), strict=True)
    return dict(zip(others, (Tested(*entry) for entry in adjusted), strict=True)), ''


def _subsets(methods: Sequence[Method], images: list[str]) -> dict[str, list[str]]:
    """Subset -> images, from the methods that know subsets; 'all' comes last."""
    knowing = [method for method in methods if any(method.subsets.values())]
    subsets: dict[str, list[str]] = {}
    for image in images:
        claims = {frozenset(method.subsets[image]) for method in knowing}
        if len(claims) > 1:
            said = ', '.join(f'{m.name}: {";".join(m.subsets[image]) or "none"}' for m in knowing)
            raise UserError(f'methods put {image} into different subsets: {said}')
        for name in knowing[0].subsets[image] if knowing else ():
            if name != ALL:
                subsets.setdefault(name, []).append(image)
    return {**subsets, ALL: images}
