"""Images into batches."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor


@MODELS.register_module()
class CellDataPreprocessor(DetDataPreprocessor):
    """MMDetection's ``DetDataPreprocessor``, which resizes in tests what it pads in training.

    Crops seldom need padding, so networks trained on them know images that end where their grids
    do. Beside padding they lose objects that the border cuts; without it, where a stride leaves an
    odd side, they find rows of objects that are not there. So images of a test or prediction are
    resized to the nearest multiple of ``pad_size_divisor``, each side by half of it at most.

    Args:
        pad_size_divisor: sides of batches are multiples of it.
        **kwargs: as in MMDetection's ``DetDataPreprocessor``.
    """

    def __init__(self, *, pad_size_divisor: int = 32, **kwargs: Any) -> None:
        super().__init__(pad_size_divisor=pad_size_divisor, **kwargs)

    def forward(self, data: dict, training: bool = False) -> dict:
        """As in the parent; samples of tests get their new ``img_shape`` and ``scale_factor``."""
        if not training and data.get('data_samples') is not None:
            pairs = zip(data['inputs'], data['data_samples'], strict=True)
            inputs, samples = zip(*(self._resized(*pair) for pair in pairs), strict=True)
            data = {**data, 'inputs': list(inputs), 'data_samples': list(samples)}
        return super().forward(data, training)

    def _resized(self, image: Tensor, sample: DetDataSample) -> tuple[Tensor, DetDataSample]:
        size = height, width = image.shape[-2:]
        divisor = self.pad_size_divisor
        rows, columns = (max(round(side / divisor), 1) * divisor for side in size)
        if (rows, columns) == size:
            return image, sample
        image = F.interpolate(image[None].float(), (rows, columns), mode='bilinear')[0]
        x, y = sample.get('scale_factor', (1.0, 1.0))
        sample = sample.new()
        sample.set_metainfo(
            dict(img_shape=(rows, columns), scale_factor=(x * columns / width, y * rows / height))
        )
        return image, sample
