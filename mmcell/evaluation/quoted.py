"""Results quoted from papers: YAML files, some of them shipped in ``quoted/``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mmcell.engine.errors import UserError, did_you_mean
from mmcell.evaluation.summary import BETTER

_SHIPPED = Path(__file__).with_name('quoted')
_ROW_KEYS = {'method', 'subset', 'table'}
_FILE_KEYS = {'source', 'table', 'dataset', 'notes', 'printed_as', 'percent', 'rows'}


class Figure(NamedTuple):
    """A mean over images and, where it is printed, its standard deviation."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class QuotedRow:
    """What a table says about a method on a subset ('all' for all images)."""

    method: str
    subset: str
    table: str
    scores: dict[str, Figure]


@dataclass(frozen=True)
class QuotedTable:
    """One file.

    Attributes:
        name: of the file, without suffix.
        source: the publication.
        table: its number there.
        dataset: what the figures were measured on.
        notes: what a reader should know; may be empty.
        printed_as: score -> its name in the publication, where that is another one.
        rows: in the order of the publication; fractions, not percent.
    """

    name: str
    source: str
    table: str
    dataset: str
    notes: str
    printed_as: dict[str, str]
    rows: tuple[QuotedRow, ...]

    @property
    def scores(self) -> list[str]:
        """Scores that some row has, in order of appearance."""
        return list(dict.fromkeys(score for row in self.rows for score in row.scores))


def shipped_names() -> list[str]:
    """Names of the files that come with mmcell."""
    return sorted(path.stem for path in _SHIPPED.glob('*.yaml'))


def load_quoted(name: str | Path) -> QuotedTable:
    """Read a file of quoted figures.

    Args:
        name: a file, or the name of a shipped one such as 'pffnet_kumar'. The file holds
            ``source``, ``table``, ``dataset`` and ``rows``; each row has a ``method``, one or more
            ``score: {mean: 0.61, std: 0.07}`` (``std`` may be missing), and optionally a
            ``subset`` and a ``table`` of its own. Scores listed under ``percent`` are divided by
            100. ``notes`` and ``printed_as`` (score -> name in the publication) are optional.

    Raises:
        UserError: If there is no such file, or what it holds cannot be used; names the place.
    """
    path = Path(name)
    if not path.suffix and not path.exists():
        path = _SHIPPED / f'{name}.yaml'
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        known = shipped_names()
        raise UserError(
            f'{name}: no such file, and no quoted figures of this name.'
            f'{did_you_mean(str(name), known)} Shipped are {", ".join(known)}.'
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f'{path}: cannot be read as YAML: {error}') from error
    return _parse(path, content)


def _parse(path: Path, content: Any) -> QuotedTable:
    if not isinstance(content, Mapping) or not isinstance(content.get('rows'), list):
        raise UserError(f'{path}: expected source, table, dataset and a list of rows')
    unknown = [key for key in content if key not in _FILE_KEYS]
    if unknown:
        raise UserError(f'{path}: unknown entry {unknown[0]!r}, known are {sorted(_FILE_KEYS)}')
    for key in ('source', 'table', 'dataset'):
        if not content.get(key):
            raise UserError(
                f'{path}: lacks {key!r}: quoted figures need to say where they are from'
            )
    percent, printed_as = content.get('percent') or [], content.get('printed_as') or {}
    if not isinstance(percent, list) or not isinstance(printed_as, Mapping):
        raise UserError(
            f'{path}: expected percent as a list of scores and printed_as as score: name, got '
            f'{percent!r} and {printed_as!r}'
        )
    rows = tuple(
        _parse_row(f'{path}, row {number}', row, str(content['table']), percent)
        for number, row in enumerate(content['rows'], 1)
    )
    return QuotedTable(
        path.stem,
        str(content['source']),
        str(content['table']),
        str(content['dataset']),
        str(content.get('notes') or ''),
        dict(printed_as),
        rows,
    )


def _parse_row(where: str, row: Any, table: str, percent: list[str]) -> QuotedRow:
    if not isinstance(row, Mapping) or not row.get('method'):
        raise UserError(f'{where}: lacks its method')
    scores = {}
    for score in row.keys() - _ROW_KEYS:
        # Publications have scores that are not measured here, under any other name.
        if score not in BETTER and str(score).lower() in BETTER:
            raise UserError(f'{where}: unknown score {score!r}, write {str(score).lower()!r}')
        scale = 100 if score in percent else 1
        scores[score] = _parse_figure(f'{where} ({row["method"]}), {score}', row[score], scale)
    if not scores:
        raise UserError(f'{where} ({row["method"]}): holds no score')
    ordered = {score: scores[score] for score in row if score in scores}
    subset = str(row.get('subset', 'all'))
    return QuotedRow(str(row['method']), subset, str(row.get('table', table)), ordered)


def _parse_figure(where: str, figure: Any, scale: int) -> Figure:
    if not isinstance(figure, Mapping) or 'mean' not in figure or figure.keys() - {'mean', 'std'}:
        raise UserError(f'{where}: expected {{mean: 0.61, std: 0.07}}, got {figure!r}')
    for value in figure.values():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
            raise UserError(f'{where}: expected a number, got {value!r}')
    std = figure.get('std')
    return Figure(figure['mean'] / scale, None if std is None else std / scale)
