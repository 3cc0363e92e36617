"""Limits of a model that cut off what could be objects."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from mmengine.structures import InstanceData
from torch import Tensor, nn

SURE_PROPOSAL = 0.5
"""Objectness from which a region proposal that was cut off may have been an object."""


class LimitWatch:
    """Sees where ``nms_pre`` and ``max_per_img`` cut off boxes that are sure enough.

    That a limit is reached means little: region proposals have no threshold and nearly always fill
    theirs. What counts is whether the last one that came through was still a likely object.

    Args:
        module: a detector; its RPN or dense head is watched from now on.
        test_cfg: its ``model.test_cfg``.
        score_threshold: class score from which a detection becomes an object.
    """

    def __init__(
        self, module: nn.Module, test_cfg: Mapping[str, Any], score_threshold: float
    ) -> None:
        self._score_threshold = score_threshold
        self._seen: defaultdict[int, set[str]] = defaultdict(set)
        two_stage = 'rcnn' in test_cfg
        place = 'model.test_cfg.rcnn' if two_stage else 'model.test_cfg'
        self._final = _limits(test_cfg['rcnn'] if two_stage else test_cfg, place)
        head = getattr(module, 'rpn_head' if two_stage else 'bbox_head', None)
        forward = getattr(head, 'predict_by_feat', None)
        if forward is None or next(iter(inspect.signature(forward).parameters)) != 'cls_scores':
            return
        if two_stage:
            limits, bar = _limits(test_cfg.get('rpn', {}), 'model.test_cfg.rpn'), SURE_PROPOSAL
        else:
            limits, bar = self._final, score_threshold

        def watched(cls_scores: list[Tensor], *args: Any, **kwargs: Any) -> list[InstanceData]:
            results = forward(cls_scores, *args, **kwargs)
            for i, result in enumerate(results):
                levels = [level[i].detach() for level in cls_scores]
                self._seen[i].update(_reached(head, levels, result.scores, limits, bar))
            return results

        head.predict_by_feat = watched

    def reached(self, scores: list[Tensor]) -> list[tuple[str, ...]]:
        """The limits that each image of a batch has reached, such as 'model.test_cfg.nms_pre=500'.

        Args:
            scores: class scores (N,) of the final detections of each image; N may be 0.
        """
        for i, final in enumerate(scores):
            for name, limit in self._final.items():
                if 'max_per' in name and _is_full(final, limit, self._score_threshold):
                    self._seen[i].add(f'{name}={limit}')
        seen = [tuple(sorted(self._seen[i])) for i in range(len(scores))]
        self._seen.clear()
        return seen


def _limits(node: Mapping[str, Any], place: str) -> dict[str, int]:
    names = ('nms_pre', 'max_per_img', 'max_per_image')  # the last is that of query detectors
    return {f'{place}.{name}': node[name] for name in names if node.get(name, 0) > 0}


def _is_full(scores: Tensor, limit: int, bar: float) -> bool:
    return len(scores) >= limit and float(scores.min()) >= bar


def _reached(
    head: nn.Module, levels: list[Tensor], kept: Tensor, limits: dict[str, int], bar: float
) -> set[str]:
    """Limits that one image reached: ``levels`` are (anchors * classes, h, w) logits."""
    reached = set()
    for name, limit in limits.items():
        if name.endswith('nms_pre'):
            full = any(_count_sure(head, level, bar) > limit for level in levels)
        else:
            full = _is_full(kept, limit, bar)
        if full:
            reached.add(f'{name}={limit}')
    return reached


def _count_sure(head: nn.Module, logits: Tensor, bar: float) -> int:
    """Candidates of a level whose probability is >= ``bar``."""
    if head.use_sigmoid_cls:
        probs = logits.sigmoid()
    else:
        probs = logits.flatten(1).T.reshape(-1, head.cls_out_channels).softmax(1)[:, :-1]
    return int((probs >= bar).sum())
