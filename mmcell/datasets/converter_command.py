"""The command line that the data set converters share."""

from __future__ import annotations

import inspect
import re
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from mmcell.datasets.coco_writer import Patches, Report, write_dataset
from mmcell.datasets.layouts import Layout
from mmcell.datasets.splits import fold_splits, read_splits


def converter_command(
    out: str, category: str = 'nucleus', folds: int = 0
) -> Callable[[Callable[[Path], Layout]], click.Command]:
    """Turn a function that finds the images of a folder into a converter.

    Args:
        out: default folder to write to.
        category: default name of the category.
        folds: default number of folds of a cross-validation; 0 writes none.

    Returns:
        A decorator; the function's docstring is the help text.
    """

    def decorate(find_layout: Callable[[Path], Layout]) -> click.Command:
        @click.command(
            help=inspect.getdoc(find_layout),
            context_settings={'show_default': True, 'help_option_names': ['-h', '--help']},
        )
        @click.argument('source', type=click.Path(exists=True, path_type=Path))
        @click.option('--out', type=click.Path(path_type=Path), default=Path(out))
        @click.option(
            '--split-lists',
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help='Folder with train.txt, val.txt and/or test.txt: one image name per line.',
        )
        @click.option(
            '--seed',
            default=0,
            type=click.IntRange(min=0),
            help='Of everything that is drawn: splits, patches.',
        )
        @click.option(
            '--folds',
            default=folds,
            type=click.IntRange(0),
            help='Also write the splits of a cross-validation, fold1_train, fold1_test, ...; those '
            'of --split-lists where it has some.',
        )
        @click.option(
            '--patches',
            default=0,
            type=click.IntRange(0),
            help='Train on so many random patches of each image, cut once, instead of the image.',
        )
        @click.option('--patch-size', default=256, type=click.IntRange(1), help='Side, pixels.')
        @click.option('--category', default=category, help='Name of the category.')
        @click.option('--overwrite', is_flag=True, help='Replace the data set in OUT.')
        @click.option(
            '--strict',
            is_flag=True,
            help='Stop at the first image that cannot be converted; count warnings as failures.',
        )
        def command(source: Path, **options: Any) -> None:
            console = Console()
            with ExitStack() as stack:
                try:
                    _require_apart(source.resolve(), options['out'].resolve())
                    report = _convert(find_layout(_unpacked(source, stack, console)), **options)
                except (ValueError, OSError) as error:
                    raise click.ClickException(str(error)) from error
            report.show(console)
            remarks = report.warnings or report.notes
            sys.exit(1 if report.failures or (options['strict'] and remarks) else 0)

        return command

    return decorate


def _convert(
    layout: Layout,
    *,
    out: Path,
    split_lists: Path | None,
    seed: int,
    folds: int,
    patches: int,
    patch_size: int,
    category: str,
    overwrite: bool,
    strict: bool,
) -> Report:
    splits = read_splits(split_lists, layout.entries) if split_lists else layout.split(seed)
    warnings = layout.warnings(None if split_lists else splits)
    # Folds in the lists are repeated, not drawn again.
    if folds and not any(re.fullmatch(r'fold\d+_(train|test)', split) for split in splits):
        # Splits may overlap: a stem counts once.
        folded = layout.folded or {
            stem for stems in splits.values() for stem in stems if stem in layout.entries
        }
        splits = {**splits, **fold_splits(folded, folds, seed, layout.group_of)}
    report = write_dataset(
        layout.checked_entries(),
        splits,
        out,
        category=category,
        patches=Patches(patches, patch_size, seed) if patches else None,
        overwrite=overwrite,
        strict=strict,
    )
    report.warnings += warnings
    return report


def _require_apart(source: Path, out: Path) -> None:
    """Images are read while the data set is written: they must not lie where it goes."""
    if source.is_relative_to(out / 'images'):
        raise ValueError(f'--out {out} is where SOURCE lies; choose another folder')


def _unpacked(source: Path, stack: ExitStack, console: Console) -> Path:
    """``source``, or the folder it is unpacked to until ``stack`` closes."""
    if source.is_dir():
        return source
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    try:
        with console.status(f'unpacking {escape(str(source))}'), zipfile.ZipFile(source) as archive:
            archive.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f'{source}: {error}; download it again') from error
    except RuntimeError as error:
        raise ValueError(f'{source}: {error}; unpack it and give the folder') from error
    return folder
