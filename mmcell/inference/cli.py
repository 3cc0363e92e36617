"""``mmcell predict``. Imports nothing heavy, so that ``mmcell --help`` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mmcell.quiet import quiet_imports

FRACTION = click.FloatRange(0, 1)
MICRONS = FACTOR = click.FloatRange(0, min_open=True)
INTERRUPTED = 130  # as shells report Ctrl-C


@click.command()
@click.argument('inputs', nargs=-1, required=True, metavar='INPUT...')
@click.option('--model', help='Config of the model: a file or a name (pffnet_kumar).')
@click.option('--checkpoint', help='Its trained weights (.pth).')
@click.option('--out', type=click.Path(path_type=Path, file_okay=False), help='For results.')
@click.option(
    '--save',
    default='labels,csv,overlay',
    show_default=True,
    help='What to write: labels, geojson (QuPath), geojson.gz, rois (ImageJ), csv, parquet '
    '(measurements), overlay, thumbnail (pictures), coco, ome-zarr.',
)
@click.option('--device', default='auto', show_default=True, help="Such as 'cpu' or 'cuda:0'.")
@click.option(
    '--score-threshold',
    type=FRACTION,
    help='Objects of lower class score are left out. [default: as in tests of the model, mostly '
    '0.5]',
)
@click.option(
    '--min-visible',
    default=0.3,
    show_default=True,
    type=FRACTION,
    help='Objects that keep less than this fraction of their pixels from surer ones are left out.',
)
@click.option('--mpp', type=MICRONS, help='Microns per pixel. [default: from the file]')
@click.option(
    '--model-mpp',
    type=MICRONS,
    help='Microns per pixel of the training images. [default: from the model, if it says so]',
)
@click.option(
    '--magnify',
    default=1.0,
    show_default=True,
    type=FACTOR,
    help='Show the network images so many times larger, such as 1.25, if small objects are missed.',
)
@click.option('--channels', help="Names or numbers from 1 for the network, such as '2' or '3,2,1'.")
@click.option('--axes', help="What is stored, such as 'CYX'. [default: from the file]")
@click.option(
    '--percentiles',
    nargs=2,
    type=click.FloatRange(0, 100),
    default=(0.1, 99.9),
    show_default=True,
    help='Of the whole image, become black and white; 8-bit images stay as they are.',
)
@click.option(
    '--tile',
    default=1024,
    show_default=True,
    type=click.IntRange(64),
    help='Side in pixels of the network.',
)
@click.option(
    '--overlap',
    default=64,
    show_default=True,
    type=click.IntRange(1),
    help='Of tiles, in pixels: half the diameter of the largest objects or more.',
)
@click.option('--all-tiles', is_flag=True, help='Large colour images: tiles of empty glass, too.')
@click.option(
    '--batch-size',
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help='Tiles or small images that pass through the network together.',
)
@click.option(
    '--views',
    default='1',
    show_default=True,
    type=click.Choice(['1', '4', '8']),
    callback=lambda context, option, value: int(value),
    help='Test-time augmentation: each tile mirrored (4) and turned (8), too; they vote.',
)
@click.option('--half', is_flag=True, help='Half precision, where the device has it.')
@click.option('--workers', default=0, type=click.IntRange(0), help='Processes. [default: this one]')
@click.option('--scheduler', help='Address of a running dask scheduler, such as tcp://host:8786.')
@click.option('--resume', is_flag=True, help='Keep results in --out, do what is missing.')
@click.option('--overwrite', is_flag=True, help='Delete the results of a former run in --out.')
@click.option('--dry-run', is_flag=True, help='Only say what was read and how long it will take.')
def predict(inputs: tuple[str, ...], **options: Any) -> None:
    """Segment images of any kind and size.

    INPUT is an image, a folder of images, a pattern in quotes or a CSV list with a column "image":
    PNG, JPEG, BMP, TIFF and OME-TIFF (any bits and channels), NPY, Zarr, slides.

    Results go into one folder per kind inside --out, with summary.csv (a row per image), run.json
    (how they were made) and, if an image fails, failures.csv: the others are done, and the exit
    status is 1. Ctrl-C keeps what is finished (exit status 130); --resume goes on.
    """
    with quiet_imports():
        import mmcell.plugin  # noqa: F401
        from mmcell.engine.errors import plain_errors
        from mmcell.engine.memory import keep_freed_memory
        from mmcell.inference.command import PredictCommand

    keep_freed_memory()
    with plain_errors():
        try:
            status = PredictCommand(inputs, **options).run()
        except KeyboardInterrupt:
            click.echo('interrupted; what is finished is kept, --resume goes on', err=True)
            status = INTERRUPTED
    sys.exit(status)
