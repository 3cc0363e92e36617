"""What ``mmcell predict`` does with its options."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
from mmengine.runner import set_random_seed
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as ProgressBar

from mmcell.engine.bfloat16 import half_dtype
from mmcell.engine.errors import ConfigError
from mmcell.engine.memory import spare_what_is_loaded
from mmcell.inference.distribution import worker_pool
from mmcell.inference.dry_run import as_table, look_at, seconds_per_tile
from mmcell.inference.network import Network, NetworkSpec, load_network
from mmcell.inference.options import PredictOptions
from mmcell.inference.provenance import SEED, describe_run
from mmcell.inference.run import FileRun, Progress, require_distinct_names
from mmcell.inference.run_folder import RunFolder
from mmcell.inference.sources import find_inputs
from mmcell.inference.writers import check_names

_SHOWN_FAILURES = 20


class PredictCommand:
    """One call of ``mmcell predict``.

    Args:
        inputs: files, folders, patterns, CSV lists.
        **options: those of the command line.

    Raises:
        ConfigError: If options contradict each other or a value is out of range.
    """

    def __init__(
        self,
        inputs: tuple[str, ...],
        *,
        model: str | None,
        checkpoint: str | None,
        out: Path | None,
        save: str,
        device: str,
        batch_size: int,
        workers: int,
        scheduler: str | None,
        resume: bool,
        overwrite: bool,
        dry_run: bool,
        all_tiles: bool,
        **options: Any,
    ) -> None:
        self.inputs, self.out = inputs, out
        self.model, self.checkpoint, self.device = model, checkpoint, device
        self.batch_size, self.workers, self.scheduler = batch_size, workers, scheduler
        self.resume, self.overwrite, self.dry_run = resume, overwrite, dry_run
        self.save = [name.strip() for name in save.split(',') if name.strip()]
        try:
            self.options = PredictOptions(tissue=not all_tiles, **options)
        except ValueError as error:
            raise ConfigError(f'--{error}'.replace('_', '-', 1)) from None
        if workers and scheduler:
            raise ConfigError('--workers starts processes, --scheduler has some: not both')
        needed = {'--model': model, '--checkpoint': checkpoint, '--out': out}
        missing = [name for name, value in needed.items() if value is None]
        if missing and not dry_run:
            raise ConfigError(f'{" and ".join(missing)} missing; only --dry-run goes without')
        if (model is None) != (checkpoint is None):
            raise ConfigError('--model and --checkpoint belong together')

    def run(self) -> int:
        """Do it; returns the exit status."""
        # What was done of which image is noted for runs from other folders, and for a cluster's.
        files = [Path(os.path.abspath(file)) for file in find_inputs(self.inputs)]
        require_distinct_names(files)
        return self._report(files) if self.dry_run else self._predict(files)

    def _network(self) -> Network:
        set_random_seed(SEED)
        # Workers of a cluster run in folders of their own, and find names and addresses themselves.
        model, checkpoint = (
            os.path.abspath(name) if Path(name).is_file() else name
            for name in (self.model, self.checkpoint)
        )
        network = load_network(NetworkSpec(model, checkpoint, self.device))
        if self.options.half and not self.scheduler:
            half_dtype(network.device)  # said once, before any image
        return network

    def _predict(self, files: list[Path]) -> int:
        if not self.save:
            raise ConfigError('--save names nothing to write')
        check_names(self.save)
        network = self._network()
        self.options = self.options.of(network)
        record = describe_run(network, self.options, self.save)
        folder = RunFolder(
            self.out, record, self.save, resume=self.resume, overwrite=self.overwrite
        )
        spare_what_is_loaded()
        with (
            worker_pool(self.workers, self.scheduler) as ordered_map,
            folder,
            _progress(len(files)) as progress,
        ):
            folder.write('model_config.py', network.cfg.pretty_text)
            FileRun(network, self.options, self.save, folder, progress)(
                files, ordered_map, self.batch_size
            )
        failed = folder.failures
        kept = f', {folder.num_resumed} of a former run kept' if self.resume else ''
        click.echo(f'{folder.num_done} images done{kept}, results in {self.out}')
        for failure in failed[:_SHOWN_FAILURES]:
            click.echo(f'failed: {failure.image}: {failure.error}', err=True)
        if len(failed) > _SHOWN_FAILURES:
            click.echo(f'{len(failed)} failed in all, see {self.out}/failures.csv', err=True)
        for remark, count in folder.remarks.most_common():
            click.echo(f'{count} images: {remark}', err=True)
        return 1 if failed else 0

    def _report(self, files: list[Path]) -> int:
        network = None if self.model is None else self._network()
        rows = list(look_at(files, self.options, network))
        # Names of files may hold brackets, which are rich's markup.
        console = Console(width=None if sys.stdout.isatty() else 160, markup=False)
        console.print(as_table(rows))
        readable = [row for row in rows if row.description is not None]
        tiles = sum(row.tiles for row in readable)
        broken = len(rows) - len(readable)
        click.echo(f'{len(readable)} images can be read, {broken} cannot; {tiles} tiles')
        if network is not None and readable:
            if self.workers:
                torch.set_num_threads(1)  # as many as a worker has
            largest = max(readable, key=lambda row: row.tiles)
            try:
                seconds = seconds_per_tile(largest, self.options, network)
            except OSError as error:  # a look at part of the pixels does not find all damage
                click.echo(f'failed: {error}', err=True)
                return 1
            total = tiles * seconds / max(self.workers, 1)
            click.echo(f'{seconds:.2f} s a tile on {network.device}: {_duration(total)} in all')
        return 1 if broken else 0


@contextmanager
def _progress(num_files: int) -> Iterator[Progress]:
    """Bars for files and tiles, on a terminal."""
    console = Console(stderr=True)
    with ProgressBar(console=console, disable=not sys.stderr.isatty()) as bars:
        files = bars.add_task('images', total=num_files)
        tiles = bars.add_task('tiles', total=None, visible=False)
        yield Progress(
            lambda name, done, total: bars.update(
                tiles, description=escape(name), completed=done, total=total, visible=total > 1
            ),
            lambda share: bars.advance(files, share),
        )


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 2:
        return f'about {seconds:.0f} s'
    return f'about {minutes:.0f} minutes' if hours < 2 else f'about {hours:.1f} hours'
