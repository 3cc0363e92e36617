"""What ``mmcell seam-check`` does: opens image and model, runs the check, reports it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mmcell.engine.errors import ConfigError, DataError, writing_to
from mmcell.inference.detect import OutOfMemoryError
from mmcell.inference.image_source import ArraySource, ImageSource
from mmcell.inference.intensity import DisplayRange
from mmcell.inference.limits import raised_limits
from mmcell.inference.network import NetworkSpec, load_network
from mmcell.inference.options import PredictOptions, make_task
from mmcell.inference.run_folder import make_out_folder
from mmcell.inference.seam_check import FAR_PX, NEAR_PX, SeamReport, check_seams, draw_places
from mmcell.inference.sources import open_sources
from mmcell.inference.stream import Detect
from mmcell.structures import FoundObjects
from mmcell.visualization.overlay import write_png


def run_seam_check(
    image: Path,
    model: str,
    checkpoint: str,
    out: Path | None,
    device: str,
    max_side: int,
    **options: Any,
) -> int:
    """Check an image; returns the exit status.

    Raises:
        ConfigError: If an option or the config cannot be used.
        DataError: If the image cannot be read, is several, or would be a single tile.
        OutOfMemoryError: If it is too large in one piece.
        OutputError: If ``out`` cannot be made or written to.
    """
    try:
        chosen = PredictOptions(tissue=False, **options)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    try:
        sources = open_sources(image, **chosen.reading)
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from None
    if len(sources) != 1:
        raise DataError(f'{image} holds {len(sources)} images: give a file with one')
    network = load_network(NetworkSpec(model, checkpoint, device))
    try:
        with sources[0] as source:
            display_range = DisplayRange.of(source, chosen.percentiles)
            part, corner = middle_of(source, max_side)
    except OSError as error:
        raise DataError(str(error)) from None
    task = make_task(part, network, chosen)
    if len(task.plan) == 1:
        raise DataError(
            f'{image}: {part.size[1]} x {part.size[0]} pixels are one tile, which has no seams: '
            'lower --tile or raise --max-side'
        )
    if out is not None:
        make_out_folder(out)

    limits: set[str] = set()

    def in_tiles() -> Detect:
        """The network, and a note of the limits that it reaches."""
        detect = task.detect_factory()

        def with_note(rgb: npt.NDArray[np.uint8]) -> FoundObjects:
            found = detect(rgb)
            limits.update(found.limits)
            return found

        return with_note

    def one_piece() -> Detect:
        """The network that may find as many objects in one piece as in all tiles together."""
        detect = task.detect_factory()

        def with_raised_limits(rgb: npt.NDArray[np.uint8]) -> FoundObjects:
            try:
                with raised_limits(network.module, len(task.plan)):
                    return detect(rgb)
            except OutOfMemoryError as error:
                raise OutOfMemoryError(
                    f'not enough memory on {network.device} for {rgb.shape[1]} x {rgb.shape[0]} '
                    'pixels in one piece: lower --max-side'
                ) from error

        return with_raised_limits

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task('seam-check')
        check = check_seams(
            part,
            in_tiles,
            task.plan,
            display_range,
            one_piece,
            on_tile=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    report = check.report
    title = f'{image}: {part.size[1]} x {part.size[0]} pixels from x, y = {corner[0]}, {corner[1]}'
    # Names of files may hold brackets, which are rich's markup.
    console = Console(width=None if sys.stdout.isatty() else 100, markup=False)
    console.print(as_table(report, title))
    if out is not None:
        values = {'image': str(image), 'corner': corner, 'limits': sorted(limits)}
        values.update(report.as_dict())
        rgb = display_range.to_rgb8(part.read(0, 0, part.size[1], part.size[0]))
        with writing_to(out):
            (out / 'seam_check.json').write_text(json.dumps(values, indent=2) + '\n')
            write_png(out / 'seam_check.png', draw_places(check, rgb))
        click.echo(f'seam_check.json and seam_check.png in {out}')
    for limit in sorted(limits):
        click.echo(
            f'{limit} was reached in a tile: objects may be missing there, raise it in the config '
            'or lower --tile'
        )
    for problem in report.problems:
        click.echo(f'not seamless: {problem}')
    if not report.problems:
        click.echo('seamless')
    return 1 if report.problems else 0


def middle_of(source: ImageSource, max_side: int) -> tuple[ImageSource, tuple[int, int]]:
    """At most ``max_side`` pixels square from the middle of an image, in memory; their x, y."""
    height, width = source.size
    x, y = max(width - max_side, 0) // 2, max(height - max_side, 0) // 2
    pixels = source.read(x, y, min(x + max_side, width), min(y + max_side, height))
    numbers = None if source.is_colour else [k + 1 for k in source.shown]
    axes = 'YXS' if source.is_colour else 'YXC'
    return ArraySource(np.ascontiguousarray(pixels), source.name, source.mpp, axes, numbers), (x, y)


def as_table(report: SeamReport, title: str) -> Table:
    """The figures of a report."""
    table = Table(title=f'{title}, {report.tiles} tiles', title_justify='left')
    table.add_column('objects')
    for column in ('in one piece', 'in tiles', 'F1 at IoU 0.5'):
        table.add_column(column, justify='right')
    for name, part in (
        ('everywhere', report.everywhere),
        (f'within {NEAR_PX} px of seams', report.near),
        ('elsewhere', report.elsewhere),
        (f'{FAR_PX} px and more from seams', report.far),
    ):
        f1 = 'none there' if part.f1 != part.f1 else f'{part.f1:.4f}'
        table.add_row(name, str(part.untiled), str(part.tiled), f1)
    straight = (f'{report.straight_untiled:.3f}', f'{report.straight_tiled:.3f}')
    table.add_row('outlines on borders / elsewhere', *straight, '')
    return table
