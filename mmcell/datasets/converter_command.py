"""The command line that the data set converters share."""

from __future__ import annotations

import inspect
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

from mmcell.datasets.coco_writer import random_splits, read_splits, write_dataset
from mmcell.datasets.layouts import Entries


def converter_command(out: str) -> Callable[[Callable[[Path], Entries]], click.Command]:
    """Turn a function that finds the images of a folder into a converter.

    Args:
        out: default folder to write to.

    Returns:
        A decorator; the function's docstring is the help text.
    """

    def decorate(find_entries: Callable[[Path], Entries]) -> click.Command:
        @click.command(
            help=inspect.getdoc(find_entries),
            context_settings={'show_default': True, 'help_option_names': ['-h', '--help']},
        )
        @click.argument('source', type=click.Path(exists=True, path_type=Path))
        @click.option('--out', type=click.Path(path_type=Path), default=Path(out))
        @click.option(
            '--split-lists',
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help='Folder with train.txt, val.txt and/or test.txt: one image name per line.',
        )
        @click.option('--seed', default=0, help='Of the 60/20/20 split made without lists.')
        @click.option('--category', default='nucleus', help='Name of the category.')
        @click.option('--overwrite', is_flag=True, help='Replace the data set in OUT.')
        def command(
            source: Path,
            out: Path,
            split_lists: Path | None,
            seed: int,
            category: str,
            overwrite: bool,
        ) -> None:
            console = Console()
            with ExitStack() as stack:
                try:
                    folder = _unpacked(source, stack, console)
                    entries = find_entries(folder)
                    splits = (
                        read_splits(split_lists, entries)
                        if split_lists
                        else random_splits(entries, seed)
                    )
                    report = write_dataset(
                        entries, splits, out, category=category, overwrite=overwrite
                    )
                except (ValueError, OSError) as error:
                    raise click.ClickException(str(error)) from error
            report.show(console)
            sys.exit(1 if report.failures else 0)

        return command

    return decorate


def _unpacked(source: Path, stack: ExitStack, console: Console) -> Path:
    """``source``, or the folder it is unpacked to until ``stack`` closes."""
    if source.is_dir():
        return source
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    try:
        with console.status(f'unpacking {source}'), zipfile.ZipFile(source) as archive:
            archive.extractall(folder)
    except zipfile.BadZipFile as error:
        raise ValueError(f'{source}: {error}; download it again') from error
    return folder
