"""Test-time augmentation: an image is looked at mirrored and turned, and the views vote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mmcell.functional.mask_nms import overlapping_mask_pairs
from mmcell.functional.patches import tight
from mmcell.inference.stream import Detect
from mmcell.structures import FoundObjects

Window = npt.NDArray[np.uint8]  # (h, w, 3)

MATCH_IOU = 0.5
"""Masks of two views that share as much are the same object."""


class View(NamedTuple):
    """An image mirrored, then turned: with four turns these are all symmetries of a square.

    Attributes:
        quarter_turns: to the left, as ``numpy.rot90``; 0 to 3.
        is_mirrored: left and right change places first.
    """

    quarter_turns: int
    is_mirrored: bool

    def of(self, window: Window) -> Window:
        """The view of an image (h, w, ...)."""
        if self.is_mirrored:
            window = window[:, ::-1]
        return np.ascontiguousarray(np.rot90(window, self.quarter_turns))

    def undo(self, found: FoundObjects, size: tuple[int, int]) -> FoundObjects:
        """Objects found in the view, in pixels of the image.

        Args:
            found: boxes in pixels of the view.
            size: height, width of the image.
        """
        x1, y1, x2, y2 = found.boxes.T
        width = size[self.quarter_turns % 2 == 0]  # of the image that is turned from here on
        height = size[self.quarter_turns % 2]
        for _ in range(self.quarter_turns):  # to the right
            x1, y1, x2, y2 = height - y2, x1, height - y1, x2
            width, height = height, width
        if self.is_mirrored:
            x1, x2 = width - x2, width - x1
        patches = [np.rot90(patch, -self.quarter_turns) for patch in found.patches]
        if self.is_mirrored:
            patches = [patch[:, ::-1] for patch in patches]
        return replace(found, boxes=np.stack([x1, y1, x2, y2], axis=1), patches=patches)


_FLIPS = tuple(View(turns, mirrored) for turns in (0, 2) for mirrored in (False, True))
_TURNED = tuple(View(turns, mirrored) for turns in (1, 3) for mirrored in (False, True))
VIEWS = {1: _FLIPS[:1], 4: _FLIPS, 8: _FLIPS + _TURNED}
"""By their number: the image itself; mirrored both ways; turned by 90 degrees, too."""


class AugmentedDetect:
    """Finds objects in several views of a window.

    Args:
        detect: finds objects in a window; its ``batch(windows)`` is used where it has one.
        num_views: 1, 4 (flips) or 8 (flips and quarter turns); the cost grows with it.

    Raises:
        ValueError: For another number of views.
    """

    def __init__(self, detect: Detect, num_views: int) -> None:
        if num_views not in VIEWS:
            raise ValueError(f'views must be one of {tuple(VIEWS)}, got {num_views}')
        self._detect, self._views = detect, VIEWS[num_views]

    def __call__(self, window: Window) -> FoundObjects:
        """Objects of one window."""
        return self.batch([window])[0]

    def batch(self, windows: Sequence[Window]) -> list[FoundObjects]:
        """Objects of each window; one view of all of them after the other."""
        found: list[list[FoundObjects]] = [[] for _ in windows]
        for view in self._views:
            seen = [view.of(window) for window in windows]
            if hasattr(self._detect, 'batch'):
                results = self._detect.batch(seen)
            else:
                results = [self._detect(each) for each in seen]
            for parts, result, window in zip(found, results, windows, strict=True):
                parts.append(view.undo(result, window.shape[:2]))
        return [fuse_views(parts) for parts in found]


def fuse_views(found: Sequence[FoundObjects], match_iou: float = MATCH_IOU) -> FoundObjects:
    """What most of several views of an image agree on.

    From the highest rank down, an object that is not taken yet takes, from each other view, the
    free object of its class that shares most with it, if their masks' IoU is >= ``match_iou``. Such
    a group of m out of V views is kept if m > V / 2. A pixel is part of its mask if at least half
    of the m masks have it; scores and ranks are the mean over the m, times m / V: what a view
    misses counts as 0.

    Args:
        found: of each of V views, in pixels of the image.
        match_iou: (0, 1].

    Returns:
        Objects, the highest rank first, with ids 1 to N. With one view the same objects.

    Source: after weighted boxes fusion (Solovyev et al., Image and Vision Computing 107 (2021)
    104117), which also groups greedily by score and lowers scores by the fraction of models that
    found a box; there boxes are averaged and none is dropped, here masks are voted on.
    """
    num_views = len(found)
    if num_views == 1:
        return found[0]
    together = FoundObjects.cat(found)
    view_of = np.repeat(np.arange(num_views), [len(part) for part in found])
    partners = _partners(together, view_of, match_iou)
    is_taken = np.zeros(len(together), dtype=bool)
    fused: list[FoundObjects] = []
    for leader in np.argsort(-together.ranks, kind='stable').tolist():
        if is_taken[leader]:
            continue
        group = {int(view_of[leader]): leader}
        for k in partners[leader]:  # from the one that shares most
            if not is_taken[k]:
                group.setdefault(int(view_of[k]), k)
        members = np.array(sorted(group.values()))
        is_taken[members] = True
        if 2 * len(members) > num_views:
            fused.append(_voted(together[members], num_views))
    objects = FoundObjects.cat(fused)
    order = np.argsort(-objects.ranks, kind='stable')
    return objects[order].numbered(1).with_columns(limits=together.limits)


def _partners(
    objects: FoundObjects, view_of: npt.NDArray[np.int64], match_iou: float
) -> defaultdict[int, list[int]]:
    """For each object those of its class in other views that share enough, the best first."""
    values = np.concatenate([patch.ravel() for patch in objects.patches] or [np.zeros(0, bool)])
    pairs = overlapping_mask_pairs(torch.from_numpy(values), torch.from_numpy(objects.boxes))
    first, second, iou = (column.numpy() for column in pairs)
    fits = (iou >= match_iou) & (view_of[first] != view_of[second])
    fits &= objects.classes[first] == objects.classes[second]
    first, second, iou = first[fits], second[fits], iou[fits]
    partners = defaultdict(list)
    for pair in np.lexsort((second, first, -iou)).tolist():
        a, b = int(first[pair]), int(second[pair])
        partners[a].append(b)
        partners[b].append(a)
    return partners


def _voted(members: FoundObjects, num_views: int) -> FoundObjects:
    """One object from those that are the same."""
    x1, y1 = members.boxes[:, :2].min(axis=0).tolist()
    x2, y2 = members.boxes[:, 2:].max(axis=0).tolist()
    votes = np.zeros((y2 - y1, x2 - x1), dtype=np.uint8)
    for patch, (left, top, right, bottom) in zip(
        members.patches, members.boxes.tolist(), strict=True
    ):
        votes[top - y1 : bottom - y1, left - x1 : right - x1] += patch
    patch, box = tight(2 * votes >= len(members), (x1, y1, x2, y2))
    return FoundObjects(
        np.array([box], dtype=np.int64),
        [patch],
        np.array([members.scores.sum() / num_views], dtype=np.float32),
        members.classes[:1],
        members.ids[:1],
        np.array([members.ranks.sum() / num_views], dtype=np.float32),
    )
