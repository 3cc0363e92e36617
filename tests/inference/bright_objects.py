"""A model that needs no training: it finds bright objects. Its config imports this module."""

import os
import time

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from skimage.measure import label, regionprops

from mmcell.structures import RoiMasks


@MODELS.register_module(force=True)
class BrightObjects(BaseModel):
    """Calls every connected bright region an object; the wider, the surer; large from 35 pixels.

    An object of 13 pixels is too much for it. BRIGHT_OBJECTS_S slows it down.
    """

    calls = 0

    def __init__(self, width, test_cfg=None):
        super().__init__(DetDataPreprocessor())
        self.layer = torch.nn.Linear(width, 1)
        self.test_cfg = test_cfg

    def forward(self, inputs, data_samples, mode):
        assert mode == 'predict' and len(inputs) == len(data_samples)
        BrightObjects.calls += 1
        time.sleep(float(os.environ.get('BRIGHT_OBJECTS_S', 0)))
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
