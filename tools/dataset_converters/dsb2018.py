"""Convert the Data Science Bowl 2018 (BBBC038, stage1_train) to the layout of the configs."""

import sys
import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

from mmcell.datasets.coco_writer import random_splits, read_splits, write_dataset
from mmcell.datasets.layouts import dsb2018_entries


@click.command(context_settings={'show_default': True, 'help_option_names': ['-h', '--help']})
@click.argument('source', type=click.Path(exists=True, path_type=Path))
@click.option('--out', type=click.Path(path_type=Path), default=Path('data/dsb2018'))
@click.option(
    '--split-lists',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help='Folder with train.txt, val.txt and, where there is one, test.txt: one id per line.',
)
@click.option('--seed', default=0, help='Of the 60/20/20 split made without --split-lists.')
@click.option('--category', default='nucleus', help='Name of the category.')
@click.option('--overwrite', is_flag=True, help='Replace the data set in OUT.')
def main(source, out, split_lists, seed, category, overwrite):
    r"""Convert SOURCE, stage1_train.zip or the folder unpacked from it.

    Images that cannot be converted are named, the others are written, and the exit code is 1.

    \b
    Example:
      python tools/dataset_converters/dsb2018.py stage1_train.zip --out data/dsb2018
    """
    console = Console()
    with ExitStack() as stack:
        try:
            if source.is_file():
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                with console.status(f'unpacking {source}'), zipfile.ZipFile(source) as archive:
                    archive.extractall(folder)
            else:
                folder = source
            entries = dsb2018_entries(folder)
            splits = (
                read_splits(split_lists, entries) if split_lists else random_splits(entries, seed)
            )
            report = write_dataset(entries, splits, out, category=category, overwrite=overwrite)
        except zipfile.BadZipFile as error:
            raise click.ClickException(f'{source}: {error}; download it again') from error
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error
    report.show(console)
    sys.exit(1 if report.failures else 0)


if __name__ == '__main__':
    main()
