"""A run that goes on in another folder leaves the best checkpoint of the first one alone."""

from __future__ import annotations

from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class OwnBestCheckpointHook(Hook):
    """Let a resumed run replace the best checkpoints of its own folder alone.

    A checkpoint names the file of the best one so far, which CheckpointHook deletes when there is a
    better one. Resumed into another folder, that file belongs to another run. Where the folder has
    a file of that name, as a copy has, it takes its place; else the next validation is the best so
    far. The tools add this hook to resumed trainings.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Change what ``checkpoint`` says before the run takes it over."""
        hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        folder = Path(runner.work_dir)
        if hooks and hooks[0].out_dir:  # CheckpointHook adds the name of the work directory
            folder = Path(hooks[0].out_dir, folder.name)
        known = checkpoint.get('message_hub', {}).get('runtime_info', {})
        for key in [key for key in known if key.startswith('best_ckpt')]:
            best = Path(known[key])
            own = folder / best.name
            if best.parent == folder:
                continue
            if own.is_file():
                known[key] = str(own)
            else:
                del known[key]
                known.pop(key.replace('best_ckpt', 'best_score'), None)
