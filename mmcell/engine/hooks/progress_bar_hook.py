"""Progress bars in a terminal."""

from __future__ import annotations

import atexit
import logging
import sys
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_ETA_WINDOW_S = 600  # long enough to average over validations


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show how far training, validation or testing is, and the time left.

    Bars are drawn by the first process and only on a terminal: in a file or a pipe, LoggerHook's
    lines carry the same figures.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Start the training bar where the training starts or resumes."""
        self._add(runner, 'train', runner.max_iters, runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Move the training bar and show the loss, as RuntimeInfoHook copied it to the host."""
        if self._progress is None:
            return
        scalars = runner.message_hub.log_scalars
        loss = f'loss {scalars["train/loss"].mean(50):.3f}' if 'train/loss' in scalars else ''
        self._progress.update(self._tasks['train'], completed=runner.iter + 1, note=loss)

    def after_train(self, runner: Runner) -> None:
        """Leave the terminal as it was."""
        self._remove('train')

    def before_val_epoch(self, runner: Runner) -> None:
        """Add a bar for this validation."""
        self._add(runner, 'val', len(runner.val_dataloader))

    def before_test_epoch(self, runner: Runner) -> None:
        """Add a bar for the test."""
        self._add(runner, 'test', len(runner.test_dataloader))

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        # MMEngine calls this after each batch of validation and test.
        if self._progress is not None:
            self._progress.update(self._tasks[mode], completed=batch_idx + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Take the validation bar away."""
        self._remove('val')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Take the test bar away."""
        self._remove('test')

    def _add(self, runner: Runner, mode: str, total: int, completed: int = 0) -> None:
        if not (is_main_process() and sys.stderr.isatty()):
            return
        if self._progress is None:
            self._start(runner)
        self._tasks[mode] = self._progress.add_task(mode, total=total, completed=completed, note='')

    def _start(self, runner: Runner) -> None:
        self._progress = Progress(
            TextColumn('{task.description:5}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(),
            TextColumn('{task.fields[note]}'),
            console=Console(stderr=True),
            redirect_stdout=sys.stdout.isatty(),
            speed_estimate_period=_ETA_WINDOW_S,
        )
        self._progress.start()
        # The logger holds the real stdout: lines would be written across the bars.
        for handler in runner.logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setStream(sys.stdout)
        atexit.register(self._stop)  # an error must not leave the cursor hidden

    def _remove(self, mode: str) -> None:
        if self._progress is None:
            return
        self._progress.remove_task(self._tasks.pop(mode))
        if not self._tasks:
            self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._tasks.clear()
