"""A model that sees bright objects, as config and checkpoint files, and narrow real ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import InstanceData
from skimage.measure import label, regionprops

from mmcell.structures import RoiMasks

CONFIG = """
custom_imports = dict(imports=['mmcell.plugin'], allow_failed_imports=False)
default_scope = 'mmdet'
model = dict(type='BrightObjects', width={width}, test_cfg=dict(max_per_img=200))
test_dataloader = dict(dataset=dict(metainfo=dict(classes=('small', 'large'), {mpp}), pipeline=[
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations'),
    dict(type='PackDetInputs', meta_keys=('img_shape', 'ori_shape')),
]))
"""


class BrightObjects(BaseModel):
    """Calls every connected bright region an object; the wider, the surer; large from 35 pixels.

    ``kind`` is the form in which it gives its masks. An object of 13 pixels is too much for it.
    """

    kind = 'RoiMasks'
    calls = 0

    def __init__(self, width, test_cfg=None):
        super().__init__(DetDataPreprocessor())
        self.layer = torch.nn.Linear(width, 1)
        self.test_cfg = test_cfg

    def forward(self, inputs, data_samples, mode):
        assert mode == 'predict' and len(inputs) == len(data_samples)
        BrightObjects.calls += 1
        for image, sample in zip(inputs, data_samples, strict=True):
            assert 'masks' not in sample.gt_instances
            sample.pred_instances = self.find(image.mean(0).cpu().numpy() > 127)
        return data_samples

    def find(self, bright):
        regions = regionprops(label(bright))
        if any(region.area == 13 for region in regions):
            raise RuntimeError('the network\nis confused')
        boxes = [(x1, y1, x2, y2) for y1, x1, y2, x2 in (region.bbox for region in regions)]
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        masks = RoiMasks(boxes, [torch.from_numpy(r.image) for r in regions], bright.shape)
        return InstanceData(
            scores=((boxes[:, 2] - boxes[:, 0]) / 10).clamp(max=1),
            labels=torch.tensor([int(r.area >= 35) for r in regions], dtype=torch.int64),
            masks=masks,
        )


@pytest.fixture(autouse=True)
def bright_objects():
    """The class, registered."""
    BrightObjects.calls = 0
    MODELS.register_module(module=BrightObjects, force=True)
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield BrightObjects
    del MODELS.module_dict['BrightObjects']


@pytest.fixture
def files(tmp_path):
    """Config and matching checkpoint of BrightObjects, in a folder of their own."""
    folder = tmp_path / 'model'
    folder.mkdir()
    config, checkpoint = folder / 'config.py', folder / 'weights.pth'
    config.write_text(CONFIG.format(width=3, mpp=''))
    torch.save(dict(state_dict=BrightObjects(3).state_dict()), checkpoint)
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


def scene(value=200, dtype=np.uint8):
    """Objects 8 x 4 and 6 x 6 pixels, and one that is 3 wide and so below the threshold."""
    image = np.zeros((40, 50), dtype=dtype)
    image[2:6, 10:18] = image[20:26, 30:36] = image[30:33, 5:8] = value
    return image
