"""Scores from one sparse overlap table against one full-size mask per object.

AJI, AJI+, Dice, object F1, panoptic quality, symmetric best Dice and the count difference of one
image. Both baselines follow the same definitions and give the same values; both compare an object
only with those that it overlaps:

* ``per score``: every score walks through the masks by itself, as published scripts do;
* ``shared``: one walk serves all scores, which no script we know does. Printed so that nobody has
  to take the first for the best possible.

    python benchmarks/scores.py
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from common import MIB, Report, median_seconds, parse_options, peak_extra_memory
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from mmcell.functional import scores
from mmcell.functional.overlap import overlap_table
from mmcell.functional.rle import label_map_to_rles

LabelMap = npt.NDArray[np.int32]

MIN_SPEEDUP = 50.0
MAX_MEMORY = 10.0  # times the two label maps
MAX_GROWTH = 20.0  # of the time, for 10 times the objects on 16 times the pixels
SMALL, LARGE = (1000, 1000), (10_000, 4000)


def random_nuclei(num_objects: int, size: int) -> tuple[LabelMap, LabelMap]:
    """Ground truth on a jittered grid, and a prediction that shifts, merges, drops and invents."""
    rng = np.random.default_rng(0)
    per_side = int(np.ceil(np.sqrt(num_objects)))
    cells = np.stack(np.divmod(np.arange(num_objects), per_side), axis=1) + 0.5
    centres = (cells + rng.uniform(-0.2, 0.2, cells.shape)) * (size / per_side)
    radii = rng.uniform(8, 16, cells.shape)
    gt = paint(centres, radii, np.arange(num_objects) + 1, size)
    ids = np.arange(num_objects) + 1
    ids[rng.random(num_objects) < 0.05] = 0
    merged = np.flatnonzero(rng.random(num_objects - 1) < 0.05)
    ids[merged] = ids[merged + 1]
    away = rng.random(num_objects) < 0.05
    shifts = rng.normal(0, np.where(away, 15, 1.5)[:, None], cells.shape)
    pred = paint(centres + shifts, radii * rng.uniform(0.85, 1.15, cells.shape), ids, size)
    return gt, pred


def paint(
    centres: npt.NDArray[np.float64],
    radii: npt.NDArray[np.float64],
    ids: npt.NDArray[np.int64],
    size: int,
) -> LabelMap:
    """Ellipses, the later ones on top; id 0 paints none."""
    label_map = np.zeros((size, size), np.int32)
    low = np.floor(centres - radii).clip(0, size).astype(int)
    high = np.ceil(centres + radii + 1).clip(0, size).astype(int)
    for k in np.flatnonzero(ids):
        rows, columns = (slice(a, b) for a, b in zip(low[k], high[k], strict=True))
        row, column = np.ogrid[rows, columns]
        distance = ((row - centres[k, 0]) / radii[k, 0]) ** 2
        distance = distance + ((column - centres[k, 1]) / radii[k, 1]) ** 2
        label_map[rows, columns][distance <= 1] = ids[k]
    return label_map


class Scores(NamedTuple):
    """Every score of one image."""

    aji: float
    aji_plus: float
    dice: float
    object_f1: float
    pq: float
    sbd: float
    count_difference: int


def from_table(gt: LabelMap, pred: LabelMap) -> Scores:
    """mmcell: one overlap table, all scores."""
    table = overlap_table(gt, pred)
    return Scores(
        scores.aji(table),
        scores.aji_plus(table),
        scores.dice(table),
        scores.object_f1(table),
        scores.panoptic_quality(table).pq,
        scores.symmetric_best_dice(table),
        scores.count_difference(table),
    )


class Walk(NamedTuple):
    """What a walk through the masks finds; every dict in ascending order of ids.

    Attributes:
        gt_areas, pred_areas: id -> pixels.
        shared: ground-truth id -> id of each prediction that overlaps it -> pixels in both.
    """

    gt_areas: dict[int, int]
    pred_areas: dict[int, int]
    shared: dict[int, dict[int, int]]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All pairs that overlap."""
        return [(g, p) for g, partners in self.shared.items() for p in partners]

    def iou(self, g: int, p: int) -> float:
        """Intersection over union of a pair."""
        intersection = self.shared[g][p]
        return intersection / (self.gt_areas[g] + self.pred_areas[p] - intersection)

    def dice(self, g: int, p: int) -> float:
        """Dice of a pair."""
        return 2 * self.shared[g][p] / (self.gt_areas[g] + self.pred_areas[p])


def walk_masks(gt: LabelMap, pred: LabelMap) -> Walk:
    """Compare one full-size mask per object with the masks of the objects that it overlaps."""
    gt_ids, pred_ids = (np.unique(m[m > 0]).tolist() for m in (gt, pred))
    pred_areas = {p: int((pred == p).sum()) for p in pred_ids}
    gt_areas, shared = {}, {}
    for g in gt_ids:
        mask = gt == g
        gt_areas[g] = int(mask.sum())
        overlapping = np.unique(pred[mask])
        overlapping = overlapping[overlapping > 0].tolist()
        shared[g] = {p: int((mask & (pred == p)).sum()) for p in overlapping}
    return Walk(gt_areas, pred_areas, shared)


def loop_aji(walk: Walk) -> float:
    pairs, used = {}, set()
    for g, partners in walk.shared.items():
        free = [p for p in partners if p not in used]
        if free:
            pairs[g] = max(free, key=lambda p: walk.iou(g, p))
            used.add(pairs[g])
    return aggregated_jaccard(walk, pairs)


def loop_aji_plus(walk: Walk) -> float:
    row_of, column_of = ({i: k for k, i in enumerate(ids)} for ids in walk[:2])
    ious = np.zeros((len(row_of), len(column_of)))
    for g, p in walk.pairs:
        ious[row_of[g], column_of[p]] = walk.iou(g, p)
    column_of_row = dict(zip(*linear_sum_assignment(ious, maximize=True), strict=True))
    matched = [(g, p) for g, p in walk.pairs if column_of_row.get(row_of[g]) == column_of[p]]
    return aggregated_jaccard(walk, dict(matched))


def aggregated_jaccard(walk: Walk, pairs: dict[int, int]) -> float:
    intersection = sum(walk.shared[g][p] for g, p in pairs.items())
    areas = sum(walk.gt_areas.values()) + sum(walk.pred_areas.values())
    return intersection / (areas - intersection)


def loop_f1(walk: Walk) -> float:
    main: dict[int, int] = {}
    for g, p in walk.pairs:
        if p not in main or walk.shared[g][p] > walk.shared[main[p]][p]:
            main[p] = g
    tp = sum(walk.shared[g][p] > 0.5 * walk.gt_areas[g] for p, g in main.items())
    return 2 * tp / (len(walk.gt_areas) + len(walk.pred_areas))


def loop_pq(walk: Walk) -> float:
    matched = [iou for iou in (walk.iou(*pair) for pair in walk.pairs) if iou > 0.5]
    return sum(matched) / ((len(walk.gt_areas) + len(walk.pred_areas)) / 2)


def loop_sbd(walk: Walk) -> float:
    best_gt, best_pred = dict.fromkeys(walk.gt_areas, 0.0), dict.fromkeys(walk.pred_areas, 0.0)
    for g, p in walk.pairs:
        best_gt[g] = max(best_gt[g], walk.dice(g, p))
        best_pred[p] = max(best_pred[p], walk.dice(g, p))
    return min(sum(best.values()) / len(best) for best in (best_gt, best_pred))


def loop_dice(gt: LabelMap, pred: LabelMap) -> float:
    return 2 * ((gt > 0) & (pred > 0)).sum() / ((gt > 0).sum() + (pred > 0).sum())


def loop_count(gt: LabelMap, pred: LabelMap) -> int:
    return len(np.unique(pred[pred > 0])) - len(np.unique(gt[gt > 0]))


def from_masks(gt: LabelMap, pred: LabelMap, share: bool) -> Scores:
    """The baselines: ``share`` one walk, or walk for every score."""
    first_walk = walk_masks(gt, pred)

    def walk() -> Walk:
        return first_walk if share else walk_masks(gt, pred)

    return Scores(
        loop_aji(first_walk),
        loop_aji_plus(walk()),
        loop_dice(gt, pred),
        loop_f1(walk()),
        loop_pq(walk()),
        loop_sbd(walk()),
        loop_count(gt, pred),
    )


def prepare(num_objects: int, size: int) -> Callable[[], Scores]:
    """The call whose memory is measured, in the measuring process."""
    gt, pred = random_nuclei(num_objects, size)
    from_table(*random_nuclei(9, 100))  # so that lazily loaded libraries do not count
    return partial(from_table, gt, pred)


def prepare_hausdorff(num_objects: int, size: int) -> Callable[[], float]:
    gt, pred = random_nuclei(num_objects, size)
    scores.object_hausdorff(*random_nuclei(9, 100))
    return partial(scores.object_hausdorff, gt, pred)


def average_precisions(gt: LabelMap, pred: LabelMap) -> dict[str, Callable[[], object]]:
    """Average precision at 10 thresholds, from what evaluations have at hand."""
    (_, gt_rles), (_, pred_rles) = label_map_to_rles(gt), label_map_to_rles(pred)
    gt_boxes, pred_boxes = (coco_mask.toBbox(rles) for rles in (gt_rles, pred_rles))
    for boxes in (gt_boxes, pred_boxes):
        boxes[:, 2:] += boxes[:, :2]
    confidence = np.random.default_rng(0).random(len(pred_rles))

    def precision(pairs: Callable[[], scores.PairIous]) -> object:
        return scores.average_precision(scores.ranked_matches(pairs(), confidence))

    return {
        'AP, label maps': partial(precision, partial(overlap_table, gt, pred)),
        'AP, boxes': partial(precision, partial(scores.box_ious, gt_boxes, pred_boxes)),
        'AP, RLE': partial(precision, partial(scores.rle_ious, gt_rles, pred_rles)),
    }


def milliseconds(seconds: float) -> str:
    """To be read."""
    return f'{seconds * 1e3:.1f} ms' if seconds < 10 else f'{seconds:.1f} s'


def main() -> None:
    _, threads = parse_options(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    small, large = random_nuclei(*SMALL), random_nuclei(*LARGE)
    report = Report(
        'Two label maps to scores', 'objects', 'what', 'way', 'time', 'memory', 'against mmcell'
    )
    cases = [f'{n} on {size} x {size}' for n, size in (SMALL, LARGE)]
    small_time, large_time = median_seconds(
        partial(from_table, *small), partial(from_table, *large), repeats=7
    )
    ways = {
        'masks, per score': partial(from_masks, *small, share=False),
        'masks, shared': partial(from_masks, *small, share=True),
    }
    values = from_table(*small)
    for (name, way), seconds in zip(
        ways.items(), median_seconds(*ways.values(), repeats=1), strict=True
    ):
        speedup = seconds / small_time
        report.row(cases[0], 'seven scores', name, milliseconds(seconds), '', f'{speedup:.0f} x')
        equal = np.allclose(way(), values, rtol=1e-12, atol=0)
        report.target(f'{name}: the same seven values', equal)
        report.target(
            f'{name}: mmcell at least {MIN_SPEEDUP:g} times faster', speedup >= MIN_SPEEDUP
        )

    for case, (num_objects, size), seconds in zip(
        cases, (SMALL, LARGE), (small_time, large_time), strict=True
    ):
        extra = peak_extra_memory(prepare, num_objects, size, threads=threads)
        memory = f'{extra / MIB:.0f} MiB'
        report.row(case, 'seven scores', 'mmcell', milliseconds(seconds), memory, '')
        if (num_objects, size) == SMALL:
            ratio = extra / sum(m.nbytes for m in small)
            report.target(
                f'resident memory added at the peak: {ratio:.1f} times the two int32 label maps '
                f'(not counted themselves), below {MAX_MEMORY:g}',
                ratio < MAX_MEMORY,
            )
    growth = large_time / small_time
    report.target(
        f'{cases[1]} takes {growth:.1f} times as long as {cases[0]}, at most {MAX_GROWTH:g}',
        growth <= MAX_GROWTH,
    )

    for case, maps, options in zip(cases, (small, large), (SMALL, LARGE), strict=True):
        others = {
            'object Dice': partial(scores.object_dice, *maps),
            'object Hausdorff': partial(scores.object_hausdorff, *maps),
            **average_precisions(*maps),
        }
        for (name, _), seconds in zip(
            others.items(), median_seconds(*others.values(), repeats=2), strict=True
        ):
            memory = ''
            if name == 'object Hausdorff':
                memory = f'{peak_extra_memory(prepare_hausdorff, *options) / MIB:.0f} MiB'
            report.row(case, name, 'mmcell', milliseconds(seconds), memory, '')
    report.finish()


if __name__ == '__main__':
    main()
