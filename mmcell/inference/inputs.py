"""From what a user names on the command line to files."""

from __future__ import annotations

import csv
import glob
import os
from collections.abc import Iterable
from pathlib import Path

from mmcell.datasets.image_io import IMAGE_SUFFIXES
from mmcell.engine.errors import DataError
from mmcell.inference.slide_source import SLIDE_SUFFIXES
from mmcell.inference.tiff_source import BIG_TIFF_SUFFIXES
from mmcell.inference.zarr_source import is_zarr

# What is taken from a folder; a file that is named is taken whatever its suffix.
INPUT_SUFFIXES = (*IMAGE_SUFFIXES, *BIG_TIFF_SUFFIXES, '.npy', '.zarr', *SLIDE_SUFFIXES)


def find_inputs(inputs: Iterable[str | Path]) -> list[Path]:
    """Expand files, folders, glob patterns and CSV lists to image files.

    Args:
        inputs: a file is taken whatever its name; of a folder the images directly in it, hidden
            ones left out; of a pattern such as ``'slides/**/*.tif'`` what matches; of a CSV file
            its column ``image``, with paths relative to the CSV. The folder of a Zarr is an image.

    Returns:
        Paths, each once, in the order of the inputs, sorted within folders and patterns.

    Raises:
        DataError: If an input gives no image or cannot be read.
    """
    found: dict[Path, Path] = {}
    for entry in map(Path, inputs):
        try:
            # A name may begin with ~ itself.
            images = _expand(entry if os.path.lexists(entry) else _at_home(entry))
        except OSError as error:
            raise DataError(f'{entry}: cannot be read: {error.strerror or error}') from error
        for image in images:
            found.setdefault(image.resolve(), image)
    return list(found.values())


def require_text(path: Path) -> None:
    """Raise a :class:`DataError` if a file's name cannot be written into results."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            'its name is not valid UTF-8, in which results name it: rename the file'
        ) from error


def _at_home(entry: Path) -> Path:
    try:
        return entry.expanduser()
    except RuntimeError:  # there is no such user
        return entry


def _expand(entry: Path) -> list[Path]:
    if is_zarr(entry):
        return [entry]
    if entry.is_dir():
        images = sorted(path for path in entry.iterdir() if _is_image(path))
    elif entry.is_file():
        return _listed(entry) if entry.suffix.casefold() == '.csv' else [entry]
    elif not glob.has_magic(str(entry)):
        raise DataError(f'{entry}: no such file or folder')
    else:
        matches = map(Path, sorted(glob.glob(str(entry), recursive=True)))
        images = [path for path in matches if path.is_file() or is_zarr(path)]
    if not images:
        raise DataError(
            f'{entry}: no image there; expected a file, a folder, a pattern or a CSV list of '
            f'{", ".join(INPUT_SUFFIXES)}'
        )
    return images


def _is_image(path: Path) -> bool:
    if path.name.startswith('.'):
        return False
    return is_zarr(path) if path.is_dir() else path.suffix.casefold() in INPUT_SUFFIXES


def _listed(table: Path) -> list[Path]:
    """The images of a CSV list."""
    # utf-8-sig: spreadsheet programs begin with a byte order mark.
    with open(table, newline='', encoding='utf-8-sig') as file:
        try:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if 'image' not in columns:
                raise DataError(
                    f'{table}: has no column "image"; its first line is {",".join(columns)!r}'
                )
            rows = [(reader.line_num, (row['image'] or '').strip()) for row in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f'{table}: is no CSV in UTF-8: {error}') from error
    images = [table.parent / name for _, name in rows if name]
    for (line, name), image in zip([row for row in rows if row[1]], images, strict=True):
        if not image.is_file() and not is_zarr(image):
            raise DataError(f'{table}, line {line}: {name!r} is no file, looked for {image}')
    if not images:
        raise DataError(f'{table}: lists no image')
    return images
