"""Scoring one image from files. Imports neither torch nor MMDetection: every worker loads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmcell.evaluation.readers.files import Entry, Failure, one_line
from mmcell.evaluation.readers.instances import Instances, Size
from mmcell.evaluation.summary import Row, score_image


class Pair(NamedTuple):
    """An image that both sides know.

    Attributes:
        name: without suffixes.
        gt: its ground truth.
        pred: its prediction.
    """

    name: str
    gt: Entry
    pred: Entry


class Reading(NamedTuple):
    """What became of the objects of a file on their way to a label map: :class:`Instances`."""

    cut: int
    lost: int
    left_out: int


class Scored(NamedTuple):
    """The scores of a pair, and how its files were read."""

    row: Row
    gt: Reading
    pred: Reading


def score_pair(pair: Pair, scores: Sequence[str]) -> Scored | Failure:
    """Read and score one image; whatever is wrong with it, the others count."""
    try:
        gt, pred = _load(pair)
        if gt.label_map.shape != pred.label_map.shape:
            raise ValueError(
                f'{pair.pred.source} is {pred.label_map.shape} (height, width), its ground truth '
                f'{pair.gt.source} {gt.label_map.shape}'
            )
        found = score_image(gt.label_map, pred.label_map, scores=scores)
    except Exception as error:
        return failure(pair, one_line(error))
    detections = found['n_pred'] + pred.lost + pred.left_out
    row = {'image': pair.name, 'img_id': None, **found, 'n_detections': detections}
    row['subset'] = list(pair.gt.subset)
    return Scored(row, Reading(*gt[1:]), Reading(*pred[1:]))


def failure(pair: Pair, error: str) -> Failure:
    """The pair as one that is not scored."""
    return Failure(pair.name, f'{pair.gt.source}; {pair.pred.source}', error)


def _load(pair: Pair) -> tuple[Instances, Instances]:
    """Both sides; the one that stores no size is read at the size of the other."""
    if pair.gt.stores_size:
        gt = _read(pair.gt, None)
        return gt, _read(pair.pred, gt.label_map.shape)
    pred = _read(pair.pred, None)
    return _read(pair.gt, pred.label_map.shape), pred


def _read(entry: Entry, size: Size | None) -> Instances:
    try:
        return entry.load(size=size)
    except Exception as error:
        text = one_line(error)
        raise ValueError(text if entry.source in text else f'{entry.source}: {text}') from error
