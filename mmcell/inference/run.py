"""Prediction on files: every image gets its results, or a line that says why not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mmcell.engine.errors import DataError
from mmcell.inference.inputs import require_text
from mmcell.inference.network import Network
from mmcell.inference.options import PredictOptions, make_task, remarks
from mmcell.inference.run_folder import RunFolder
from mmcell.inference.sources import ImageSource, open_sources, output_name
from mmcell.inference.stream import Finished, Found, ImageTask, OrderedMap, TileDone, find_in_images
from mmcell.inference.writers import Writers, open_writers


class Progress(NamedTuple):
    """What is called while files are segmented.

    Attributes:
        on_tile: with an image's name and the numbers of tiles done and in all.
        on_image: with the share of a file (1, or 1/N of a file with N images) that is dealt with.
    """

    on_tile: Callable[[str, int, int], object] = lambda name, done, total: None
    on_image: Callable[[float], object] = lambda share: None


@dataclass
class FileRun:
    """Segments image files into a folder.

    Attributes:
        network: the model.
        options: how images are segmented.
        save: kinds of files, as ``open_writers`` names them.
        folder: for the results, open.
        progress: see there.
        pages: number and count, by name of the results, of images that are begun.
    """

    network: Network
    options: PredictOptions
    save: Sequence[str]
    folder: RunFolder
    progress: Progress = Progress()
    pages: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __call__(self, files: Sequence[Path], ordered_map: OrderedMap, batch_size: int = 1) -> None:
        """Segment all files; what fails goes into the folder's table.

        Args:
            files: as ``find_inputs`` gives them.
            ordered_map: does the tiles.
            batch_size: tiles that pass through the network together.

        Raises:
            DataError: If results of two files would have one name.
        """
        require_distinct_names(files)
        events = find_in_images(self._tasks(files), ordered_map, batch_size)
        image = _ImageResult(self)
        with closing(events):
            try:
                for event in events:
                    if image.take(event):
                        image = _ImageResult(self)
            finally:
                image.discard()

    def _tasks(self, files: Sequence[Path]) -> Iterator[ImageTask]:
        for path in files:
            try:
                if self.folder.has_all_pages(path):
                    self.progress.on_image(1)
                    continue
                require_text(path)
                sources = open_sources(path, **self.options.reading)
            except Exception as error:  # whatever is wrong with one file, the others count
                self.fail(path, '', error, 1)
                continue
            for number, source in enumerate(sources, start=1):
                try:
                    if self.folder.has_results(source.name, path):
                        self.progress.on_image(1 / len(sources))
                        continue
                    yield self._task(source, number, len(sources))
                except Exception as error:
                    self.fail(path, source.name, error, len(sources))

    def _task(self, source: ImageSource, number: int, count: int) -> ImageTask:
        if source.name in self.pages:
            raise DataError(f'results named {source.name} are there already, of another image')
        self.folder.require_free(source.name)
        self.pages[source.name] = number, count
        return make_task(source, self.network, self.options)

    def fail(self, path: Path, name: str, error: Exception, count: int) -> None:
        """Note one of the ``count`` images of a file as failed."""
        self.folder.fail(path, name, error)
        self.progress.on_image(1 / count)


class _ImageResult:
    """The files of one image, and its row in the summary."""

    def __init__(self, run: FileRun) -> None:
        self._run = run
        self._writers: Writers | None = None
        self._limits: set[str] = set()
        self._objects = self._area = 0
        self._start = time.perf_counter()

    def take(self, event: Found | TileDone | Finished) -> bool:
        """Use an event; True if it was the image's last."""
        task = event.task
        if isinstance(event, Found):
            try:
                self._open(task).write(event.objects, event.pixels, event.corner)
            except Exception as error:
                event.error = error
            self._objects += len(event.objects)
            self._area += int(event.objects.areas.sum())
        elif isinstance(event, TileDone):
            self._limits.update(event.limits)
            self._run.progress.on_tile(task.source.name, event.done, len(task.numbers))
        else:
            self._finish(task, event.error)
        return isinstance(event, Finished)

    def discard(self) -> None:
        """Remove files that are not complete."""
        if self._writers is not None:
            self._writers.discard()

    def _open(self, task: ImageTask) -> Writers:
        if self._writers is None:
            network = self._run.network
            self._writers = open_writers(
                self._run.save,
                self._run.folder.path,
                task.source,
                classes=network.classes,
                palette=network.palette,
                display_range=task.display_range,
            )
        return self._writers

    def _finish(self, task: ImageTask, error: Exception | None) -> None:
        source, folder = task.source, self._run.folder
        number, count = self._run.pages[source.name]
        if error is None:
            try:
                writers = self._open(task)
                writers.finish()
            except Exception as unwritten:
                error = unwritten
        if error is None:
            notes = remarks(source, self._run.network, self._run.options, self._limits)
            folder.add(self._row(task, f'{number}/{count}'), notes)
            try:
                writers.publish()
            except Exception as unnamed:
                error = unnamed
                folder.take_back()
        source.close()
        if error is not None:
            self.discard()
            self._run.fail(source.path, source.name, error, count)
        else:
            self._run.progress.on_image(1 / count)

    def _row(self, task: ImageTask, page: str) -> dict[str, Any]:
        source = task.source
        return dict(
            image=source.path,
            page=page,
            name=source.name,
            width=source.size[1],
            height=source.size[0],
            channels=' '.join(source.channels[k] for k in source.shown),
            mpp='' if source.mpp is None else f'{source.mpp:g}',
            tiles=len(task.numbers),
            objects=self._objects,
            mean_area_px=f'{self._area / self._objects:.1f}' if self._objects else '',
            seconds=f'{time.perf_counter() - self._start:.3f}',
        )


def require_distinct_names(files: Sequence[Path]) -> None:
    """Raise a :class:`DataError` if results of two files would have one name."""
    counts = Counter(output_name(path) for path in files)
    twice = [str(path) for path in files if counts[output_name(path)] > 1]
    if twice:
        raise DataError(
            f'the results of these images would have one name: {", ".join(twice[:4])}. Predict '
            'them into folders of their own.'
        )
