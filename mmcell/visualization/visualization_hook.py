"""Pictures of predictions during validation and testing, of microscope images too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner

from mmcell.datasets.image_io import read_image
from mmcell.evaluation.cell_metric import CellMetric
from mmcell.visualization.overlay import overlay_names


@HOOKS.register_module()
class CellVisualizationHook(DetVisualizationHook):
    """DetVisualizationHook for 8 and 16-bit TIFF, gray and colour; writes PNG whatever it reads.

    The base class decodes with OpenCV as 8-bit colour: 12-bit data come out black, and a picture
    named ``x.tif`` would be written as TIFF. Objects are drawn as the run's
    :class:`~mmcell.evaluation.cell_metric.CellMetric` scores them, if it has one.

    Args:
        score_thr: predictions with ``scores`` below it are not drawn; None: that of the CellMetric,
            or 0.5.
        **kwargs: as for :class:`mmdet.engine.hooks.DetVisualizationHook`.
    """

    def __init__(self, score_thr: float | None = None, **kwargs):
        super().__init__(score_thr=0.5 if score_thr is None else score_thr, **kwargs)
        self._follows_score = score_thr is None
        self._names: dict[tuple[str, object], str] = {}

    def before_val(self, runner: Runner) -> None:
        """Draw what is scored."""
        self._follow(runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        """Draw what is scored."""
        self._follow(runner.test_evaluator)
        if self.draw and self.test_out_dir is not None:
            dataset = runner.test_dataloader.dataset
            infos = (dataset.get_data_info(index) for index in range(len(dataset)))
            images = [(info['img_path'], info.get('img_id')) for info in infos]
            self._names = dict(zip(images, overlay_names(images), strict=True))

    def _follow(self, evaluator: Evaluator) -> None:
        metrics = (metric for metric in evaluator.metrics if isinstance(metric, CellMetric))
        metric = next(metrics, None)
        if metric is None:
            return
        if self._follows_score:
            self.score_thr = metric.score_threshold
        self._visualizer.mask_threshold = metric.mask_threshold
        self._visualizer.min_visible = metric.min_visible

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Hand the first image of every ``interval``-th batch to the visualization backends."""
        step = runner.iter + batch_idx
        if self.draw and step % self.interval == 0:
            self._add('val_img', outputs[0], step)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Draw every image, to ``test_out_dir`` where it is set.

        A relative ``test_out_dir`` lies below ``work_dir/<start time>``, as in MMDetection. Its
        pictures are named by :func:`~mmcell.visualization.overlay.overlay_names`.
        """
        if not self.draw:
            return
        for data_sample in outputs:
            self._test_index += 1
            out_file = None
            if self.test_out_dir is not None:
                folder = Path(runner.work_dir, runner.timestamp, self.test_out_dir)
                path = data_sample.img_path
                name = self._names.get((path, data_sample.get('img_id')), Path(path).stem)
                out_file = str(folder / f'{name}.png')
            self._add('test_img', data_sample, self._test_index, out_file)

    def _add(
        self, name: str, data_sample: DetDataSample, step: int, out_file: str | None = None
    ) -> None:
        self._visualizer.add_datasample(
            Path(data_sample.img_path).name if self.show else name,
            read_image(data_sample.img_path),
            data_sample=data_sample,
            show=self.show,
            wait_time=self.wait_time,
            pred_score_thr=self.score_thr,
            out_file=out_file,
            step=step,
        )
