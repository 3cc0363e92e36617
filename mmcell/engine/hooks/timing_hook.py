"""Speed and memory of a model, measured while it is tested."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from terminaltables import AsciiTable

from mmcell.structures.flattening import flatten_predictions

from ..errors import DataError

PREDICTION = (
    'from loaded images in host memory to masks in their boxes: normalising, padding and copying '
    'to the device, network, NMS and decoding'
)
FLATTENING = 'from masks in their boxes to one label map in host memory'
NOT_INCLUDED = 'reading and resizing images, scoring, pictures'
PEAK_RSS = 'largest resident memory of the process up to the last prediction, without data workers'
PEAK_CUDA = 'largest memory that tensors took during the test, warm-up included'


@HOOKS.register_module()
class TimingHook(Hook):
    """Time every batch of a test and write ``timing.json``.

    Two stages are timed, each ending when the device is idle: ``prediction``, the model's
    ``test_step``, and ``flattening``, its masks to a label map, for models that return
    :class:`~mmcell.structures.RoiMasks`. The first images, which pay for allocations and for
    choosing kernels, are left out. With several processes the first one's figures are given.

    Args:
        out_dir: where ``timing.json`` goes. None: beside the log, ``work_dir/<start time>``.
        warmup_images: images that are left out; whole batches.
        flattening: options of :func:`~mmcell.structures.flattening.flatten_predictions`.
    """

    def __init__(
        self,
        out_dir: str | None = None,
        warmup_images: int = 5,
        flattening: dict[str, float] | None = None,
    ) -> None:
        self.out_dir = out_dir
        self.warmup_images = warmup_images
        self.flattening = flattening or {}

    def before_test(self, runner: Runner) -> None:
        """Put the clock around the model's ``test_step``."""
        self._n_warmup = 0
        self._batch_size = 0
        self._seconds: list[tuple[float, float]] = []  # of both stages, per image
        self._megapixels: list[float] = []
        self._flattens = True
        self._peak_rss: int | None = None
        self._device = next(runner.model.parameters()).device
        if self._device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(self._device)
        self._test_step = runner.model.test_step
        # An attribute of the instance hides the method until it is deleted.
        runner.model.test_step = self._timed_step

    def after_test(self, runner: Runner) -> None:
        """Give the model its method back; write and show the figures.

        Raises:
            DataError: If nothing is left after the warm-up.
        """
        del runner.model.test_step
        if not self._seconds:
            raise DataError(
                f'nothing was timed: the first {self.warmup_images} images are left out, and there '
                f'were {self._n_warmup}. Test on more.'
            )
        if not is_main_process():
            return
        timing = self._figures(runner)
        out_dir = Path(self.out_dir or runner.log_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / 'timing.json').write_text(json.dumps(timing, indent=2), encoding='utf-8')
        runner.logger.info(f'Speed and memory, also in {out_dir}\n{render_timing(timing)}')

    def _timed_step(self, data: Any) -> list:
        start = self._now()
        outputs = self._test_step(data)
        predicted = self._now()
        for sample in outputs:
            self._flatten(sample.pred_instances)
        flattened = self._now()
        self._peak_rss = _peak_rss()
        self._batch_size = max(self._batch_size, len(outputs))
        if self._n_warmup < self.warmup_images:
            self._n_warmup += len(outputs)
        else:
            seconds = (predicted - start, flattened - predicted)
            self._seconds += [tuple(s / len(outputs) for s in seconds)] * len(outputs)
            self._megapixels += [np.prod(sample.ori_shape[:2]) / 1e6 for sample in outputs]
        return outputs

    def _now(self) -> float:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _flatten(self, instances: Any) -> None:
        if hasattr(instances.get('masks'), 'to_label_map'):
            flatten_predictions(instances, **self.flattening)
        else:
            self._flattens = False

    def _figures(self, runner: Runner) -> dict[str, Any]:
        seconds = np.array(self._seconds)
        stages = {'total': seconds.sum(1), 'prediction': seconds[:, 0]}
        included = {'prediction': PREDICTION}
        if self._flattens:
            stages['flattening'], included['flattening'] = seconds[:, 1], FLATTENING
        on_cuda = self._device.type == 'cuda'
        return {
            'config': Path(runner.cfg.filename).name if runner.cfg.filename else None,
            'n_images': len(seconds),
            'warmup_images': self._n_warmup,
            'batch_size': self._batch_size,
            'median_megapixels': float(np.median(self._megapixels)),
            'fps': _quartiles(1 / stages['total']),
            'seconds_per_image': {name: _quartiles(values) for name, values in stages.items()},
            'included': included,
            'not_included': NOT_INCLUDED,
            'device': torch.cuda.get_device_name(self._device) if on_cuda else _cpu_name(),
            'threads': torch.get_num_threads(),
            'data_workers': runner.test_dataloader.num_workers,
            'processes': get_world_size(),
            'peak_rss_bytes': self._peak_rss,
            'peak_cuda_bytes': torch.cuda.max_memory_allocated(self._device) if on_cuda else None,
            'definitions': {'peak_rss_bytes': PEAK_RSS, 'peak_cuda_bytes': PEAK_CUDA},
            'torch': torch.__version__,
        }


def render_timing(timing: dict[str, Any]) -> str:
    """The figures as a table for a terminal, what they include in words below it."""
    rows = [['', 'median', 'quartiles'], _row('images per second', timing['fps'], 1)]
    for name, values in timing['seconds_per_image'].items():
        rows.append(_row(f'ms per image, {name}', values, 1000))
    words = dict(timing['included'])
    for name, key in (('peak memory', 'peak_rss_bytes'), ('peak CUDA memory', 'peak_cuda_bytes')):
        if timing[key] is not None:
            rows.append([name, f'{timing[key] / 2**20:.0f} MiB', ''])
            words[name] = timing['definitions'][key]
    lines = [
        AsciiTable(rows).table,
        f'{timing["n_images"]} images of {timing["median_megapixels"]:.2f} megapixels (median), '
        f'{timing["warmup_images"]} before them not counted, batches of {timing["batch_size"]}',
        f'{timing["device"]}, {timing["threads"]} threads, {timing["data_workers"]} data workers, '
        f'{timing["processes"]} processes, the first of which was measured',
        *(f'{name}: {text}' for name, text in words.items()),
        f'not included: {timing["not_included"]}',
    ]
    return '\n'.join(lines)


def _row(name: str, values: dict[str, float], factor: float) -> list[str]:
    median, low, high = (factor * values[key] for key in ('median', 'q1', 'q3'))
    return [name, f'{median:.2f}', f'{low:.2f} - {high:.2f}']


def _quartiles(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return {'median': median, 'q1': low, 'q3': high}


def _peak_rss() -> int | None:
    """Bytes; None on Windows, which does not say."""
    if sys.platform == 'win32':
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def _cpu_name() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()
