"""Mixed precision without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from torch import nn

from mmcell.engine.errors import ConfigError


def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself (AVX512-BF16 or AMX); emulation is slow."""
    # Older versions of torch lack these questions.
    names = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def half_dtype(device: torch.device) -> torch.dtype:
    """The half precision that a device computes in itself: bfloat16, on older GPUs float16.

    Raises:
        ConfigError: If it has none.
    """
    if device.type == 'cuda':
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if device.type == 'cpu' and cpu_has_bfloat16():
        return torch.bfloat16
    raise ConfigError(
        f'half precision is slower here than full: the {device.type} has none of its own (of '
        'processors those with AVX512-BF16 or AMX have it). Leave --half out.'
    )


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass on a CPU under bfloat16 autocast, where the processor has bfloat16.

    MMEngine's ``AmpOptimWrapper`` insists on an accelerator. bfloat16 has float32's range, so no
    loss scaling is needed. On other processors, and on a GPU, training stays in float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """As in the parent, under autocast."""
        autocast = torch.autocast('cpu', torch.bfloat16, enabled=cpu_has_bfloat16())
        with super().optim_context(model), autocast:
            yield
