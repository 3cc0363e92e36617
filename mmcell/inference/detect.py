"""From a window of pixels to objects, with any instance segmentation model of MMDetection."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from mmcv.image import rescale_size
from mmcv.transforms import Compose
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from torch import Tensor

from mmcell.engine.bfloat16 import half_dtype
from mmcell.engine.errors import UserError
from mmcell.functional.patches import tight
from mmcell.inference.augmentation import AugmentedDetect
from mmcell.inference.limits import LimitWatch
from mmcell.inference.network import Network, NetworkSpec, load_network
from mmcell.structures import FoundObjects, RoiMasks

Window = npt.NDArray[np.uint8]  # (h, w, 3), RGB

MPP_TOLERANCE = 0.05
"""Pixel sizes that differ by less are taken as equal: nothing is resampled."""


@dataclass(frozen=True)
class DetectOptions:
    """How detections become objects.

    Attributes:
        score_threshold: detections of lower class score are left out; 0 to 1.
        mask_threshold: a pixel belongs to an object if its probability is >= this.
        min_visible: objects that keep less than this fraction of their pixels from those of higher
            rank are left out; 0 to 1, 0.3 in the authors' code of PFFNet.
        magnification: source pixels are resampled by this before the model sees them, so that they
            have the size it was trained on; results are in source pixels.
        full_window: height, width of most windows, in source pixels. A model whose test pipeline
            fits every image into one size magnifies all windows as this one, smaller ones at the
            border of the image, too. None: each window as an image of its own.
        half: the network computes in half precision.
        views: of every window, mirrored and turned, that vote on the objects; 1, 4 or 8.
    """

    score_threshold: float = 0.5
    mask_threshold: float = 0.5
    min_visible: float = 0.0
    magnification: float = 1.0
    full_window: tuple[int, int] | None = None
    half: bool = False
    views: int = 1


class OutOfMemoryError(UserError):
    """The model needs more memory for a window than there is."""


@dataclass(frozen=True)
class DetectorFactory:
    """Builds a :class:`Detector` in any process.

    Attributes:
        spec: the network, loaded once per process.
        options: what the detector does with it.
        network: the network, where this process has it; stays behind when this is pickled.
    """

    spec: NetworkSpec
    options: DetectOptions = DetectOptions()
    network: Network | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), 'network': None}

    def __call__(self) -> Detector | AugmentedDetect:
        """The detector, on its device."""
        detector = Detector(self.network or _network_of_process(self.spec), self.options)
        views = self.options.views
        return detector if views == 1 else AugmentedDetect(detector, views)


@functools.lru_cache(maxsize=1)
def _network_of_process(spec: NetworkSpec) -> Network:
    return load_network(spec)


class Detector:
    """Finds the objects in windows of an image.

    Args:
        network: as :func:`~mmcell.inference.network.load_network` gives it.
        options: see there.

    Raises:
        ConfigError: If the config's test pipeline cannot take arrays, or half precision is wanted
            on a device without.
    """

    def __init__(self, network: Network, options: DetectOptions) -> None:
        self._network, self._options = network, options
        full_window = options.full_window and _scaled(options.full_window, options.magnification)
        self._pipeline = _array_pipeline(network.cfg, full_window)
        self._half = half_dtype(network.device) if options.half else None

    def __call__(self, window: Window) -> FoundObjects:
        """Objects of one window, see :meth:`batch`."""
        return self.batch([window])[0]

    def batch(self, windows: Sequence[Window]) -> list[FoundObjects]:
        """Objects of each window, in pixels of the window; they may overlap.

        Args:
            windows: any sizes. Those of one size pass through the network together, others are
                never padded to each other's size: what a window gives does not depend on its
                company.

        Raises:
            OutOfMemoryError: If the model needs more memory than there is.
            ValueError: If the model predicts no masks.
        """
        found: dict[int, FoundObjects] = {}
        for members in _of_one_size(windows):
            try:
                results = self._predict([windows[k] for k in members])
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                height, width = windows[members[0]].shape[:2]
                raise OutOfMemoryError(
                    f'not enough memory on {self._network.device} for {len(members)} window(s) of '
                    f'{width} x {height} pixels: lower --tile or --batch-size'
                ) from error
            found.update(zip(members, results, strict=True))
        return [found[k] for k in range(len(windows))]

    def _predict(self, windows: list[Window]) -> list[FoundObjects]:
        scaled = [_magnify(window, self._options.magnification) for window in windows]
        data = [
            self._pipeline(dict(img=np.ascontiguousarray(rgb[:, :, ::-1]), img_id=k))
            for k, rgb in enumerate(scaled)
        ]
        batch = dict(
            inputs=[d['inputs'] for d in data], data_samples=[d['data_samples'] for d in data]
        )
        module, test_cfg = self._network.module, self._network.cfg.model.get('test_cfg') or {}
        watch = LimitWatch(module, test_cfg, self._options.score_threshold)
        autocast = torch.autocast(
            self._network.device.type, self._half, enabled=self._half is not None
        )
        with torch.inference_mode(), watch, autocast:
            samples = module.test_step(batch)
        instances = [sample.pred_instances.to('cpu') for sample in samples]
        limits = watch.reached([each.scores for each in instances])
        return [
            replace(
                objects_of(each, rgb.shape[:2], window.shape[:2], self._options),
                limits=(*reached, *each.get('limits_reached', ())),
            )
            for each, rgb, window, reached in zip(instances, scaled, windows, limits, strict=True)
        ]


def objects_of(
    instances: InstanceData,
    size: tuple[int, int],
    window_size: tuple[int, int],
    options: DetectOptions,
) -> FoundObjects:
    """The predictions that are sure enough, as objects.

    Args:
        instances: ``scores`` (N,), ``labels`` (N,), ``masks`` of any kind, optionally
            ``mask_scores`` (N,), which become the ranks.
        size: height, width of the image that the predictions are in pixels of.
        window_size: height, width of the same in pixels of the window.
        options: see :class:`DetectOptions`.

    Returns:
        Objects in pixels of the window, boxes drawn tight; without those that have no pixel.

    Raises:
        ValueError: If there are no masks, or they are of an unknown kind or size.
    """
    if 'masks' not in instances:
        raise ValueError('the model predicts no masks: it must be one for instance segmentation')
    chosen = (instances.scores >= options.score_threshold).nonzero().flatten()
    masks = roi_masks_of(instances.masks, chosen, size, options.mask_threshold)
    ranks = instances.get('mask_scores', instances.scores)
    if options.min_visible > 0:
        flat = masks.to_label_map(ranks[chosen], options.mask_threshold, options.min_visible)
        visible = flat.unique().long()
        visible = visible[visible > 0] - 1
        masks, chosen = masks[visible], chosen[visible]
    factors = [window_size[1] / size[1], window_size[0] / size[0]] * 2
    in_window = masks.rescale(factors, window_size)
    kept, boxes, patches = [], [], []
    for k, (patch, (x, y)) in enumerate(in_window.to_patches(options.mask_threshold)):
        height, width = patch.shape
        pixels, box = tight(patch, (x, y, x + width, y + height))
        if pixels.size:
            kept.append(k)
            boxes.append(box)
            patches.append(pixels.copy())
    chosen = chosen[kept]
    return FoundObjects(
        boxes=np.array(boxes, dtype=np.int64).reshape(-1, 4),
        patches=patches,
        scores=instances.scores[chosen].float().numpy(),
        classes=instances.labels[chosen].numpy().astype(np.int64),
        ids=np.arange(1, len(kept) + 1),
        ranks=ranks[chosen].float().numpy(),
    )


def roi_masks_of(masks: Any, chosen: Tensor, size: tuple[int, int], threshold: float) -> RoiMasks:
    """Masks of any kind that MMDetection's models give, in their boxes.

    Args:
        masks: RoiMasks, an (N, H, W) array or tensor (bool, {0, 1}, probabilities in [0, 1], or
            uint8 in 255ths as ``mask_thr_binary=-1`` gives), BitmapMasks, or N RLEs.
        chosen: (n,) int64, the masks to take.
        size: height, width of the image.
        threshold: a pixel belongs to a mask if its probability is >= this.

    Raises:
        ValueError: If the masks are of another kind or size.
    """
    if isinstance(masks, RoiMasks):
        return masks[chosen]
    boxes, patches = [], []
    for bitmap in _bitmaps(masks, chosen.tolist(), threshold):
        if bitmap.shape != size:
            raise ValueError(f'the model gave masks of {bitmap.shape} pixels, expected {size}')
        pixels, box = tight(bitmap, (0, 0, size[1], size[0]))
        boxes.append(box)
        patches.append(torch.from_numpy(pixels.copy()))
    return RoiMasks(torch.tensor(np.array(boxes).reshape(-1, 4)), patches, size)


def _bitmaps(masks: Any, chosen: list[int], threshold: float) -> Iterator[npt.NDArray[np.bool_]]:
    if isinstance(masks, BitmapMasks):
        masks = masks.masks
    if isinstance(masks, Tensor):
        masks = masks.cpu().numpy()
    if isinstance(masks, np.ndarray) and masks.ndim == 3:
        if masks.dtype == np.uint8 and masks.max(initial=0) > 1:
            threshold *= 255
        elif not np.issubdtype(masks.dtype, np.floating):
            masks, threshold = masks != 0, 1
        for k in chosen:
            yield masks[k] >= threshold
        return
    if isinstance(masks, (list, tuple)) and all('counts' in mask for mask in masks):
        for k in chosen:
            yield coco_mask.decode(masks[k]).astype(bool)
        return
    raise ValueError(
        f'the model gave masks as {type(masks).__name__}, expected RoiMasks, an (N, H, W) array or '
        'run lengths'
    )


def _array_pipeline(cfg: Config, full_window: tuple[int, int] | None) -> Compose:
    """The config's test pipeline for images in memory, without annotations."""
    loader, *transforms = get_test_pipeline_cfg(cfg)
    steps = [{**loader, 'type': 'mmdet.LoadImageFromNDArray'}]
    for step in transforms:
        if 'Annotations' in step['type']:
            continue
        if full_window and step.get('scale') and step['type'].rpartition('.')[2] == 'Resize':
            height, width = full_window
            target = np.broadcast_to(step['scale'], 2).tolist()
            factor: float | tuple[float, float] = (target[0] / width, target[1] / height)
            if step.get('keep_ratio'):
                _, factor = rescale_size((width, height), tuple(target), return_scale=True)
            step = {**step, 'scale': None, 'scale_factor': factor}
        steps.append(step)
    return Compose(steps)


def _of_one_size(windows: Sequence[Window]) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for k, window in enumerate(windows):
        groups.setdefault(window.shape, []).append(k)
    return list(groups.values())


def _magnify(window: Window, factor: float) -> Window:
    if factor == 1:
        return window
    height, width = _scaled(window.shape[:2], factor)
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(window, (width, height), interpolation=interpolation)


def _scaled(size: Sequence[int], factor: float) -> tuple[int, int]:
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def magnification(source_mpp: float | None, model_mpp: float | None) -> float:
    """How much to magnify an image for a model, 1 where either pixel size is unknown.

    Args:
        source_mpp: microns per pixel of the image, > 0.
        model_mpp: of the images that the model was trained on, > 0.
    """
    if source_mpp is None or model_mpp is None:
        return 1.0
    factor = source_mpp / model_mpp
    return 1.0 if abs(factor - 1) <= MPP_TOLERANCE else factor


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator has no class of its own.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        words in str(error) for words in ('not enough memory', "can't allocate memory")
    )
