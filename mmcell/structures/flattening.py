"""From a model's predictions to one label map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from mmengine.structures import InstanceData


def flatten_predictions(
    instances: InstanceData,
    score_threshold: float = 0.5,
    mask_threshold: float = 0.5,
    min_visible: float = 0.0,
) -> npt.NDArray[np.int32]:
    """Draw the predictions that are sure enough into one label map.

    A pixel below several masks goes to the one with the highest ``mask_scores``, where the model
    gives them, else ``scores``.

    Args:
        instances: ``scores`` (N,), ``masks`` as :class:`~mmcell.structures.RoiMasks`, optionally
            ``mask_scores`` (N,).
        score_threshold: predictions with ``scores`` below it are left out.
        mask_threshold: a pixel belongs to a mask if its probability is >= this.
        min_visible: predictions that keep less than this fraction of their pixels are left out.

    Returns:
        (H, W), 0 is background, k + 1 the k-th instance; instances left out leave gaps.

    Raises:
        TypeError: If the masks are full-size bitmaps, one per object.
    """
    masks = instances.masks
    if not hasattr(masks, 'to_label_map'):
        raise TypeError(
            f'expected masks in their boxes (RoiMasks), got {type(masks).__name__}: set '
            "model.roi_head.type='RoiMasksRoIHead' to get them from MMDetection's detectors"
        )
    kept = instances.scores >= score_threshold
    order = instances.get('mask_scores', instances.scores)[kept]
    label_map = masks[kept].to_label_map(order, threshold=mask_threshold, min_visible=min_visible)
    numbers = np.concatenate([[0], kept.nonzero().flatten().cpu().numpy() + 1]).astype(np.int32)
    return numbers[label_map.cpu().numpy()]
