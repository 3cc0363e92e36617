"""Every score against its definition on one mask per object, with nothing clever."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmcell.functional.scores import (
    aji,
    ctc_counts,
    dsb_precisions,
    object_dice,
    object_f1_counts,
    panoptic_quality,
    symmetric_best_dice,
)

label_maps = arrays.arrays(np.int64, (5, 7), elements=st.sampled_from([0, 1, 2, 3, 70_000]))
pairs_of_maps = st.tuples(label_maps, label_maps)
both_have_objects = pairs_of_maps.filter(lambda maps: maps[0].any() and maps[1].any())


def masks(label_map):
    return [label_map == i for i in np.unique(label_map) if i]


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def partner(mask, others):
    """Index of the mask of largest overlap, the first of equals; None without overlap."""
    overlaps = [(mask & other).sum() for other in others]
    return int(np.argmax(overlaps)) if overlaps and max(overlaps) else None


def naive_aji(gt, pred, exclusive):
    used, intersection, union = set(), 0, 0
    for g in gt:
        free = [k for k in range(len(pred)) if (g & pred[k]).any()]
        free = [k for k in free if not exclusive or k not in used]
        if not free:
            union += g.sum()
            continue
        best = max(free, key=lambda k: iou(g, pred[k]))
        used.add(best)
        intersection += (g & pred[best]).sum()
        union += (g | pred[best]).sum()
    union += sum(pred[k].sum() for k in range(len(pred)) if k not in used)
    return intersection / union


@given(maps=both_have_objects, exclusive=st.booleans())
def test_aji(maps, exclusive):
    expected = naive_aji(*map(masks, maps), exclusive)
    np.testing.assert_allclose(aji(*maps, exclusive=exclusive), expected, rtol=1e-12)


@given(maps=both_have_objects)
def test_symmetric_best_dice(maps):
    gt, pred = map(masks, maps)
    sides = [
        np.mean([max(dice(mask, other) for other in others) for mask in these])
        for these, others in ((gt, pred), (pred, gt))
    ]
    np.testing.assert_allclose(symmetric_best_dice(*maps), min(sides), rtol=1e-12)


@given(maps=both_have_objects)
def test_object_dice(maps):
    gt, pred = map(masks, maps)
    expected = 0.0
    for these, others in ((gt, pred), (pred, gt)):
        for mask in these:
            k = partner(mask, others)
            if k is not None:
                weight = mask.sum() / sum(m.sum() for m in these)
                expected += weight * dice(mask, others[k]) / 2
    np.testing.assert_allclose(object_dice(*maps), expected, rtol=1e-12, atol=1e-15)


@given(maps=pairs_of_maps)
def test_object_f1(maps):
    gt, pred = map(masks, maps)
    mains = [(mask, partner(mask, gt)) for mask in pred]
    tp = sum(k is not None and (mask & gt[k]).sum() > gt[k].sum() / 2 for mask, k in mains)
    assert object_f1_counts(*maps) == (tp, len(pred) - tp, len(gt) - tp)


@given(maps=pairs_of_maps)
def test_matches_above_an_iou_of_one_half(maps):
    gt, pred = map(masks, maps)
    ious = np.array([iou(g, p) for g in gt for p in pred])
    tp = int((ious > 0.5).sum())
    quality = panoptic_quality(*maps)
    assert (quality.tp, quality.fp, quality.fn) == (tp, len(pred) - tp, len(gt) - tp)
    if tp:
        np.testing.assert_allclose(quality.sq, ious[ious > 0.5].mean(), rtol=1e-12)
    if gt or pred:
        expected = [
            (ious > t).sum() / (len(gt) + len(pred) - (ious > t).sum()) for t in (0.5, 0.75)
        ]
        np.testing.assert_allclose(dsb_precisions(*maps, [0.5, 0.75]), expected, rtol=1e-12)


@given(maps=pairs_of_maps)
def test_matches_that_cover_more_than_half_of_an_object(maps):
    gt, pred = map(masks, maps)
    found = [
        (k, iou(g, pred[k]))
        for g in gt
        for k in range(len(pred))
        if (g & pred[k]).sum() > g.sum() / 2
    ]
    used = {k for k, _ in found}
    counts = ctc_counts(*maps)
    surplus = len(found) - len(used)
    assert counts[:4] == (surplus, len(gt) - len(found), len(pred) - len(used), len(gt))
    np.testing.assert_allclose(counts.sum_iou, sum(value for _, value in found), rtol=1e-12)
