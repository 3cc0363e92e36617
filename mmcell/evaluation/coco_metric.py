"""COCO average precision for images with more than 100 objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval, COCOevalMP
from mmdet.evaluation.metrics import CocoMetric, coco_metric
from mmdet.registry import METRICS


class DenseCOCOeval(COCOeval):
    """COCO evaluation whose AP counts as many detections per image as its AP50 does.

    pycocotools takes AP at 100 detections, whatever its limits, and everything else at the largest
    limit: perfect predictions of 500 objects get AP50 1.0 beside AP 0.2. MMDetection's
    multi-process evaluation summarizes at the largest limit throughout.
    """

    summarize = COCOevalMP.summarize


@METRICS.register_module()
class CellCocoMetric(CocoMetric):
    """MMDetection's COCO metric for dense images and masks in their boxes.

    AP counts ``proposal_nums[-1]`` detections per image instead of 100, and ``masks`` may be
    :class:`~mmcell.structures.RoiMasks`. Classes are those of the annotation file by name, in any
    order; a class that it lacks is not scored.

    Args:
        metric: 'segm', 'bbox' or a list, as in the base class.
        proposal_nums: three ascending limits of detections per image. The base class names recall
            ``AR@100``, ``AR@300`` and ``AR@1000``, whatever they are.
        kwargs: further arguments of :class:`mmdet.evaluation.CocoMetric`.
    """

    def __init__(
        self,
        metric: str | list[str] = 'segm',
        proposal_nums: Sequence[int] = (100, 300, 5000),
        **kwargs: Any,
    ) -> None:
        super().__init__(metric=metric, proposal_nums=proposal_nums, **kwargs)
        # Labels to places in cat_ids, once these are known.
        self._places: dict[int, int] | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep the predictions of a batch, masks as RLE; the data samples stay as they are."""
        super().process(data_batch, [_with_rles(sample) for sample in data_samples])

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Metrics of the base class, AP at the largest limit of detections."""
        if self._coco_api is not None and self.cat_ids is None:
            categories = self._coco_api.loadCats(self._coco_api.getCatIds())
            id_of = {category['name']: category['id'] for category in categories}
            classes = self.dataset_meta['classes']
            # The base class takes the ids in the order of the file, whatever the classes' is.
            known = sorted((id_of[name], k) for k, name in enumerate(classes) if name in id_of)
            if not known:
                raise ValueError(
                    f'the annotation file has the categories {", ".join(id_of)}, none of the '
                    f"data set's classes {', '.join(classes)}"
                )
            # pycocotools sorts them.
            self.cat_ids = [category_id for category_id, _ in known]
            self._places = {label: place for place, (_, label) in enumerate(known)}
        # The base class finds its evaluator only as a global of its module. Its option use_mp_eval
        # would do too, but forks eight processes out of a training run.
        with patch.object(coco_metric, 'COCOeval', DenseCOCOeval):
            return super().compute_metrics(results)

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """As in the base class; classes that the annotation file lacks are not scored."""
        return super().results2json(
            [self._of_the_file(result) for result in results], outfile_prefix
        )

    def _of_the_file(self, result: dict) -> dict:
        """The predictions of the classes in the annotation file, numbered in its ``cat_ids``."""
        if self._places is None or self.metrics == ['proposal']:  # which have no class
            return result
        labels = result['labels'].tolist()
        kept = [k for k, label in enumerate(labels) if label in self._places]
        named = {'labels': np.array([self._places[labels[k]] for k in kept], dtype=np.int64)}
        for name in ('bboxes', 'scores', 'mask_scores'):
            if name in result:
                named[name] = result[name][kept]
        if 'masks' in result:
            named['masks'] = [result['masks'][k] for k in kept]
        return {**result, **named}


def _with_rles(sample: Mapping[str, Any]) -> Mapping[str, Any]:
    """A data sample whose masks the base class can read."""
    pred = sample['pred_instances']
    if not hasattr(pred.get('masks'), 'to_rle'):
        return sample
    return {**sample, 'pred_instances': {**pred, 'masks': pred['masks'].to_rle()}}
