"""A model that sees bright objects, as config and checkpoint files, and narrow real ones."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

CONFIG = """
custom_imports = dict(imports=['mmcell.plugin', 'bright_objects'], allow_failed_imports=False)
default_scope = 'mmdet'
model = dict(type='BrightObjects', width={width}, test_cfg=dict(max_per_img=200))
test_dataloader = dict(dataset=dict(metainfo=dict(classes=('small', 'large'), {mpp}), pipeline=[
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations'),
    dict(type='PackDetInputs', meta_keys=('img_shape', 'ori_shape')),
]))
"""


@pytest.fixture(autouse=True)
def bright_objects(monkeypatch):
    """The class, registered; its module can be imported, in processes that tests start as well."""
    folder = Path(__file__).parent
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(folder), str(folder.parents[1])]))
    from bright_objects import BrightObjects

    BrightObjects.calls = 0
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield BrightObjects


@pytest.fixture
def files(tmp_path, bright_objects):
    """Config and matching checkpoint of BrightObjects, in a folder of their own."""
    folder = tmp_path / 'model'
    folder.mkdir()
    config, checkpoint = folder / 'config.py', folder / 'weights.pth'
    config.write_text(CONFIG.format(width=3, mpp=''))
    torch.save(dict(state_dict=bright_objects(3).state_dict()), checkpoint)
    return config, checkpoint


@pytest.fixture
def narrow_model(tmp_path, shrink):
    """``narrow_model(base, changes)`` writes a narrow random model: its config and checkpoint."""

    def write(base: str, changes: dict | None = None):
        draft = tmp_path / 'draft.py'
        draft.write_text(f'_base_ = [{base!r}]\n')
        cfg = Config.fromfile(str(draft))
        cfg.model = shrink(cfg.model)
        cfg.custom_imports = dict(imports=['mmcell.plugin'])
        cfg.default_scope = 'mmdet'
        cfg.merge_from_dict(changes or {})
        init_default_scope('mmdet')
        torch.manual_seed(0)
        weights = MODELS.build(cfg.model).state_dict()
        config, checkpoint = tmp_path / 'narrow.py', tmp_path / 'narrow.pth'
        cfg.dump(str(config))
        meta = dict(dataset_meta=dict(classes=('nucleus',)))
        torch.save(dict(state_dict=weights, meta=meta), checkpoint)
        return config, checkpoint

    return write


@pytest.fixture
def scene():
    """``scene(value=200, dtype=uint8)``: a gray image of 40 x 50 pixels with two objects.

    8 x 4 and 6 x 6 pixels; and one that is 3 wide and so below the threshold.
    """

    def make(value: int = 200, dtype: type = np.uint8) -> np.ndarray:
        image = np.zeros((40, 50), dtype=dtype)
        image[2:6, 10:18] = image[20:26, 30:36] = image[30:33, 5:8] = value
        return image

    return make


@pytest.fixture
def ctrl_c():
    """Processes started now heed Ctrl-C, also where a shell runs the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
