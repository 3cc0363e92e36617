"""A look at the input before a long run: what was read, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from mmcell.evaluation.readers.files import one_line
from mmcell.inference.input_report import Description, describe
from mmcell.inference.inputs import require_text
from mmcell.inference.network import Network
from mmcell.inference.options import PredictOptions, chosen_tiles, make_task, remarks, tile_plan
from mmcell.inference.sources import ImageSource, open_sources
from mmcell.inference.stream import ImageTask, find_tile


@dataclass(frozen=True)
class InputRow:
    """An image of the input.

    Attributes:
        path: the file.
        description: what was read; None if it could not be.
        tiles: how many are to be segmented.
        remark: what to know about it, or what is wrong.
    """

    path: Path
    description: Description | None
    tiles: int
    remark: str


def look_at(
    files: Sequence[Path], options: PredictOptions, network: Network | None = None
) -> Iterator[InputRow]:
    """Describe the images of files one after the other; writes nothing.

    Args:
        files: as ``find_inputs`` gives them.
        options: how they would be segmented.
        network: the model, if it is known: its pixel size decides on the number of tiles.
    """
    for path in files:
        try:
            require_text(path)
            sources = open_sources(path, **options.reading)
        except Exception as error:  # whatever is wrong with one file, the others count
            yield InputRow(path, None, 0, one_line(error))
            continue
        for source in sources:
            with source:
                try:
                    yield _look(source, options, network)
                except Exception as error:
                    yield InputRow(path, None, 0, one_line(error))


def _look(source: ImageSource, options: PredictOptions, network: Network | None) -> InputRow:
    plan = tile_plan(source.size, options.factor(source, network), network, options)
    tiles = chosen_tiles(source, plan, options)
    notes = remarks(source, network, options)
    if tiles is not None and len(tiles) < len(plan):
        notes.append(f'{len(plan) - len(tiles)} more tiles show no tissue')
    return InputRow(
        path=source.path,
        description=describe(source, options.percentiles),
        tiles=len(plan) if tiles is None else len(tiles),
        remark='; '.join(notes),
    )


def seconds_per_tile(row: InputRow, options: PredictOptions, network: Network) -> float:
    """Measure the middle one of the tiles to do, once the network is warm."""
    sources = open_sources(row.path, **options.reading)
    (source,) = (s for s in sources if s.name == row.description.name)
    with source:
        task: ImageTask = make_task(source, network, options)
        middle = task.numbers[len(task.numbers) // 2]
        for _ in range(2):
            start = time.perf_counter()
            find_tile(task, middle)
            seconds = time.perf_counter() - start
    return seconds


def as_table(rows: Sequence[InputRow]) -> Table:
    """The report as it is printed."""
    table = Table('image', 'size', 'axes', 'pixels', 'range', 'shown', 'um/px', 'tiles', 'remark')
    for row in rows:
        found = row.description
        if found is None:
            # Names need not be valid UTF-8.
            name = row.path.name.encode('utf-8', 'replace').decode()
            table.add_row(name, *[''] * 7, row.remark)
            continue
        ranges = [
            f'{low:g}..{high:g}'
            for name, low, high in zip(found.channels, found.low, found.high, strict=True)
            if name in found.shown
        ]
        table.add_row(
            row.path.name if found.name.startswith(row.path.stem) else found.name,
            f'{found.size[1]} x {found.size[0]}',
            found.axes,
            found.dtype,
            ' '.join(dict.fromkeys(ranges)),
            ' '.join(found.shown),
            '?' if found.mpp is None else f'{found.mpp:g}',
            str(row.tiles),
            row.remark,
        )
    return table
