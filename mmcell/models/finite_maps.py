"""The check of what a network gives before objects are read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def check_finite_maps(
    maps: Sequence[Tensor], img_metas: Sequence[Mapping], what: str = 'keypoint maps'
) -> None:
    """Refuse maps in which NaN or infinity would decode to wrong or no objects.

    Args:
        maps: (B, C, H, W) each.
        img_metas: per image, ``img_path`` where it is known.
        what: they are.

    Raises:
        ValueError: If a value is not finite; names the images.
    """
    # A sum is finite if every value is, and needs no mask as large as the maps.
    sums = torch.stack([values.float().sum((1, 2, 3)) for values in maps])
    bad = [
        str(meta.get('img_path', '?'))
        for meta, good in zip(img_metas, sums.isfinite().all(0).tolist(), strict=True)
        if not good
    ]
    if bad:
        raise ValueError(
            f'the network gives NaN or infinite {what} for {", ".join(bad)}: its training '
            'has diverged, or half precision is too small for its values'
        )
