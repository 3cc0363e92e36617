"""``mmcell seam-check``. Imports nothing heavy, so that ``mmcell --help`` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mmcell.inference.cli import FACTOR, FRACTION, MICRONS
from mmcell.quiet import quiet_imports


@click.command()
@click.argument('image', type=click.Path(path_type=Path))
@click.option('--model', required=True, help='Config of the model: a file or a name.')
@click.option('--checkpoint', required=True, help='Its trained weights (.pth).')
@click.option('--out', type=click.Path(path_type=Path, file_okay=False), help='For the picture.')
@click.option('--device', default='auto', show_default=True, help="Such as 'cpu' or 'cuda:0'.")
@click.option('--score-threshold', type=FRACTION, help='[default: as in tests of the model]')
@click.option('--mpp', type=MICRONS, help='Microns per pixel. [default: from the file]')
@click.option('--model-mpp', type=MICRONS, help='Of the training images. [default: from the model]')
@click.option('--magnify', default=1.0, show_default=True, type=FACTOR, help='As in predict.')
@click.option('--channels', help="Names or numbers from 1 for the network, such as '2' or '3,2,1'.")
@click.option('--axes', help="What is stored, such as 'CYX'. [default: from the file]")
@click.option('--tile', default=1024, show_default=True, type=click.IntRange(64))
@click.option('--overlap', default=64, show_default=True, type=click.IntRange(1))
@click.option(
    '--max-side',
    default=2048,
    show_default=True,
    type=click.IntRange(128),
    help='Of larger images so many pixels in the middle are checked: the network must be able to '
    'take them in one piece.',
)
def seam_check(image: Path, **options: Any) -> None:
    """Check that tiles change nothing that counts, on an image of your own.

    Segments IMAGE in tiles and in one piece with the same model, and compares: the number of
    objects, F1 at IoU 0.5 everywhere, within 32 pixels of seams and elsewhere, and whether outlines
    follow the borders of tiles. Writes seam_check.json and seam_check.png (the places that differ
    most) into --out. The exit status is 1 if the count changes by more than 1 %, if F1 is below
    0.98 or more than 0.01 lower near seams, or if outlines follow borders.
    """
    with quiet_imports():
        import mmcell.plugin  # noqa: F401
        from mmcell.engine.errors import plain_errors
        from mmcell.engine.memory import keep_freed_memory
        from mmcell.inference.seam_command import run_seam_check

    keep_freed_memory()
    with plain_errors():
        status = run_seam_check(image, **options)
    sys.exit(status)
