"""Training stops at the first loss that is not a number, and says on which images."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import NonFiniteLossError


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop when a loss is NaN or infinite, naming the losses and the images of the batch.

    Every iteration is checked, at no cost on a GPU: RuntimeInfoHook, which runs first, has already
    copied each loss to the host for the log, and this hook reads the copies. The weights have been
    updated with the bad loss by then, but CheckpointHook runs later, and NaN is never saved.
    """

    priority = 'NORMAL'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Look at the losses of this iteration.

        Raises:
            NonFiniteLossError: One of them is NaN or infinite.
        """
        losses = {
            name: runner.message_hub.get_scalar(f'train/{name}').current()
            for name in outputs or {}
            if 'loss' in name
        }
        if all(math.isfinite(value) for value in losses.values()):
            return
        samples = (data_batch or {}).get('data_samples', [])
        images = [sample.metainfo.get('img_path', '?') for sample in samples]
        raise NonFiniteLossError(
            f'iteration {runner.iter + 1}: a loss is not finite ('
            + ', '.join(f'{name}={value:g}' for name, value in losses.items())
            + f').\nImages of the batch: {", ".join(images) or "unknown"}.\n'
            'Look at these images and their annotations; if they are sound, lower the learning '
            'rate or clip gradients (optim_wrapper.clip_grad), and go on with --resume.'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at the weights: gradients, or another process, may have spoilt them.

        Raises:
            NonFiniteLossError: One of them is NaN.
        """
        for name, value in checkpoint['state_dict'].items():
            # Shards of a model cannot be asked.
            if type(value) is torch.Tensor and torch.isnan(value).any():
                raise NonFiniteLossError(
                    f'{name} holds NaN, so the checkpoint is not written. Lower the learning rate '
                    'or clip gradients (optim_wrapper.clip_grad), and go on from an earlier one.'
                )
