"""Weights of another architecture are refused instead of being loaded in part."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..checkpoints import describe_mismatch
from ..errors import CheckpointError

# What a schedule is built from, as its state names it.
_PLAN = {
    *('base_values', 'begin', 'end', 'milestones', 'step_size', 'total_iters', 'total_steps'),
    *('T_max', 'eta_min', 'eta_min_ratio', 'gamma', 'factor', 'start_factor', 'end_factor'),
}


@HOOKS.register_module()
class MatchingCheckpointHook(Hook):
    """Refuse a checkpoint that does not hold exactly the parameters of the model.

    MMEngine loads what fits, warns, and leaves the rest random. That is right for fine-tuning and
    wrong for testing and resuming, where the tools add this hook.
    """

    # EMAHook exchanges the weights of a checkpoint; this looks at what the file holds.
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the file with the model.

        Raises:
            CheckpointError: Listing what is missing, unexpected or of another shape; or a training
                is to go on from a file of weights alone.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        mismatch = describe_mismatch(model, checkpoint)
        if not mismatch:
            self._require_state(runner, checkpoint)
            self._compare_schedules(runner, checkpoint)
            return
        origin = checkpoint.get('meta', {}).get('experiment_name')
        raise CheckpointError(
            f'the checkpoint{f" (of the run {origin})" if origin else ""} does not fit '
            f'{type(model).__name__} of this config: {mismatch}. Use the config it was trained '
            'with; to start a new training from it, use --cfg-options load_from=CHECKPOINT.'
        )

    @staticmethod
    def _compare_schedules(runner: Runner, checkpoint: dict) -> None:
        """Say where the config has another schedule than the one that a training goes on with."""
        saved, built = checkpoint.get('param_schedulers'), runner.param_schedulers
        if not runner.cfg.get('resume') or not isinstance(saved, list):
            return
        if not isinstance(built, list):
            return
        differ = []
        if len(saved) != len(built):
            differ.append(f'it has {len(saved)} parts, not {len(built)}')
        differ += [
            f'{type(scheduler).__name__}.{name} is {former[name]}, not {value}'
            for former, scheduler in zip(saved, built, strict=False)
            for name, value in scheduler.state_dict().items()
            if name in _PLAN and former.get(name, value) != value
        ]
        if differ:
            runner.logger.warning(
                'the training goes on with the schedule of its checkpoint, which differs from the '
                f'config: {"; ".join(differ)}. To follow that of the config, start a training from '
                'these weights: --cfg-options load_from=CHECKPOINT, without --resume.'
            )

    @staticmethod
    def _require_state(runner: Runner, checkpoint: dict) -> None:
        """Refuse to resume without the optimizer: the rate would start again from its warm-up."""
        if runner.cfg.get('resume') and not {'optimizer', 'meta'} <= checkpoint.keys():
            raise CheckpointError(
                '--resume needs a checkpoint with the state of the training, as iter_N.pth and '
                'epoch_N.pth are; best_*.pth are weights alone. Take the last of those, or start a '
                'new training from this one with --cfg-options load_from=CHECKPOINT.'
            )
