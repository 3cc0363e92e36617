"""A network with its weights, and what a prediction needs to know about it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from mmcell.engine.checkpoints import describe_mismatch, require_checkpoint
from mmcell.engine.config import cell_metrics, load_config, package_dir, walk_config
from mmcell.engine.device import choose_device
from mmcell.engine.errors import CheckpointError, ConfigError

_HASH_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class NetworkSpec:
    """What any process needs to load the same network.

    Attributes:
        config: path of a config file, or the name of one that mmcell ships, such as 'pffnet_kumar'.
        checkpoint: path of a file whose parameters are exactly the model's.
        device: such as 'cpu' or 'cuda:0'; 'auto' takes an accelerator where there is one.
        version: differs if the files have changed: workers that live on keep their network.
    """

    config: str
    checkpoint: str
    device: str = 'auto'
    version: str = ''


@dataclass(frozen=True)
class Network:
    """A model in evaluation mode.

    Attributes:
        spec: where it came from.
        module: the model, on its device.
        cfg: its whole config.
        classes: names of the classes, in the order of the labels.
        palette: RGB colours of the classes, if there are some.
        mpp: microns per pixel of the images it was trained on; None if nothing says so.
        meta: what the checkpoint says about itself.
    """

    spec: NetworkSpec
    module: nn.Module
    cfg: Config
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None
    mpp: float | None
    meta: dict[str, Any]

    @property
    def magnification(self) -> float:
        """How much the config's test pipeline magnifies every image: its ``Resize(scale_factor=)``.

        1 where it fits images into a size, since that depends on the image.
        """
        steps = get_test_pipeline_cfg(self.cfg)
        factors = (step.get('scale_factor') for step in steps if not step.get('scale'))
        # Of a factor for each side, the larger one: it decides on the memory.
        return math.prod(float(np.max(factor)) for factor in factors if factor is not None)

    @property
    def score_threshold(self) -> float:
        """From which class score on its detections count: that of the CellMetric of its tests.

        0.5 where there is none. Centers of objects, for instance, have lower scores than boxes
        that were classified.
        """
        chosen = (metric.get('score_threshold') for metric in cell_metrics(self.cfg))
        return next((float(value) for value in chosen if value is not None), 0.5)

    @property
    def least_score(self) -> tuple[str, float]:
        """Below which score the model itself drops detections, after the key that says so."""
        test_cfg, place = self.cfg.model.get('test_cfg') or {}, 'model.test_cfg'
        if 'rcnn' in test_cfg:
            test_cfg, place = test_cfg['rcnn'], f'{place}.rcnn'
        return f'{place}.score_thr', float(test_cfg.get('score_thr') or 0)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device


def find_config(config: str | Path) -> Path:
    """The config file that mmcell ships under a name such as 'pffnet_kumar', or the path itself."""
    path = Path(config)
    if not path.is_file() and path.parent == Path('.') and path.suffix in ('', '.py'):
        folder = package_dir('configs')
        for place in (folder, folder / 'ablations'):
            shipped = place / f'{path.stem}.py'
            if shipped.is_file():
                return shipped
    return path


def load_network(spec: NetworkSpec) -> Network:
    """Build the model of a config with the weights of a checkpoint.

    Raises:
        ConfigError: If there is no such config, it has no test pipeline, or the device cannot be
            used.
        CheckpointError: If the checkpoint is missing, broken or of another architecture.
    """
    cfg = load_config(find_config(spec.config))
    if 'test_dataloader' not in cfg:
        raise ConfigError(
            f'config {spec.config} has no test_dataloader, whose pipeline says how the model takes '
            'its images: use the config that the model was trained with.'
        )
    require_checkpoint(spec.checkpoint)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    module = MODELS.build(cfg.model)
    # Compared below, where the message can say more; MMEngine's own would only be a warning.
    content = load_checkpoint(module, spec.checkpoint, map_location='cpu', logger='silent')
    mismatch = describe_mismatch(module, content)
    if mismatch:
        raise CheckpointError(
            f'{spec.checkpoint} does not fit the model of {spec.config}: {mismatch}. Use the '
            'config it was trained with.'
        )
    meta = content.get('meta', {})
    metainfo = {**_metainfo(cfg), **(meta.get('dataset_meta') or {})}
    mpp = metainfo.get('mpp')
    try:
        module.to(choose_device(spec.device)).eval()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ConfigError(
            f'--device {spec.device} cannot be used here: {str(error).splitlines()[0]}'
        ) from error
    return Network(
        spec=replace(spec, version=files_version(spec)),
        module=module,
        cfg=cfg,
        classes=_class_names(metainfo.get('classes', ()), cfg),
        palette=_palette(metainfo.get('palette')),
        mpp=None if mpp is None else float(mpp),
        meta=meta,
    )


def sha256(path: str | Path) -> str:
    """Checksum of a file, as ``sha256sum`` prints it."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _metainfo(cfg: Config) -> dict[str, Any]:
    """Classes and pixel size that the config names for its test data."""
    from mmdet.registry import DATASETS

    dataset = cfg.test_dataloader.get('dataset', {})
    kind = DATASETS.get(dataset['type']) if 'type' in dataset else None
    return {**getattr(kind, 'METAINFO', {}), **dataset.get('metainfo', {})}


def _palette(colors: Any) -> tuple[tuple[int, int, int], ...] | None:
    # MMDetection also allows names such as 'random', which mean nothing here.
    if not isinstance(colors, (list, tuple)):
        return None
    return tuple((int(r), int(g), int(b)) for r, g, b in colors)


def files_version(spec: NetworkSpec) -> str:
    """Differs once config or checkpoint have changed: times and sizes of the files."""
    files = [path for path in map(Path, (spec.config, spec.checkpoint)) if path.is_file()]
    return ' '.join(f'{path.stat().st_mtime_ns}-{path.stat().st_size}' for path in files)


def _class_names(names: Sequence[str], cfg: Config) -> tuple[str, ...]:
    """One name for every class that the model may predict."""
    count = max(
        (node['num_classes'] for _, node in walk_config(cfg.model) if 'num_classes' in node),
        default=1,
    )
    return (*names, *(f'class_{k}' for k in range(len(names), count)))
