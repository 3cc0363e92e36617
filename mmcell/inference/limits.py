"""Limits of a model that cut off what could be objects."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.structures import InstanceData
from torch import Tensor, nn

SURE_PROPOSAL = 0.5
"""Objectness from which a region proposal that was cut off may have been an object."""

_NAMES = ('nms_pre', 'max_per_img', 'max_per_image')  # the last is that of query detectors


class LimitWatch:
    """Sees where ``nms_pre`` and ``max_per_img`` cut off boxes that are sure enough.

    That a limit is reached means little: region proposals have no threshold and nearly always fill
    theirs. What counts is whether the last one that came through was still a likely object.

    In a ``with`` block around the prediction of a batch it watches the RPN or the dense head.

    Args:
        module: a detector.
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
        if two_stage:
            self._first = _limits(test_cfg.get('rpn') or {}, 'model.test_cfg.rpn')
        else:
            self._first = self._final
        self._bar = SURE_PROPOSAL if two_stage else score_threshold
        head = getattr(module, 'rpn_head' if two_stage else 'bbox_head', None)
        predict = getattr(head, 'predict_by_feat', None)
        can_watch = predict and 'cls_scores' in inspect.signature(predict).parameters
        self._head = head if can_watch else None

    def __enter__(self) -> LimitWatch:
        if self._head is not None:
            predict = self._head.predict_by_feat

            def watched(cls_scores: list[Tensor], *args: Any, **kwargs: Any) -> list[InstanceData]:
                results = predict(cls_scores, *args, **kwargs)
                for i, result in enumerate(results):
                    levels = [level[i] for level in cls_scores]
                    reached = _reached(self._head, levels, result.scores, self._first, self._bar)
                    self._seen[i].update(reached)
                return results

            self._head.predict_by_feat = watched
        return self

    def __exit__(self, *error: object) -> None:
        if self._head is not None:
            del self._head.predict_by_feat  # the method of the class is back

    def reached(self, scores: list[Tensor]) -> list[tuple[str, ...]]:
        """The limits that each image of the batch has reached, such as 'model.test_cfg.nms_pre=9'.

        Args:
            scores: class scores (N,) of the final detections of each image; N may be 0.
        """
        for i, final in enumerate(scores):
            for name, limit in self._final.items():
                if 'max_per' in name and _is_full(final, limit, self._score_threshold):
                    self._seen[i].add(f'{name}={limit}')
        return [tuple(sorted(self._seen[i])) for i in range(len(scores))]


@contextmanager
def raised_limits(module: nn.Module, factor: int) -> Iterator[None]:
    """Let a detector find ``factor`` times as many objects, until the ``with`` block is left.

    Args:
        module: a detector, whose parts hold their ``test_cfg``.
        factor: by which every ``nms_pre``, ``max_per_img`` and ``max_keypoints`` is multiplied.
    """
    nodes: dict[int, Any] = {}

    def collect(node: Any) -> None:
        if isinstance(node, Mapping):
            nodes[id(node)] = node
            for part in node.values():
                collect(part)

    for part in module.modules():
        collect(getattr(part, 'test_cfg', None))
    names = (*_NAMES, 'max_keypoints')
    former = [(node, n, node[n]) for node in nodes.values() for n in names if node.get(n, 0) > 0]
    for node, name, value in former:
        node[name] = value * factor
    try:
        yield
    finally:
        for node, name, value in former:
            node[name] = value


def _limits(node: Mapping[str, Any], place: str) -> dict[str, int]:
    return {f'{place}.{name}': node[name] for name in _NAMES if node.get(name, 0) > 0}


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
