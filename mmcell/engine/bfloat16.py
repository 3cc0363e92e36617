"""Mixed precision without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast on a CPU.

    MMEngine's ``AmpOptimWrapper`` insists on an accelerator. bfloat16 has float32's range, so no
    loss scaling is needed. Worth it on processors with AVX512-BF16 or AMX; slower on others.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """As in the parent, under autocast."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
