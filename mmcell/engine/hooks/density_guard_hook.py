"""Limits of detections that crowded images exceed are found before a run, not in its scores."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmdet.registry import HOOKS
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmcell.functional.density import fullest_crop

from ..config import walk_config


@HOOKS.register_module()
class DensityGuardHook(Hook):
    """Warn where a limit of the model is below the number of objects in the data.

    Before training, the training crops are compared with ``train_cfg`` and the validation images
    with ``test_cfg``; before a test, the test images. MMDetection's defaults keep 100 objects of
    an image, a field of nuclei holds a thousand, and what is cut off is missing without a word.

    Args:
        quantile: the share of the images, in (0, 1], whose objects a limit must let through.
        limits: names of the limits, wherever they stand in the model's ``train_cfg.rpn_proposal``
            and ``test_cfg``.
    """

    def __init__(
        self, quantile: float = 0.999, limits: Sequence[str] = ('nms_pre', 'max_per_img')
    ) -> None:
        if not 0 < quantile <= 1:
            raise ValueError(f'quantile must be in (0, 1], got {quantile}')
        self.quantile, self.limits = quantile, tuple(limits)

    def before_train(self, runner: Runner) -> None:
        """Look at the training and the validation data."""
        self._compare(runner, 'train_dataloader', 'model.train_cfg.rpn_proposal')
        if runner.val_loop is not None:
            self._compare(runner, 'val_dataloader', 'model.test_cfg')

    def before_test(self, runner: Runner) -> None:
        """Look at the test data."""
        self._compare(runner, 'test_dataloader', 'model.test_cfg')

    def _compare(self, runner: Runner, loader: str, path: str) -> None:
        counts = list(_object_counts(getattr(runner, loader).dataset))
        if not counts:
            return
        crowded = int(np.quantile(counts, self.quantile, method='higher'))
        print_log(
            f'{loader}: {np.median(counts):g} objects an image or crop (median), '
            f'{100 * self.quantile:g} % hold up to {crowded}, the fullest {max(counts)}',
            'current',
        )
        node: Any = runner.cfg
        for key in path.split('.'):
            node = (node or {}).get(key)
        for place, part in walk_config(node, path):
            for name in self.limits:
                if 0 < part.get(name, 0) < crowded:
                    print_log(
                        f'{place}.{name} = {part[name]} is below the {crowded} objects of an '
                        f'image or crop of {loader}: objects will be missing. Raise it, '
                        f'--cfg-options {place}.{name}={2 * crowded}',
                        'current',
                        logging.WARNING,
                    )


def _object_counts(dataset: Any) -> Iterator[int]:
    """Objects in the fullest crop of each image, or in the image where nothing is cropped."""
    for part in getattr(dataset, 'datasets', ()):
        yield from _object_counts(part)
    if hasattr(dataset, 'dataset'):
        yield from _object_counts(dataset.dataset)
    if not isinstance(dataset, BaseDataset):
        return
    crop_size = _crop_size(dataset)
    for index in range(len(dataset)):
        image = dataset.get_data_info(index)
        boxes = [i['bbox'] for i in image.get('instances', ()) if not i.get('ignore_flag')]
        size = image['height'], image['width']
        yield fullest_crop(boxes, size, crop_size or size)


def _crop_size(dataset: BaseDataset) -> tuple[int, int] | None:
    """(height, width) of the crop of a pipeline; magnification before it is not looked at."""
    for transform in dataset.pipeline.transforms:
        if type(transform).__name__ == 'RandomCrop' and transform.crop_type == 'absolute':
            width, height = transform.crop_size  # mmdet's order where crops are absolute
            return height, width
    return None
