"""Generate a data set of cells with known masks, in the layout of the configs."""

from functools import partial
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import track

from mmcell.datasets.coco_writer import write_dataset
from mmcell.datasets.splits import random_splits
from mmcell.datasets.synthetic import STYLES, generate_cells, watershed_aji


@click.command(context_settings={'show_default': True, 'help_option_names': ['-h', '--help']})
@click.option('--out', type=click.Path(path_type=Path), default=Path('data/synthetic'))
@click.option('--images', default=200, type=click.IntRange(min=5), help='Split 60/20/20.')
@click.option('--size', default=256, type=click.IntRange(min=64), help='Height and width, pixels.')
@click.option('--seed', default=0, type=click.IntRange(min=0), help='Same seed, same images.')
@click.option('--style', default='mixed', type=click.Choice(['mixed', *STYLES]))
@click.option('--baseline', is_flag=True, help="Print the watershed's AJI on the test images.")
@click.option('--overwrite', is_flag=True, help='Replace the data set in OUT.')
def main(out, images, size, seed, style, baseline, overwrite):
    """Generate cells: histology-like, fluorescence-like, or both by turns.

    \b
    Example:
      python tools/dataset_converters/synthetic.py --out data/synthetic --images 200
    """  # noqa: D301  (click reads the backspace)
    console = Console()
    entries = {
        f'{style}_{index:04}': partial(generate_cells, seed, index, size, style)
        for index in range(images)
    }
    splits = random_splits(entries, seed)
    try:
        write_dataset(entries, splits, out, overwrite=overwrite).show(console)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    if baseline:
        scores = watershed_aji(
            entries[stem]() for stem in track(splits['test'], 'watershed', console=console)
        )
        console.print(
            f"Otsu's threshold and watershed on the {len(scores)} test images: "
            f'AJI {np.mean(scores):.3f} (standard deviation {np.std(scores):.3f})'
        )


if __name__ == '__main__':
    main()
