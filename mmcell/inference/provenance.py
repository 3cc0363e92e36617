"""What ``run.json`` says about how results were made."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import mmcell
from mmcell.inference.network import Network, sha256
from mmcell.inference.options import PredictOptions

SEED = 0
PACKAGES = ('torch', 'onedl-mmcv', 'onedl-mmengine', 'onedl-mmdetection', 'numpy', 'tifffile')
NO_LICENCE = 'not stated in the checkpoint (meta.licence)'


def describe_run(network: Network, options: PredictOptions, save: Iterable[str]) -> dict[str, Any]:
    """Everything that is known before a run.

    Args:
        network: config and weights; a checkpoint from the web has no checksum here.
        options: how images are segmented.
        save: kinds of files.

    Returns:
        ``settings``, which a resumed run must share, and beside them what may differ.
    """
    checkpoint = Path(network.spec.checkpoint)
    config_text = network.cfg.pretty_text
    return dict(
        settings=dict(
            config_sha256=hashlib.sha256(config_text.encode()).hexdigest(),
            weights_sha256=sha256(checkpoint) if checkpoint.is_file() else network.spec.checkpoint,
            save=list(save),
            seed=SEED,
            **asdict(options),
        ),
        mmcell=mmcell.__version__,
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in PACKAGES},
        device=str(network.device),
        config=network.spec.config,
        checkpoint=network.spec.checkpoint,
        licence=network.meta.get('licence', network.meta.get('license', NO_LICENCE)),
        classes=list(network.classes),
        model_mpp=options.model_mpp or network.mpp,
        normalisation=(
            f'8-bit images as they are; others linearly from the percentiles {options.percentiles} '
            'of the whole image to 0..255'
        ),
        command=sys.argv,
    )
