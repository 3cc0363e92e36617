"""What ``tools/train.py`` and ``tools/test.py`` do once their arguments are parsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.evaluation.dump_predictions import DumpPredictions

from .bfloat16 import cpu_has_bfloat16
from .checkpoints import find_resumable, require_checkpoint
from .config import load_config, plain_build_errors
from .data_checks import (
    build_dataloader,
    require_annotations,
    require_best_score,
    require_whole_epochs,
)
from .device import choose_device
from .errors import ConfigError
from .hooks import MatchingCheckpointHook, OwnBestCheckpointHook, TimingHook
from .launch import leave_processes, prepare_processes
from .memory import keep_freed_memory, keep_generated_kernels


def train(
    config: str | Path,
    *,
    work_dir: str | None = None,
    overrides: dict[str, Any] | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    launcher: str = 'none',
) -> Runner:
    """Train a model.

    Args:
        config: A config file.
        work_dir: Where checkpoints and logs go. Default: the config's, or ``work_dirs/<name>``.
        overrides: Dotted key -> value, on top of the config.
        amp: Train with mixed precision: float16 on CUDA, bfloat16 on processors that have it.
        auto_scale_lr: Scale the learning rate to the total batch size.
        resume: A checkpoint, or 'auto' for the last one in ``work_dir``; without one there, 'auto'
            starts from the beginning, so that a job may be submitted again as it is.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Returns:
        The runner, after training.

    Raises:
        UserError: Config, data or checkpoint cannot be used, or a loss was not finite.
    """
    cfg = _prepare(config, work_dir, overrides)
    require_annotations(cfg, 'train', 'val')
    require_best_score(cfg)
    require_whole_epochs(cfg)
    if amp:
        _use_mixed_precision(cfg)
    if auto_scale_lr:
        _scale_learning_rate(cfg)
    if resume is not None:
        _resume(cfg, resume)
    prepare_processes(cfg, launcher)
    with plain_build_errors(cfg):
        runner = _build_runner(cfg, _Runner)
        if cfg.get('resume'):
            runner.register_hook(MatchingCheckpointHook())
            runner.register_hook(OwnBestCheckpointHook())
        build_dataloader(runner, 'train_dataloader')
        if cfg.get('val_dataloader') is not None:
            build_dataloader(runner, 'val_dataloader')
        runner.train()
    leave_processes()
    return runner


def test(
    config: str | Path,
    checkpoint: str | Path,
    *,
    work_dir: str | None = None,
    overrides: dict[str, Any] | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    timing: bool = False,
    launcher: str = 'none',
) -> dict[str, float]:
    """Score a checkpoint on the test data of a config.

    Scores per image and their summary go beside the log, to ``work_dir/<start time>``, unless the
    config's CellMetric names another ``out_dir``; so does the config.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: Its parameters must be exactly the model's.
        work_dir: Where the scores go. Default: the config's, or ``work_dirs/<name>``.
        overrides: Dotted key -> value, on top of the config.
        out: A ``.pkl`` file for the predictions, masks as RLE.
        show_dir: A folder, below ``work_dir/<start time>``, for pictures of the predictions.
        timing: Measure speed and memory, too, into ``timing.json`` beside the scores.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Returns:
        Name -> score.

    Raises:
        UserError: Config, data or checkpoint cannot be used.
    """
    if out is not None and not out.endswith(('.pkl', '.pickle')):
        raise ConfigError(f'--out {out}: predictions are written as .pkl or .pickle.')
    cfg = _prepare(config, work_dir, overrides)
    require_annotations(cfg, 'test')
    require_checkpoint(checkpoint)
    cfg.load_from, cfg.resume = str(checkpoint), False
    if show_dir is not None:
        _draw_predictions(cfg, show_dir)
    prepare_processes(cfg, launcher)
    with plain_build_errors(cfg):
        runner = _build_runner(cfg, _TestRunner)
        runner.register_hook(MatchingCheckpointHook())
        build_dataloader(runner, 'test_dataloader')
        if out is not None:
            runner.test_evaluator.metrics.append(DumpPredictions(out))
        cell_metrics = _with_folders(runner)
        if timing:
            runner.register_hook(_timing_hook(*cell_metrics[:1]))
        scores = runner.test()
    leave_processes()
    return scores


def _prepare(config: str | Path, work_dir: str | None, overrides: dict[str, Any] | None) -> Config:
    keep_freed_memory()
    keep_generated_kernels()
    setup_cache_size_limit_of_dynamo()
    choose_device()
    with plain_build_errors(Config()):
        cfg = load_config(config, overrides)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(config).stem)
    return cfg


class _HookRunner(Runner):
    """``default_hooks.NAME=None`` switches any hook off; MMEngine knows this of its own alone."""

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """As in the parent; in place of None stands a hook that does nothing."""
        hooks = {name: Hook() if hook is None else hook for name, hook in (hooks or {}).items()}
        super().register_default_hooks(hooks)


class _Runner(_HookRunner):
    """Leaves the config of an earlier training in ``work_dir`` alone until it is sure to go on."""

    def dump_config(self) -> None:
        """Not yet: the checkpoint may not fit."""

    def load_or_resume(self) -> None:
        """As in the parent; then the config is written."""
        super().load_or_resume()
        super().dump_config()


class _TestRunner(_HookRunner):
    """Writes its config beside its log: that in ``work_dir`` is the training's."""

    @master_only
    def dump_config(self) -> None:
        """To ``work_dir/<start time>``."""
        self.cfg.dump(str(Path(self.log_dir, Path(self.cfg.filename).name)))


def _build_runner(cfg: Config, kind: type[Runner]) -> Runner:
    try:
        return RUNNERS.build(cfg) if 'runner_type' in cfg else kind.from_cfg(cfg)
    except ImportError as error:  # of an optional package, such as tensorboard
        raise ConfigError(str(error)) from error


def _use_mixed_precision(cfg: Config) -> None:
    if not torch.cuda.is_available():
        if not cpu_has_bfloat16():
            raise ConfigError(
                '--amp needs a CUDA device or a processor with bfloat16 (AVX512-BF16, AMX): leave '
                'it out on this machine.'
            )
        _require_half_proposals(cfg)
        cfg.optim_wrapper.type = 'BFloat16OptimWrapper'
        for name in ('loss_scale', 'dtype'):  # of AmpOptimWrapper
            cfg.optim_wrapper.pop(name, None)
        return
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def _require_half_proposals(cfg: Config) -> None:
    """Refuse mmcv's NMS of proposals, which has no bfloat16 on CPUs."""
    proposals = ((cfg.model.get('train_cfg') or {}).get('rpn_proposal') or {}).get('nms') or {}
    if proposals.get('type') in ('nms', 'soft_nms'):
        raise ConfigError(
            f'--amp: model.train_cfg.rpn_proposal.nms.type={proposals["type"]!r} cannot compare '
            "boxes in bfloat16 on a CPU: set it to 'dense_nms', or leave --amp out."
        )


def _scale_learning_rate(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ConfigError(
            '--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=N) in the config: the '
            'batch size that its learning rate is meant for.'
        )
    cfg.auto_scale_lr.enable = True


def _resume(cfg: Config, resume: str) -> None:
    if resume == 'auto':
        found = find_resumable(cfg.work_dir)
        cfg.resume = found is not None
        cfg.load_from = str(found) if found else cfg.get('load_from')
    else:
        require_checkpoint(resume)
        cfg.resume, cfg.load_from = True, resume


def _with_folders(runner: Runner) -> list[CellMetric]:
    """The CellMetrics of the test, each with a folder to write to."""
    metrics = [m for m in runner.test_evaluator.metrics if isinstance(m, CellMetric)]
    for metric in metrics:
        if metric.out_dir is None:
            # MMEngine wants several to have prefixes of their own.
            metric.out_dir = Path(runner.log_dir, metric.prefix if len(metrics) > 1 else '')
    return metrics


def _timing_hook(metric: CellMetric | None = None) -> TimingHook:
    """One that flattens as ``metric`` does and writes beside its files."""
    if metric is None:
        return TimingHook()
    return TimingHook(str(metric.out_dir), flattening=metric.flattening)


def _draw_predictions(cfg: Config, show_dir: str) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ConfigError('--show-dir needs a hook default_hooks.visualization in the config.')
    hook.update(draw=True, test_out_dir=show_dir)
    # MMDetection's own draw full-size bitmaps alone, of images with 8 bits.
    for node, theirs, ours in (
        (hook, 'DetVisualizationHook', 'CellVisualizationHook'),
        (cfg.get('visualizer') or {}, 'DetLocalVisualizer', 'CellVisualizer'),
    ):
        if node.get('type') in (theirs, f'mmdet.{theirs}'):
            node['type'] = ours
