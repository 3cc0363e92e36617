"""A comparison as one page that needs nothing else: neither files beside it nor a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from PIL import Image

from mmcell.evaluation.comparison import Comparison
from mmcell.evaluation.comparison_files import as_json
from mmcell.evaluation.comparison_text import (
    DASH,
    OUTCOME_HEADINGS,
    POOLED,
    definitions,
    explanations,
    lines,
    number,
    outcomes,
    pooled_lines,
    quotations,
    score_title,
    timing_lines,
)
from mmcell.evaluation.quoted import Figure, QuotedTable

_MAX_PNG_BYTES = 500_000
_TEMPLATE = Path(__file__).with_name('report.html.jinja')


class PictureGroup(NamedTuple):
    """Pictures under one heading.

    Attributes:
        title: the heading.
        pictures: caption and PNG file of each.
        wide: whether they are too wide to stand beside each other.
    """

    title: str
    pictures: Sequence[tuple[str, Path]]
    wide: bool = False


def write_report(
    path: Path,
    comparison: Comparison,
    quoted: Sequence[QuotedTable] = (),
    pictures: Sequence[PictureGroup] = (),
) -> None:
    """Write the page; pictures are copied into it.

    Args:
        path: the .html file.
        comparison: what to show.
        quoted: published figures to put beside it, and to show in full.
        pictures: in the order of the page.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text(encoding='utf-8'))
    timing, timing_notes = timing_lines(comparison)
    sections = [
        {'title': 'Pooled', 'rows': pooled_lines(comparison, quoted), 'notes': [POOLED]},
        {'title': 'Speed and memory', 'rows': timing, 'notes': timing_notes},
    ]
    versions = as_json(comparison)['versions']
    page = template.render(
        title=f'{comparison.reference} against {_enumerated(comparison)}',
        made=f'{len(comparison.images)} images, compared by mmcell {versions["mmcell"]} on '
        f'{datetime.now(timezone.utc):%Y-%m-%d}.',
        reference=comparison.reference,
        scores=[score_title(score, True) for score in comparison.scores],
        subsets=list(comparison.subsets),
        lines=lines(comparison, quoted),
        quotations=quotations(comparison, quoted),
        outcomes=[OUTCOME_HEADINGS, *outcomes(comparison)],
        explanations=explanations(comparison),
        sections=[section for section in sections if section['rows']],
        pictures=[_embedded(group) for group in pictures],
        quoted_tables=[_in_full(table) for table in quoted],
        definitions=definitions(comparison),
        versions=', '.join(f'{name} {version}' for name, version in versions.items()),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding='utf-8')


def _enumerated(comparison: Comparison) -> str:
    *others, last = (name for name in comparison.names if name != comparison.reference)
    return f'{", ".join(others)} and {last}' if others else last


def _embedded(group: PictureGroup) -> dict[str, Any]:
    pictures = [{'caption': caption, 'source': _data_uri(path)} for caption, path in group.pictures]
    return {'title': group.title, 'wide': group.wide, 'pictures': pictures}


def _data_uri(path: Path) -> str:
    """Plots as they are; what is large is made of photographs, and goes as JPEG."""
    content, kind = path.read_bytes(), 'png'
    if len(content) > _MAX_PNG_BYTES:
        buffer, kind = io.BytesIO(), 'jpeg'
        with Image.open(path) as picture:
            picture.convert('RGB').save(buffer, 'JPEG', quality=90)
        content = buffer.getvalue()
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


def _in_full(quoted: QuotedTable) -> dict[str, Any]:
    """Everything that a file of quoted figures holds, also scores that are not compared."""
    titles = [quoted.printed_as.get(score, score_title(score)) for score in quoted.scores]
    rows = [['method', 'table', 'images', *titles]]
    for row in quoted.rows:
        figures = (row.scores.get(score) for score in quoted.scores)
        rows.append([row.method, row.table, row.subset, *map(_figure, figures)])
    fields = ('dataset', 'table', 'source', 'notes')
    return {**{field: getattr(quoted, field) for field in fields}, 'rows': rows}


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return DASH
    return number(figure.mean) + (f' ({number(figure.std)})' if figure.std is not None else '')
