"""Overlay pictures as MMEngine's visualizer makes them: during training, and for ``--show-dir``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer

from mmcell.structures.flattening import flatten_predictions
from mmcell.structures.label_map_masks import gt_label_map
from mmcell.visualization.overlay import overlay_boxes, overlay_objects, overlay_pair, write_png


@VISUALIZERS.register_module()
class CellVisualizer(Visualizer):
    """Draws ground truth beside prediction, from label maps or boxes: nothing is N x H x W.

    Args:
        name: under which MMEngine finds this visualizer again.
        mask_threshold: a pixel belongs to a predicted mask if its probability is >= this.
        min_visible: predictions that keep less than this fraction of their pixels are not drawn.
            Both are replaced in validations and tests, see
            :class:`~mmcell.visualization.visualization_hook.CellVisualizationHook`.
        **kwargs: other arguments of :class:`mmengine.visualization.Visualizer`.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        mask_threshold: float = 0.5,
        min_visible: float = 0.0,
        **kwargs,
    ):
        super().__init__(name, **kwargs)
        self.mask_threshold = mask_threshold
        self.min_visible = min_visible

    # On every process: each draws the images that it tests. Backends and windows are the first's.
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.5,
        step: int = 0,
    ) -> None:
        """Draw an image with its annotations and predictions, as far as ``data_sample`` has them.

        Args:
            name: name under which the visualization backends store the picture.
            image: (H, W, 3) uint8, RGB, at the size of the data sample's masks.
            data_sample: ``gt_instances.masks`` as LabelMapMasks or BitmapMasks, ``pred_instances``
                with ``scores`` and ``masks``, in any form of
                :data:`~mmcell.structures.flattening.Masks`. Of detectors without masks ``bboxes``
                are drawn.
            draw_gt: whether to draw the annotations.
            draw_pred: whether to draw the predictions.
            show: open a window instead of storing.
            wait_time: seconds that the window stays; 0 waits for a key.
            out_file: write the picture here instead of to the backends.
            pred_score_thr: predictions with ``scores`` below it are not drawn.
            step: step under which the backends store the picture.
        """
        picture = image
        if data_sample is not None:
            gt = data_sample.get('gt_instances') if draw_gt else None
            pred = data_sample.get('pred_instances') if draw_pred else None
            title = Path(data_sample.metainfo.get('img_path') or '').name
            if pred is not None and 'masks' not in pred and 'bboxes' in pred:
                picture = overlay_boxes(
                    image, _boxes(gt), _boxes(pred[pred.scores >= pred_score_thr]), title
                )
            else:
                picture = self._draw_masks(image, gt, pred, title, pred_score_thr)
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        elif out_file is not None:
            write_png(out_file, picture)
        else:
            self.add_image(name, picture, step)

    def _draw_masks(
        self,
        image: np.ndarray,
        gt_instances: InstanceData | None,
        pred_instances: InstanceData | None,
        title: str,
        pred_score_thr: float,
    ) -> np.ndarray:
        gt = pred = None
        if gt_instances is not None and 'masks' in gt_instances:
            gt = gt_label_map(gt_instances.masks)
        if pred_instances is not None and 'masks' in pred_instances:
            pred = flatten_predictions(
                pred_instances,
                pred_score_thr,
                self.mask_threshold,
                self.min_visible,
                image.shape[:2],
            )
        if pred is not None and gt is not None:
            return overlay_pair(image, gt, pred, title)
        if pred is not None:
            return overlay_objects(image, pred, title)
        if gt is not None:
            return overlay_objects(image, gt, title, caption='Ground truth')
        return image


def _boxes(instances: InstanceData | None) -> np.ndarray | None:
    """(N, 4) in pixels, None without boxes."""
    if instances is None or 'bboxes' not in instances:
        return None
    boxes = instances.bboxes
    return getattr(boxes, 'tensor', boxes).float().cpu().numpy()
