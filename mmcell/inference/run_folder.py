"""The folder of a prediction run: what was done, how, and what failed."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from mmcell.engine.errors import DataError, OutputError
from mmcell.evaluation.readers.files import one_line
from mmcell.inference.writers import output_paths
from mmcell.inference.writers.base import remove

RUN, SUMMARY, FAILURES = 'run.json', 'summary.csv', 'failures.csv'
SUMMARY_COLUMNS = (
    *('image', 'page', 'name', 'width', 'height', 'channels', 'mpp', 'tiles', 'objects'),
    *('mean_area_px', 'seconds', 'remarks'),
)
FAILURE_COLUMNS = ('image', 'name', 'error')
# File systems have names that are no UTF-8.
_ANY_NAME = 'surrogateescape'


class Failure(NamedTuple):
    """An image that gave no result.

    Attributes:
        image: the file.
        name: of its results, '' if the file could not be opened.
        error: what went wrong, in one line.
    """

    image: Path
    name: str
    error: str


class RunFolder:
    """Opens a folder for results; use it in a ``with`` statement.

    ``run.json`` says how the results were made, from the start on; ``summary.csv`` has a row for
    each image that is done, written just before its files get their names, so that every file of
    a run is known as such; ``failures.csv`` is there if an image failed. A run that is interrupted
    leaves what is done.

    Args:
        path: made if missing.
        record: what ``run.json`` is to say; ``settings`` within it are what a resumed run must
            have in common with the former one.
        save: kinds of files, as ``open_writers`` names them.
        resume: keep the results of a former run.
        overwrite: delete the results of a former run.

    Raises:
        DataError: If the folder holds results and neither is given, both are, or the former run
            had other settings.
        OutputError: In the ``with`` statement and the methods, if the folder cannot be written to.
    """

    def __init__(
        self,
        path: Path,
        record: Mapping[str, Any],
        save: Iterable[str],
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path, self._record, self._save = path, dict(record), tuple(save)
        self.failures: list[Failure] = []
        self.num_done = 0
        self.remarks: Counter[str] = Counter()
        self._files: list[TextIO] = []
        if resume and overwrite:
            raise DataError(
                '--resume keeps the results in --out, --overwrite deletes them: not both'
            )
        former = _read_run(path)
        if former is not None and not (resume or overwrite):
            raise DataError(
                f'{path} holds results already: --resume goes on with them, --overwrite deletes '
                'them, or choose another --out'
            )
        self._rows: list[dict[str, str]] = []
        # Names of results that former runs have left incomplete: these files may be replaced.
        self._incomplete: set[str] = set()
        # Not before the run begins: an option that turns out wrong deletes nothing.
        self._to_delete = former if overwrite else None
        if former is not None and not overwrite:
            _require_equal(path, former['settings'], self._record['settings'])
            rows = list(_read_rows(path / SUMMARY))
            self._rows = [row for row in rows if self._is_whole(row['name'])]
            self._incomplete.update(former.get('incomplete', ()), (row['name'] for row in rows))
            self._incomplete.difference_update(row['name'] for row in self._rows)
            earlier = {key: former.get(key) for key in ('started', 'ended', 'status', 'command')}
            self._record['earlier_runs'] = [*former.get('earlier_runs', []), earlier]
        self._resumed = {row['name']: Path(row['image']) for row in self._rows}
        self._pages: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in self._rows:
            self._pages[row['image']].append(row)

    def __enter__(self) -> RunFolder:
        make_out_folder(self.path)
        with self._writing():
            if self._to_delete is not None:
                _delete_results(self.path, self._to_delete)
            (self.path / FAILURES).unlink(missing_ok=True)
            self._record.update(status='running', started=_now(), ended=None)
            self._record['incomplete'] = sorted(self._incomplete)
            self._write_run()
            # Rows that are taken over are written anew: a killed run may have left half of one.
            self._summary = self._open_table(SUMMARY, SUMMARY_COLUMNS, self._rows)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        status = 'interrupted' if kind is not None else 'failures' if self.failures else 'done'
        self._record.update(status=status, ended=_now())
        self._record.update(images_done=self.num_done, images_failed=len(self.failures))
        left = sorted(name for name in self._incomplete if not self._is_whole(name))
        self._record['incomplete'] = left
        # What ended the run counts more than that its end cannot be noted.
        quiet = suppress(OutputError) if kind is not None else nullcontext()
        with quiet, self._writing(), ExitStack() as in_any_case:
            for file in self._files:
                in_any_case.callback(file.close)
            self._write_run()

    @property
    def num_resumed(self) -> int:
        """Images of a former run whose results stay."""
        return len(self._resumed)

    def has_results(self, name: str, image: Path) -> bool:
        """Whether a former run has done an image.

        Args:
            name: of its results.
            image: the file.

        Raises:
            DataError: If results of this name are there, of another file.
        """
        former = self._resumed.get(name)
        # A file that is gone may have been moved: names are all there is.
        if former is not None and former.exists() and not former.samefile(image):
            raise DataError(f'results named {name} are there already, of {former}')
        return former is not None

    def has_all_pages(self, image: Path) -> bool:
        """Whether a former run has done every image of a file, which is as it was since."""
        rows = self._pages.get(str(image), [])
        if not rows or rows[0]['page'].partition('/')[2] != str(len(rows)):
            return False
        written = [path.stat().st_mtime for row in rows for path in self._paths(row['name'])]
        return image.stat().st_mtime <= min(written)

    def require_free(self, name: str) -> None:
        """Raise a :class:`DataError` if results of this name would replace files of no run."""
        for path in self._paths(name):
            if path.exists() and name not in self._incomplete:
                raise DataError(
                    f'{path} is there already, and no run in this folder has written it: move it '
                    'away, or choose another --out'
                )

    def add(self, row: Mapping[str, Any], remarks: Sequence[str]) -> None:
        """Note an image whose files are complete and about to get their names.

        Args:
            row: of the summary, without its remarks.
            remarks: fill the column of this name.
        """
        file = self._files[0]
        self._last = file.tell(), Counter(remarks)
        self.num_done += 1
        self.remarks += Counter(remarks)
        with self._writing():
            self._summary.writerow({**row, 'remarks': '; '.join(remarks)})
            file.flush()

    def take_back(self) -> None:
        """Strike out the last row: its files did not get their names."""
        end, remarks = self._last
        self.num_done -= 1
        self.remarks -= remarks
        with self._writing():
            self._files[0].seek(end)
            self._files[0].truncate()

    def fail(self, image: Path, name: str, error: Exception) -> None:
        """Note an image that gave no result."""
        # Readers name the file, which is a column of its own here.
        failure = Failure(image, name, one_line(error).removeprefix(f'{image}: '))
        with self._writing():
            if not self.failures:
                self._failures = self._open_table(FAILURES, FAILURE_COLUMNS, [])
            self.failures.append(failure)
            self._failures.writerow(failure._asdict())
            self._files[1].flush()

    def write(self, name: str, text: str) -> None:
        """Write a file of its own into the folder."""
        with self._writing():
            (self.path / name).write_text(text, encoding='utf-8')

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f'--out {self.path} cannot be written to ({error.strerror or error}): make room, '
                'or choose another folder. --resume goes on with what is done.'
            ) from error

    def _open_table(
        self, name: str, columns: tuple[str, ...], rows: list[dict[str, str]]
    ) -> csv.DictWriter:
        file = open(  # noqa: SIM115
            self.path / name, 'w', newline='', encoding='utf-8', errors=_ANY_NAME
        )
        self._files.append(file)
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
        file.flush()
        return table

    def _paths(self, name: str) -> Iterable[Path]:
        return output_paths(self._save, self.path, name).values()

    def _is_whole(self, name: str) -> bool:
        return all(path.exists() for path in self._paths(name))

    def _write_run(self) -> None:
        part = self.path / f'{RUN}.part'
        part.write_text(json.dumps(self._record, indent=2, default=str) + '\n', encoding='utf-8')
        os.replace(part, self.path / RUN)


def make_out_folder(path: Path) -> None:
    """Make the folder of ``--out``, or raise an :class:`OutputError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f'--out {path} cannot be made ({error.strerror}): choose another folder'
        ) from error


def _read_run(path: Path) -> dict[str, Any] | None:
    """What a former run has left, None if there was none."""
    try:
        run = json.loads((path / RUN).read_text(encoding='utf-8'))
    except FileNotFoundError:
        if (path / SUMMARY).exists():
            raise DataError(
                f'{path} holds a {SUMMARY} but no {RUN}: choose another --out'
            ) from None
        return None
    except (OSError, ValueError) as error:
        raise DataError(f'{path / RUN} cannot be read: {error}') from error
    if not isinstance(run, dict) or 'settings' not in run:
        raise DataError(f'{path / RUN} is not of mmcell predict: choose another --out')
    return run


def _read_rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.exists():
        return
    with open(path, newline='', encoding='utf-8', errors=_ANY_NAME) as file:
        for row in csv.DictReader(file):
            if None not in row.values():  # whole
                yield row


def _require_equal(path: Path, former: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now, default=str))
    if sorted(former.get('save', [])) == sorted(now.get('save', [])):
        now['save'] = former.get('save')  # their order makes no difference
    differ = [
        f'{key} was {former.get(key)!r}, is {now.get(key)!r}'
        for key in sorted({*former, *now})
        if former.get(key) != now.get(key)
    ]
    if differ:
        raise DataError(
            f'the results in {path} were made with other settings: {"; ".join(differ)}. Give the '
            'same ones, or choose another --out.'
        )


def _delete_results(path: Path, former: Mapping[str, Any]) -> None:
    """Delete the files that a former run has written, and no others."""
    names = former['settings'].get('save', [])
    done = (row['name'] for row in _read_rows(path / SUMMARY))
    for image_name in (*done, *former.get('incomplete', ())):
        for file in output_paths(names, path, image_name).values():
            remove(file)
    for name in (SUMMARY, FAILURES, RUN):
        (path / name).unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')
