"""Every process validates and saves the same network."""

from __future__ import annotations

from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@HOOKS.register_module()
class AverageBuffersHook(Hook):
    """Average batch normalisation's running statistics over the processes after each iteration.

    DistributedDataParallel keeps parameters equal, but each process's statistics are those of its
    own images (``broadcast_buffers`` is off in MMEngine): each would validate another network, and
    the first one's would be saved. The statistics are moving averages, which are linear, so it
    makes no difference whether they are averaged once at the end or in each iteration, where no
    hook that validates or saves can come before it. Layers that are frozen or synchronised are
    left alone. With one process nothing happens.
    """

    # Before EMAHook takes the network over, and before validation and checkpoints.
    priority = 'HIGH'

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Average them."""
        if get_world_size() == 1:
            return
        buffers = [
            buffer
            for module in runner.model.modules()
            if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
            if module.training and module.track_running_stats
            for buffer in (module.running_mean, module.running_var)
        ]
        if buffers:
            all_reduce_params(buffers, op='mean')
