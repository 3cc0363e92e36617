"""Points where a segmentation network is unsure, in boxes of different size."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcell.functional.ragged_rois import PaddedRois


class SampledPoints(NamedTuple):
    """Points in n boxes, equally many by padding.

    Attributes:
        points: (n, P, 2), x and y in [0, 1], from the center of a box's first pixel to that of its
            last.
        valid: (n, P) bool, False on padding.
    """

    points: Tensor
    valid: Tensor


def sample_points(rois: PaddedRois, points: Tensor) -> Tensor:
    """Values of padded boxes at points, bilinear.

    Args:
        rois: n boxes of C channels.
        points: (n, P, 2), x and y as in :class:`SampledPoints`.

    Returns:
        (n, C, P).
    """
    if not rois.values.numel():  # grid_sample refuses maps without pixels
        return rois.values.new_zeros(*rois.values.shape[:2], points.shape[1])
    padded = points.new_tensor(rois.values.shape[-2:]).flip(0)
    positions = points * (rois.sizes - 1).flip(1)[:, None]
    grid = (2 * positions + 1) / padded - 1
    return F.grid_sample(rois.values, grid[:, None], align_corners=False)[:, :, 0]


def most_uncertain_points(
    probs: PaddedRois,
    candidates: Tensor,
    oversample: int = 3,
    keep: float = 0.75,
    pixels_per_point: int = 8,
) -> SampledPoints:
    """Of random points, those whose probabilities are closest to 1/2.

    A box of h x w pixels stands for N = h * w // ``pixels_per_point`` points: its first
    ``oversample`` * N candidates take part, and ``keep`` * N of them, rounded down, stay.

    Args:
        probs: n boxes, one channel.
        candidates: (n, P, 2), uniform in [0, 1], P as large as the largest box needs.
        oversample: k of the paper.
        keep: beta of the paper.
        pixels_per_point: D of the paper.

    Returns:
        The most uncertain points, in the order of their uncertainty.

    Raises:
        ValueError: If there are fewer candidates than the largest box needs.

    Source: Yi et al., IEEE TMI 2021, II-C.1 and eq. 8; as there, and unlike PointRend, no share of
    the points is uniform.
    """
    wanted = probs.sizes.prod(1) // pixels_per_point
    needed = int(wanted.max()) * oversample if len(wanted) else 0
    if candidates.shape[1] < needed:
        raise ValueError(f'the largest box needs {needed} candidates, got {candidates.shape[1]}')
    certainty_map = PaddedRois((2 * probs.values - 1).abs(), probs.sizes)
    certainty = sample_points(certainty_map, candidates)[:, 0]
    place = torch.arange(candidates.shape[1], device=candidates.device)
    certainty = certainty.masked_fill(place >= oversample * wanted[:, None], 2.0)
    order = certainty.argsort(dim=1, stable=True)
    kept = (keep * wanted).long()
    order = order[:, : int(kept.max()) if len(kept) else 0]
    points = candidates.gather(1, order[..., None].expand(-1, -1, 2))
    return SampledPoints(points, place[: order.shape[1]] < kept[:, None])
