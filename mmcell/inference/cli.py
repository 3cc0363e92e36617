"""``mmcell predict``. Imports nothing heavy, so that ``mmcell --help`` is quick."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument('inputs', nargs=-1, required=True, metavar='INPUT...')
@click.option('--config', required=True, help='Config file of the model.')
@click.option('--checkpoint', required=True, help='Its trained weights (.pth).')
@click.option('--out', required=True, type=click.Path(path_type=Path), help='Folder for results.')
@click.option('--device', default='auto', show_default=True, help="Such as 'cpu' or 'cuda:0'.")
@click.option(
    '--score-threshold',
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1),
    help='Objects of lower class score are left out.',
)
def predict(
    inputs: tuple[str, ...],
    config: str,
    checkpoint: str,
    out: Path,
    device: str,
    score_threshold: float,
) -> None:
    """Segment images.

    INPUT is an image, a folder of images or a pattern in quotes. Writes label maps, overlay
    pictures and summary.csv into the folder --out. A file that cannot be read is named in
    failures.csv, the others are done, and the exit status is 1.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mmcell.engine.errors import plain_errors
    from mmcell.engine.memory import keep_freed_memory
    from mmcell.inference.predictor import find_images, load_model, predict_images

    keep_freed_memory()
    with plain_errors():
        images = find_images(inputs)
        model = load_model(config, checkpoint, device)
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task('predict', total=len(images))
            failures = predict_images(
                model,
                images,
                out,
                score_threshold,
                on_done=lambda path: progress.advance(task),
            )
    click.echo(f'{len(images) - len(failures)} of {len(images)} images done, results in {out}')
    for path, error in failures:
        click.echo(f'failed: {path}: {error}', err=True)
    if failures:
        sys.exit(1)
