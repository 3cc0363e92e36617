"""``mmcell compare``. Imports nothing heavy, so that ``mmcell --help`` is quick."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument('results', nargs=-1, required=True, metavar='RESULTS...')
@click.option('--names', help="Names of the methods, such as 'PFFNet,Mask R-CNN'.")
@click.option('--scores', help="Such as 'aji,pq'; 'all' for every one. [default: aji,dice,f1,pq]")
@click.option('--reference', help='The method that may be better. [default: the first]')
@click.option(
    '--quoted', multiple=True, help="Published figures: a YAML file, or a name: 'pffnet_kumar'."
)
@click.option(
    '--images',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help='Folder of images.',
)
@click.option('--gt', help='Their ground truth, whatever mmcell evaluate reads.')
@click.option(
    '--labels',
    multiple=True,
    metavar='NAME=RESULTS',
    help='What a method predicted, such as PFFNet=results/labels; once per method to show.',
)
@click.option(
    '--cases',
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help='How many of the best and of the worst images are drawn.',
)
@click.option(
    '--seed', default=0, show_default=True, type=click.IntRange(min=0), help='Of the bootstrap.'
)
@click.option(
    '--out',
    type=click.Path(path_type=Path, file_okay=False),
    default='comparison',
    show_default=True,
    help='Folder for tables, pictures and report.html.',
)
def compare(
    results: tuple[str, ...],
    names: str | None,
    scores: str | None,
    reference: str | None,
    quoted: tuple[str, ...],
    images: Path | None,
    gt: str | None,
    labels: tuple[str, ...],
    cases: int,
    seed: int,
    out: Path,
) -> None:
    """Compare methods on the same images, with statistics.

    RESULTS are the folders of two tests or more (each with per_image.csv, as tools/test.py and
    mmcell evaluate write it; summary.json and timing.json beside it are used), or such tables.
    Images are paired by name. Writes report.html, table.md, table.tex, table.csv, comparison.json
    and pictures.

    With --images, --gt and --labels the reference's best and worst images are drawn.
    """
    from mmcell.engine.errors import plain_errors
    from mmcell.evaluation.compare import read_methods, split_names, write_results

    with plain_errors():
        methods = read_methods(results, split_names(names))
        said, failures = write_results(
            out,
            methods,
            scores=split_names(scores),
            reference=reference,
            quoted=quoted,
            images=images,
            gt=gt,
            labels=labels,
            num_cases=cases,
            seed=seed,
        )
    click.echo(said)
    for failure in failures:
        click.echo(f'not drawn: {failure}', err=True)
    if failures:
        sys.exit(1)
