"""Training curves as a picture that is up to date while training runs."""

from __future__ import annotations

from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..curves import draw_curves, read_curves


@HOOKS.register_module()
class CurvesHook(Hook):
    """Draw ``curves.png`` into the work directory after each validation and at the end.

    Resumed runs are drawn as one: the logs of all starts in the work directory are joined.
    """

    # Later than LoggerHook (BELOW_NORMAL), which writes what is drawn.
    priority = 'LOW'

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw what has been logged so far."""
        self._draw(runner)

    def after_train(self, runner: Runner) -> None:
        """Draw the whole training."""
        self._draw(runner)

    @master_only
    def _draw(self, runner: Runner) -> None:
        work_dir = Path(runner.work_dir)
        curves = read_curves(work_dir)
        if curves.train:
            draw_curves([curves], work_dir / 'curves.png')
