"""Predictions as a file, for scoring later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.registry import METRICS
from mmengine.evaluator import DumpResults

from mmcell.structures.flattening import masks_to_rles


@METRICS.register_module()
class DumpPredictions(DumpResults):
    """Write the predictions of all images into one pickle file, masks as COCO RLE.

    What MMDetection's DumpDetResults writes, from masks in any form of
    :data:`~mmcell.structures.flattening.Masks`. Annotations are left out.
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one batch on the CPU."""
        samples = []
        for sample in data_samples:
            sample = {k: v for k, v in sample.items() if not k.startswith(('gt_', 'ignored_'))}
            predictions = dict(sample.get('pred_instances', {}))
            if 'masks' in predictions:
                predictions['masks'] = masks_to_rles(predictions['masks'])
            samples.append({**sample, 'pred_instances': predictions})
        super().process(data_batch, samples)
