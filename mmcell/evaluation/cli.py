"""``mmcell evaluate``. Imports nothing heavy, so that ``mmcell --help`` is quick."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option('--gt', required=True, help='Ground truth: a folder, file or pattern in quotes.')
@click.option('--pred', required=True, help='Predictions, the same.')
@click.option(
    '--scores',
    help="Names, such as 'aji,pq' (a wrong one lists them); 'all'. [default: those of the papers]",
)
@click.option('--out', type=click.Path(path_type=Path), help='Folder for tables and summary.')
@click.option(
    '--workers',
    type=click.IntRange(min=1),
    help='Processes. [default: one for 32 images, up to the number of cores]',
)
@click.option(
    '--subsets',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='CSV with the columns image, subset: a table for each subset, too.',
)
@click.option(
    '--score-threshold',
    type=click.FloatRange(0, 1),
    help='Predicted COCO objects of lower score are left out. [default: 0.5; none of those that '
    'mmcell predict wrote]',
)
def evaluate(
    gt: str,
    pred: str,
    scores: str | None,
    out: Path | None,
    workers: int | None,
    subsets: Path | None,
    score_threshold: float | None,
) -> None:
    """Score the results of any tool.

    \b
    Reads on either side
      label maps          .tif .png .npy (StarDist, InstanSeg, Cellpose's _cp_masks, mmcell)
      Cellpose            _seg.npy
      HoVer-Net           .mat with inst_map
      COCO                one .json: RLE or polygons; predictions also as a list of results
      QuPath              .geojson .geojson.gz
      ImageJ              zip of ROIs (pip install roifile)

    Files are matched by name without suffixes and what tools append, such as _masks or _seg; images
    of one name in a COCO file also by their folders.
    Classes are not compared. What cannot be scored is named in failures.csv, the rest is done, and
    the exit status is 1.
    """  # noqa: D301  (click reads the backspace)
    from rich.console import Console
    from rich.progress import Progress

    from mmcell.engine.errors import plain_errors
    from mmcell.evaluation.evaluate import (
        choose_scores,
        conclude,
        match_sides,
        prepare_out,
        read_subsets,
        score_pairs,
        write_evaluation,
    )

    with plain_errors():
        chosen = choose_scores(scores)
        if out is not None:
            prepare_out(out)
        members = read_subsets(subsets) if subsets else None
        matching = match_sides(gt, pred, score_threshold)
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task('evaluate', total=len(matching.pairs))
            results = score_pairs(
                matching.pairs, chosen, workers, on_done=lambda: progress.advance(task)
            )
        options = {'gt': gt, 'pred': pred, 'score_threshold': score_threshold}
        evaluation = conclude(matching, results, chosen, members, options)
    click.echo(evaluation.text)
    if matching.ignored:
        names = ', '.join(path.name for path in matching.ignored[:4])
        more = ', ...' if len(matching.ignored) > 4 else ''
        click.echo(f'ignored {len(matching.ignored)} of other kinds: {names}{more}', err=True)
    for failure in evaluation.failures:
        click.echo(f'failed: {failure.image or failure.files}: {failure.error}', err=True)
    if out is not None:
        with plain_errors():
            write_evaluation(out, evaluation)
        click.echo(f'results in {out}')
    if evaluation.failures:
        sys.exit(1)
