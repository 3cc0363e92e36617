"""From a model's predictions to one label map, whatever the form of its masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData

from mmcell.functional.rle import Rle, rles_to_label_map
from mmcell.structures.roi_masks import RoiMasks

Masks = RoiMasks | torch.Tensor | Sequence[Rle]
"""RoiMasks; (N, H, W) bool or, to be cut at a threshold, probabilities; or N COCO RLEs."""


def flatten_predictions(
    instances: InstanceData,
    score_threshold: float = 0.5,
    mask_threshold: float = 0.5,
    min_visible: float = 0.0,
    image_size: tuple[int, int] | None = None,
) -> npt.NDArray[np.int32]:
    """Draw the predictions that are sure enough into one label map.

    A pixel below several masks goes to the one with the highest ``mask_scores``, where the model
    gives them, else ``scores``.

    Args:
        instances: ``scores`` (N,), ``masks`` in any form of :data:`Masks`, optionally
            ``mask_scores`` (N,).
        score_threshold: predictions with ``scores`` below it are left out.
        mask_threshold: a pixel belongs to a mask if its probability is >= this.
        min_visible: predictions that keep less than this fraction of their pixels are left out.
        image_size: height, width in pixels; needed for RLEs, of which there may be none.

    Returns:
        (H, W), 0 is background, k + 1 the k-th instance; instances left out leave gaps.
    """
    kept = instances.scores >= score_threshold
    masks = select_masks(instances.masks, kept)
    order = instances.get('mask_scores', instances.scores)[kept]
    label_map = masks_to_label_map(masks, order, image_size, mask_threshold, min_visible)
    numbers = np.concatenate([[0], kept.nonzero().flatten().cpu().numpy() + 1]).astype(np.int32)
    return numbers[label_map]


def select_masks(masks: Masks, kept: torch.Tensor) -> Masks:
    """The masks that ``kept``, (N,) bool, marks."""
    if isinstance(masks, (RoiMasks, torch.Tensor)):
        return masks[kept]
    return [masks[k] for k in kept.nonzero().flatten().tolist()]


def masks_to_label_map(
    masks: Masks,
    scores: torch.Tensor,
    image_size: tuple[int, int] | None = None,
    threshold: float = 0.5,
    min_visible: float = 0.0,
) -> npt.NDArray[np.int32]:
    """All masks in one label map; see :func:`flatten_predictions`.

    Args:
        masks: N.
        scores: (N,), the order in which they claim pixels.
        image_size: height, width in pixels; needed for RLEs.
        threshold: of probabilities.
        min_visible: masks that keep less than this fraction of their pixels are left out.

    Returns:
        (H, W), 0 is background, k + 1 the k-th mask.

    Raises:
        ValueError: If masks are RLEs and ``image_size`` is missing.
    """
    if isinstance(masks, RoiMasks):
        return masks.to_label_map(scores, threshold, min_visible).cpu().numpy()
    if isinstance(masks, torch.Tensor):
        image_size = (masks.shape[1], masks.shape[2])
    if image_size is None:
        raise ValueError('RLEs need the size of the image: pass image_size')
    order = scores.float().cpu().numpy()
    return rles_to_label_map(masks_to_rles(masks, threshold), image_size, order, min_visible)


def masks_to_rles(masks: Masks, threshold: float = 0.5) -> list[Rle]:
    """N COCO RLEs of an image; ``threshold`` is that of probabilities."""
    if isinstance(masks, RoiMasks):
        return masks.to_rle(threshold)
    if isinstance(masks, torch.Tensor):
        bits = masks >= threshold if masks.is_floating_point() else masks
        return encode_mask_results(bits.cpu().numpy())
    return list(masks)
