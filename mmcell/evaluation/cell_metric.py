"""Scores of instance segmentation during validation and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmcell.evaluation.detections import match_detections
from mmcell.evaluation.ranked import RANKED_COLUMN, RANKED_SCORES, ranked_kinds
from mmcell.evaluation.registry import SCORES, Image, check_scores, measure_image
from mmcell.evaluation.summary import (
    DEFAULT_SCORES,
    Row,
    as_metrics,
    render_text,
    summarize,
    write_summary,
)
from mmcell.functional.overlap import OverlapTable, overlap_table
from mmcell.functional.scores import panoptic_quality
from mmcell.structures.flattening import masks_to_label_map, select_masks
from mmcell.structures.label_map_masks import gt_label_map


@METRICS.register_module()
class CellMetric(BaseMetric):
    """AJI, AJI+, Dice, object F1, panoptic quality and more of flattened predictions.

    Predictions of class score below ``score_threshold`` are dropped, the others are flattened into
    one label map (a shared pixel goes to the higher ``mask_scores``, where the model gives them,
    else ``scores``), and every score is read from its overlap with the ground truth, whatever the
    classes. With more than one class the mean of the pooled PQ of each is added. Subsets that
    images name in the annotation file (``subset``) are summarized on their own as well.

    Needs no annotation file: the ground truth comes with the data samples, so the test pipeline has
    to load annotations after resizing the image, at its original size. Objects that are marked as
    crowds or to be ignored are no part of it: what is found there counts as false.

    Args:
        score_threshold: predictions with ``scores`` below it are dropped (beta of PFFNet).
        mask_threshold: a pixel belongs to a mask if its probability is >= this; for masks that
            come as probabilities (:class:`~mmcell.structures.RoiMasks`).
        min_visible: predictions that keep less than this fraction of their pixels, in [0, 1], are
            dropped (the authors' code of PFFNet uses 0.3).
        max_per_img: the model's limit of detections per image; images that reach it are counted
            and warned about, since objects may be missing there.
        out_dir: where to write ``per_image.csv``, ``summary.json`` and ``summary.md``; None writes
            nothing.
        scores: which ones, of :data:`mmcell.evaluation.summary.DEFINITIONS` and
            ``RANKED_DEFINITIONS``, or 'all'. The latter, average precision and the like, are taken
            from all detections that the model returns, masks as they were before flattening. Where
            all of them are of boxes (``box_ap`` ...), the model needs no masks.
        ap_strict: detections are right at IoU > threshold instead of >=, in ranked scores.
        collect_device, prefix: as in :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'cell'

    def __init__(
        self,
        score_threshold: float = 0.5,
        mask_threshold: float = 0.5,
        min_visible: float = 0.0,
        max_per_img: int | None = None,
        out_dir: str | None = None,
        scores: str | Sequence[str] = DEFAULT_SCORES,
        ap_strict: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.score_threshold = score_threshold
        self.mask_threshold = mask_threshold
        self.min_visible = min_visible
        self.max_per_img = max_per_img
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.scores = check_scores(scores, (*SCORES, *RANKED_SCORES))
        self.ap_strict = ap_strict

    @property
    def flattening(self) -> dict[str, float]:
        """How detections become objects: options of ``flatten_predictions``."""
        return {
            'score_threshold': self.score_threshold,
            'mask_threshold': self.mask_threshold,
            'min_visible': self.min_visible,
        }

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Score each image and keep its numbers.

        Args:
            data_batch: not used.
            data_samples: each with ``pred_instances`` (``masks``: RoiMasks, RLEs or (N, H, W) bool
                tensor; ``scores``, ``labels``, optionally ``mask_scores``), ``gt_instances``
                (``masks``: LabelMapMasks or BitmapMasks; ``labels``) and ``ori_shape``; optionally
                ``subset``, names of the subsets that the image belongs to.

        Raises:
            ValueError: If masks are missing or not of the image's size; names the image.
        """
        for sample in data_samples:
            image = Path(str(sample.get('img_path') or sample.get('img_id', '')))
            try:
                row = self._score(sample)
            except ValueError as error:
                raise ValueError(f'{image}: {error}') from error
            # One row per image, in order: what lets MMEngine cut off the images that a distributed
            # sampler repeats.
            self.results.append(
                {
                    'image': image.name,
                    'img_id': sample.get('img_id'),
                    'subset': list(sample.get('subset', ())),
                    **row,
                }
            )

    def _score(self, sample: Mapping[str, Any]) -> Row:
        gt, pred = sample.get('gt_instances', {}), sample.get('pred_instances', {})
        if self._boxes_only:
            return self._score_boxes(gt, pred)
        if 'masks' not in gt:
            raise ValueError(
                'no ground-truth masks in the data sample: put LoadCellAnnotations, after Resize, '
                'into test_pipeline'
            )
        if 'masks' not in pred:
            raise ValueError('no masks in pred_instances: CellMetric scores instance masks')
        size = tuple(sample['ori_shape'][:2])
        gt_map = gt_label_map(gt['masks'])
        if gt_map.shape != size:
            raise ValueError(
                f'ground-truth masks are {gt_map.shape}, the image is {size} (height, width): put '
                'LoadCellAnnotations after Resize in test_pipeline'
            )
        kept = pred['scores'] >= self.score_threshold
        pred_map = masks_to_label_map(
            select_masks(pred['masks'], kept),
            pred.get('mask_scores', pred['scores'])[kept],
            size,
            self.mask_threshold,
            self.min_visible,
        )
        table = overlap_table(gt_map, pred_map)
        row = measure_image(
            Image(table, (gt_map, pred_map)), [name for name in self.scores if name in SCORES]
        )
        row['n_detections'] = len(pred['scores'])
        kinds = ranked_kinds(self.scores)
        if kinds:
            row[RANKED_COLUMN] = match_detections(
                gt, pred, kinds, max(len(self._classes), 1), self.mask_threshold, self.ap_strict
            )
        if len(self._classes) > 1 and 'pq' in self.scores:
            row['class_sums'] = _class_sums(
                table,
                gt['labels'].cpu().numpy(),
                pred['labels'][kept].cpu().numpy(),
                len(self._classes),
            )
        return row

    @property
    def _boxes_only(self) -> bool:
        return ranked_kinds(self.scores) == ('boxes',) and RANKED_SCORES.keys() >= set(self.scores)

    def _score_boxes(self, gt: Mapping[str, Any], pred: Mapping[str, Any]) -> Row:
        """Numbers of a detector without masks."""
        matches = match_detections(
            gt, pred, ('boxes',), max(len(self._classes), 1), strict=self.ap_strict
        )
        detections = len(pred['scores'])
        return {
            'n_gt': len(gt['labels']),
            'n_pred': int((pred['scores'] >= self.score_threshold).sum()),
            'n_detections': detections,
            RANKED_COLUMN: matches,
        }

    @property
    def _classes(self) -> Sequence[str]:
        return (self.dataset_meta or {}).get('classes', ())

    def compute_metrics(self, results: list[Row]) -> dict[str, float]:
        """Average over images, log the table, write the files.

        Returns:
            Per score its mean over images and ``<score>_std``, and ``<score>_pooled``, the score
            of all images together; ranked scores are pooled only. ``images_left_out``;
            ``images_at_limit`` with ``max_per_img``.
        """
        logger: MMLogger = MMLogger.get_current_instance()
        summary = summarize(results, self._classes, self.scores)
        metrics = as_metrics(summary)
        logger.info(f'CellMetric\n{render_text(summary)}')
        if self.max_per_img is not None:
            at_limit = sum(row['n_detections'] >= self.max_per_img for row in results)
            metrics['images_at_limit'] = summary['images_at_limit'] = at_limit
            if at_limit:
                logger.warning(
                    f'{at_limit} of {len(results)} images reached the limit of '
                    f'{self.max_per_img} detections, so objects may be missing: raise '
                    'max_per_img in model.test_cfg (of R-CNNs in model.test_cfg.rcnn, and the '
                    'limits of the RPN before it).'
                )
        if self.out_dir is not None:
            summary['options'] = {
                'scores': self.scores,
                **self.flattening,
                'max_per_img': self.max_per_img,
                'ap_strict': self.ap_strict,
            }
            write_summary(self.out_dir, results, summary)
            logger.info(f'Scores per image and their summary are in {self.out_dir}')
        return metrics


def _class_sums(
    table: OverlapTable,
    gt_labels: npt.NDArray[np.int64],
    pred_labels: npt.NDArray[np.int64],
    num_classes: int,
) -> list[tuple[int, int, int, float]]:
    """(tp, fp, fn, sum of IoU) of each class, as if the other classes were background.

    Args:
        table: ids k + 1 for ground-truth object and prediction k.
        gt_labels: class of each ground-truth object.
        pred_labels: class of each prediction that entered the label map.
        num_classes: classes of the data set.
    """
    gt_class, pred_class = gt_labels[table.gt_ids - 1], pred_labels[table.pred_ids - 1]
    sums = []
    for label in range(num_classes):
        quality = panoptic_quality(table.select(gt_class == label, pred_class == label))
        sum_iou = quality.sq * quality.tp if quality.tp else 0.0
        sums.append((quality.tp, quality.fp, quality.fn, sum_iou))
    return sums
