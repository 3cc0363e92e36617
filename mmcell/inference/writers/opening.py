"""Writers by name: which there are, where their files go, and all of them as one."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

from mmcell.engine.errors import DataError, OutputError, did_you_mean
from mmcell.inference.writers.base import (
    Batch,
    Color,
    FileWriter,
    ImageContext,
    part_of,
    remove,
)
from mmcell.structures import FoundObjects
from mmcell.visualization.contours import PALETTE

if TYPE_CHECKING:
    from mmcell.inference.intensity import DisplayRange
    from mmcell.inference.sources import ImageSource


class _Format(NamedTuple):
    """A kind of file.

    Attributes:
        folder: inside the folder of results.
        ending: after the image's name.
        writer: module in this package, and class.
        needs: package that is not installed with mmcell itself, and the extra that brings it.
    """

    folder: str
    ending: str
    writer: tuple[str, str]
    needs: tuple[str, str] | None = None


FORMATS = {
    'labels': _Format('labels', '.tif', ('labels', 'LabelsWriter')),
    'geojson': _Format('geojson', '.geojson', ('geojson', 'GeoJsonWriter')),
    'geojson.gz': _Format('geojson', '.geojson.gz', ('geojson', 'GeoJsonWriter')),
    'rois': _Format('rois', '_rois.zip', ('imagej', 'RoisWriter'), ('roifile', 'imagej')),
    'csv': _Format('tables', '.csv', ('tables', 'CsvWriter')),
    'parquet': _Format('tables', '.parquet', ('tables', 'ParquetWriter'), ('pyarrow', 'parquet')),
    'overlay': _Format('overlays', '.png', ('pictures', 'OverlayWriter')),
    'coco': _Format('coco', '.json', ('coco', 'CocoWriter')),
    'ome-zarr': _Format('ome-zarr', '.ome.zarr', ('ome_zarr', 'OmeZarrWriter'), ('zarr', 'zarr')),
    'thumbnail': _Format('thumbnails', '.png', ('pictures', 'ThumbnailWriter')),
}

_ENDINGS = {
    '.tif': 'labels',
    '.tiff': 'labels',
    '.geojson': 'geojson',
    '.geojson.gz': 'geojson.gz',
    '.zip': 'rois',
    '.csv': 'csv',
    '.parquet': 'parquet',
    '.png': 'overlay',
    '.json': 'coco',
    '.zarr': 'ome-zarr',
}


def check_names(names: Iterable[str]) -> None:
    """Say before a long run what would fail at its first image.

    Raises:
        DataError: If there is no writer of a name, or a package that it needs is not installed.
    """
    for name in names:
        if name not in FORMATS:
            raise DataError(
                f'cannot save {name!r}: expected one or more of {",".join(FORMATS)}.'
                f'{did_you_mean(name, FORMATS)}'
            )
        needs = FORMATS[name].needs
        if needs and importlib.util.find_spec(needs[0]) is None:
            raise DataError(
                f'saving {name} needs the package {needs[0]}: pip install "mmcell[{needs[1]}]"'
            )


def output_paths(names: Iterable[str], out_dir: str | Path, image_name: str) -> dict[str, Path]:
    """Where :func:`open_writers` puts the files of an image."""
    return {
        name: Path(out_dir, FORMATS[name].folder, image_name + FORMATS[name].ending)
        for name in names
    }


def format_of(path: str | Path) -> str:
    """The kind of file, of :data:`FORMATS`, that a name ends in.

    Raises:
        DataError: If there is none.
    """
    name = Path(path).name.casefold()
    for ending, kind in _ENDINGS.items():
        if name.endswith(ending):
            return kind
    raise DataError(f'{path}: cannot save this, expected a name in {", ".join(_ENDINGS)}')


def open_writers(
    names: Iterable[str], out_dir: str | Path, source: ImageSource, **context: Any
) -> Writers:
    """Open the writers of one image; close or discard them.

    Args:
        names: of :data:`FORMATS`, each counts once.
        out_dir: made if missing; one folder per kind of file.
        source: the image.
        **context: see :func:`open_files`.

    Raises:
        DataError: As :func:`check_names`.
        OutputError: If a file cannot be made.
    """
    names = list(dict.fromkeys(names))
    check_names(names)
    return open_files(output_paths(names, out_dir, source.name), source, **context)


def open_files(
    paths: Mapping[str, Path],
    source: ImageSource,
    *,
    classes: Sequence[str] = ('cell',),
    palette: Sequence[Color] | None = None,
    display_range: DisplayRange | None = None,
) -> Writers:
    """Open writers of files with any names.

    Args:
        paths: by name of :data:`FORMATS`.
        source: the image.
        classes: class names, as in the model's ``dataset_meta``.
        palette: their RGB colours, as in ``dataset_meta``; those of the overlays where missing.
        display_range: from stored pixels to RGB, for ``overlay`` and ``thumbnail``; where missing,
            it is measured.

    Raises:
        DataError: As :func:`check_names`, or if a path is that of the image.
        OutputError: If a file cannot be made.
    """
    check_names(paths)
    for path in paths.values():
        if path.exists() and Path(source.path).exists() and path.samefile(source.path):
            raise DataError(
                f'{path} is the image itself, which results would replace: choose another name or '
                'folder for them'
            )
    if palette is None or len(palette) < len(classes):
        palette = [tuple(PALETTE[k % len(PALETTE)].tolist()) for k in range(len(classes))]
    context = ImageContext(source, classes, palette, display_range)
    writers: list[FileWriter] = []
    for name, path in paths.items():
        module, class_name = FORMATS[name].writer
        kind = getattr(importlib.import_module(f'mmcell.inference.writers.{module}'), class_name)
        try:
            with _explained(path):
                writers.append(kind(path, context))
        except BaseException:
            with suppress(OSError):
                remove(part_of(path))
            Writers(writers, context).discard()
            raise
    return Writers(writers, context)


class Writers:
    """Several writers of one image as one: all their files appear, or none.

    Used in a ``with`` statement it closes at the end, and discards on an exception.
    """

    def __init__(self, writers: Sequence[FileWriter], context: ImageContext) -> None:
        self._writers = writers
        self._context = context

    @property
    def paths(self) -> list[Path]:
        """The files, once closed."""
        return [writer.path for writer in self._writers]

    def write(self, objects: FoundObjects, pixels: npt.NDArray, corner: tuple[int, int]) -> None:
        """Add objects.

        Args:
            objects: final ones, which share no pixel; each has at least one, and an id that no
                call before this one had.
            pixels: (h, w, C) as stored, of a window that covers the objects.
            corner: x, y of the window's upper left pixel in the image.

        Raises:
            ValueError: If objects have no pixel, reach out of the window, or share pixels: label
                maps see the last only in :meth:`close`, tables not at all.
            OutputError: If a file cannot be written, such as on a full disk.
        """
        if not len(objects):
            return
        batch = Batch(objects, pixels, corner, self._context)
        batch.check()
        for writer in self._writers:
            with _explained(writer.path):
                writer.add(batch)

    def close(self) -> list[Path]:
        """Complete the files and give them their names; returns those.

        Raises:
            OutputError: If a file cannot be written.
        """
        self.finish()
        self.publish()
        return self.paths

    def finish(self) -> None:
        """Complete the files, which have no names yet."""
        try:
            for writer in self._writers:
                with _explained(writer.path):
                    writer.finish()
        except BaseException:
            self.discard()
            raise

    def publish(self) -> None:
        """Give the complete files their names."""
        named: list[Path] = []
        try:
            for writer in self._writers:
                with _explained(writer.path):
                    writer.publish()
                named.append(writer.path)
        except BaseException:
            self.discard()
            for path in named:
                with suppress(OSError):
                    remove(path)
            raise

    def discard(self) -> None:
        """Remove what was written and not closed. Does nothing after :meth:`close`."""
        for writer in self._writers:
            with suppress(OSError):  # the others, and the first error, count more
                writer.discard()

    def __enter__(self) -> Writers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Name the file in errors of the system, such as a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise  # not of the system: an image that cannot be decoded, which says so itself
        raise OutputError(
            f'{path}: cannot be written: {error.strerror}. Make room, or choose another folder for '
            'results.'
        ) from error
