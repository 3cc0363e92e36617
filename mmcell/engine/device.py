"""Where models run: not where mmcv's operators would fail."""

from __future__ import annotations

import logging

import mmengine.device.utils
import torch
from mmcv.ops import get_compiling_cuda_version
from mmengine.device import get_device
from mmengine.logging import print_log

from .errors import ConfigError


def choose_device(wanted: str = 'auto') -> str:
    """The device for models of this process, for MMEngine's Runner as well.

    mmcv has none of the operators that detectors need for Apple's GPUs: instead of one, the CPU is
    taken, which is logged.

    Args:
        wanted: such as 'cpu' or 'cuda:0'; 'auto' takes an accelerator where there is one.

    Raises:
        ConfigError: It is an NVIDIA GPU and mmcv's operators are compiled for the CPU alone.
    """
    device = get_device() if wanted == 'auto' else wanted
    on_gpu = device.startswith('cuda') and torch.cuda.is_available()
    if on_gpu and get_compiling_cuda_version() == 'not available':
        raise ConfigError(
            "mmcv's operators are compiled for the CPU alone, and this machine has an NVIDIA GPU: "
            'to compute on the CPU, `export CUDA_VISIBLE_DEVICES=` first; to compile them for the '
            'GPU, see what `python -m mmcell doctor` says.'
        )
    if wanted == 'auto' and device == 'mps':
        print_log(
            "Apple's GPU is not used: mmcv has no operators for it.", 'current', logging.WARNING
        )
        # The Runner asks get_device, which nothing else can tell.
        mmengine.device.utils.DEVICE = device = 'cpu'
    return device
