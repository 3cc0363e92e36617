"""Predictions as a file, for scoring later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.registry import METRICS
from mmdet.structures.mask import encode_mask_results
from mmengine.evaluator import DumpResults


@METRICS.register_module()
class DumpPredictions(DumpResults):
    """Write the predictions of all images into one pickle file, masks as COCO RLE.

    What MMDetection's DumpDetResults writes, from :class:`mmcell.structures.RoiMasks` as well as
    from bitmaps. Annotations are left out.
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one batch on the CPU."""
        samples = []
        for sample in data_samples:
            sample = {k: v for k, v in sample.items() if not k.startswith(('gt_', 'ignored_'))}
            predictions = dict(sample.get('pred_instances', {}))
            masks = predictions.get('masks')
            if masks is not None:
                predictions['masks'] = (
                    masks.to_rle()
                    if hasattr(masks, 'to_rle')
                    else encode_mask_results(masks.cpu().numpy())
                )
            samples.append({**sample, 'pred_instances': predictions})
        super().process(data_batch, samples)
