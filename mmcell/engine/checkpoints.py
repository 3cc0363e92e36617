"""Checkpoints: written in one piece, found again, and compared with the model."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from torch import Tensor, nn

from .errors import CheckpointError

_SHOWN = 3  # names of parameters given as examples in a message


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """Local files that a killed process leaves whole: old or new, never half of one.

    CheckpointHook rewrites the checkpoint that ``last_checkpoint`` points to whenever the best
    score improves; killed there, a plain write would leave nothing to resume from.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` beside ``filepath``, then rename it into place."""
        filepath = Path(filepath)
        filepath.parent.mkdir(parents=True, exist_ok=True)
        partial = filepath.with_name(f'{filepath.name}.partial')
        with open(partial, 'wb') as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())  # the name must not reach the disk before the contents
        os.replace(partial, filepath)


def find_resumable(work_dir: str | Path) -> Path | None:
    """The newest whole checkpoint of an interrupted run.

    Args:
        work_dir: Its ``last_checkpoint`` is believed if the file it names is whole; that file may
            have moved with the folder. Otherwise the highest ``iter_N.pth`` or ``epoch_N.pth``
            that is whole.

    Returns:
        None if there is nothing to resume from.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        last = Path(pointer.read_text().strip())
        # First here: where the folder is a copy, the original has gone on or is another run.
        for candidate in (work_dir / last.name, last):
            if last.name and zipfile.is_zipfile(candidate):
                return candidate
    numbered = {
        int(found[1]): path
        for path in work_dir.glob('*.pth')
        if (found := re.fullmatch(r'(?:iter|epoch)_(\d+)', path.stem)) and zipfile.is_zipfile(path)
    }
    return numbered[max(numbered)] if numbered else None


def require_checkpoint(path: str | Path) -> None:
    """Raise :class:`CheckpointError` if ``path`` is missing or not whole. URLs pass."""
    if '://' in str(path):
        return
    path = Path(path)
    if not path.is_file():
        folder = path.parent
        names = sorted(p.name for p in folder.glob('*.pth')) if folder.is_dir() else []
        there = f'{folder} holds {", ".join(names)}' if names else f'{folder} holds no checkpoint'
        raise CheckpointError(f'checkpoint {path} does not exist; {there}.')
    with open(path, 'rb') as file:
        is_legacy_pickle = file.read(1) == b'\x80'
    if not (zipfile.is_zipfile(path) or is_legacy_pickle):
        raise CheckpointError(
            f'{path} is not a checkpoint, or was cut off while it was written. Use an earlier one.'
        )


def describe_mismatch(model: nn.Module, checkpoint: dict[str, Any]) -> str:
    """Say how the weights of ``checkpoint`` differ from the parameters of ``model``.

    Args:
        model: Not wrapped for distributed training.
        checkpoint: As ``torch.load`` gives it, or a bare state dict.

    Returns:
        Such as '2 missing (mask_head.conv.weight, ...), 1 unexpected (a)'; '' if all fit.
    """
    wanted = model.state_dict()
    given = {
        name.removeprefix('module.'): value
        for name, value in checkpoint.get('state_dict', checkpoint).items()
    }
    shapes = [
        f'{name}: {tuple(given[name].shape)} in the file, {tuple(value.shape)} in the model'
        for name, value in wanted.items()
        if isinstance(given.get(name), Tensor) and given[name].shape != value.shape
    ]
    problems = {
        'missing': [name for name in wanted if name not in given],
        'unexpected': [name for name in given if name not in wanted],
        'of another shape': shapes,
    }
    return ', '.join(
        f'{len(names)} {what} ({"; ".join(names[:_SHOWN])}{"; ..." * (len(names) > _SHOWN)})'
        for what, names in problems.items()
        if names
    )
