from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import nn

import mmcell.plugin  # noqa: F401
from mmcell.structures import LabelMapMasks

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
SIDE = 16
CORNERS = [(4, 6), (36, 10), (20, 38)]


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def model_config() -> Callable[[str], ConfigDict]:
    """Read a model config that ships, by name."""
    return lambda name: Config.fromfile(CONFIGS / f'{name}.py').model


@pytest.fixture
def tiny_model(model_config, shrink) -> Callable[..., nn.Module]:
    """``tiny_model(name, num_classes=1, changes={})`` builds a tiny config, still narrower.

    ``changes`` has dotted keys, as ``--cfg-options``. Weights are the same in every call.
    """

    def build(
        name: str = 'pffnet_r18_tiny', num_classes: int = 1, changes: dict | None = None
    ) -> nn.Module:
        cfg = Config(dict(model=shrink(model_config(name), num_classes)))
        cfg.model.train_cfg.rpn_proposal.max_per_img = 60
        cfg.merge_from_dict({f'model.{key}': value for key, value in (changes or {}).items()})
        torch.manual_seed(0)
        return MODELS.build(cfg.model)

    return build


@pytest.fixture
def cells() -> Callable[..., dict]:
    """Raw batches of bright squares, as a data loader hands them to a model."""

    def batch(
        counts: Sequence[int] = (3, 2),
        num_classes: int = 1,
        sizes: Sequence[tuple[int, int]] | None = None,
        scale_factor: float = 1.0,
    ) -> dict:
        """``counts`` objects on images of ``sizes``, resized by ``scale_factor`` before."""
        rng = np.random.default_rng(0)
        inputs, samples = [], []
        for count, (height, width) in zip(counts, sizes or [(64, 64)] * len(counts), strict=True):
            image = rng.integers(0, 60, (3, height, width), dtype=np.uint8)
            label_map = np.zeros((height, width), dtype=np.int32)
            for k, (x, y) in enumerate(CORNERS[:count]):
                image[:, y : y + SIDE, x : x + SIDE] += 150
                label_map[y : y + SIDE, x : x + SIDE] = k + 1
            masks = LabelMapMasks([label_map], np.arange(1, count + 1))
            labels = torch.arange(count) % num_classes
            semantic = np.concatenate([[0], labels.numpy() + 1])[label_map]
            sample = DetDataSample(
                metainfo=dict(
                    img_shape=(height, width),
                    ori_shape=(round(height / scale_factor), round(width / scale_factor)),
                    scale_factor=(scale_factor, scale_factor),
                )
            )
            sample.gt_instances = InstanceData(
                bboxes=masks.get_bboxes('hbox').tensor, labels=labels, masks=masks
            )
            sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(semantic)[None])
            inputs.append(torch.from_numpy(image))
            samples.append(sample)
        return dict(inputs=inputs, data_samples=samples)

    return batch


@pytest.fixture
def losses_of(cells) -> Callable[..., dict]:
    """``losses_of(model, iteration=0, **cells)``: preprocess a batch of cells, give its losses."""

    def losses(model: nn.Module, iteration: int = 0, **kwargs: Any) -> dict:
        MessageHub.get_current_instance().update_info('iter', iteration)
        torch.manual_seed(1)  # the samplers draw
        data = model.data_preprocessor(cells(**kwargs), training=True)
        return model(**data, mode='loss')

    return losses


@pytest.fixture
def predictions_of(cells) -> Callable[..., list[DetDataSample]]:
    """``predictions_of(model, rescale=True, ..., **cells)``: preprocess a batch and predict."""

    def predict(
        model: nn.Module, rescale: bool = True, return_semantic: bool = False, **kwargs: Any
    ) -> list[DetDataSample]:
        data = model.eval().data_preprocessor(cells(**kwargs), training=False)
        options = dict(return_semantic=True) if return_semantic else {}
        with torch.no_grad():
            return model.predict(data['inputs'], data['data_samples'], rescale=rescale, **options)

    return predict
