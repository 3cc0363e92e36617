"""Average precision against values of the code of the object-guided and keypoint graph papers."""

import json
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmcell.functional.overlap import overlap_table
from mmcell.functional.scores import (
    PairIous,
    average_precision,
    box_ious,
    mean_matched_iou,
    object_boxes,
    ranked_matches,
    rle_ious,
)

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
# How each implementation compares, and whether with > instead of >=.
IMPLEMENTATIONS = {
    'objguided.mask': ('masks', True),
    'kg.mask': ('masks', False),
    'objguided.box': ('boxes', False),
    'kg.box': ('boxes', False),
}
# They compare only objects whose boxes share some area, and measure boxes from pixel centre to
# pixel centre: what is one pixel high or wide is never found.
ONE_PIXEL_OBJECTS = {'edge_single_pixel', 'edge_borders', 'stack_edge', 'stacks'}


class Image(NamedTuple):
    """What a case compares.

    Attributes:
        masks: IoU of the masks.
        boxes: IoU of the boxes around them, from pixel centre to pixel centre.
        gt_extents: (G, 2) width and height of the ground truth, from pixel centre to pixel centre.
        scores: (P,) confidence.
    """

    masks: PairIous
    boxes: PairIous
    gt_extents: np.ndarray
    scores: np.ndarray


def between_centres(boxes):
    return boxes - [0, 0, 1, 1]


def read_image(arrays, name):
    gt = arrays[f'{name}__gt']
    gt_ids, gt_boxes = object_boxes(gt)
    if name.startswith('stack'):
        shape = arrays[f'{name}__masks_shape']
        bits = np.unpackbits(arrays[f'{name}__masks_packed'])
        pred = bits[: np.prod(shape)].reshape(shape)
        masks = rle_ious(encode(gt == gt_ids[:, None, None]), encode(pred))
        pred_boxes = np.concatenate([object_boxes(mask)[1] for mask in pred])
    else:
        pred = arrays[f'{name}__pred']
        table = overlap_table(gt, pred)
        masks = PairIous(table.gt_index, table.pred_index, table.ious, table.n_gt, table.n_pred)
        pred_boxes = object_boxes(pred)[1]
    gt_boxes, pred_boxes = between_centres(gt_boxes), between_centres(pred_boxes)
    boxes = box_ious(gt_boxes, pred_boxes)
    return Image(masks, boxes, gt_boxes[:, 2:] - gt_boxes[:, :2], arrays[f'{name}__scores'])


def encode(masks):
    return coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))


@cache
def load(folder):
    """Per image or data set its name, the images, the stored values; all images by name."""
    golden = json.loads((folder / 'golden' / 'metrics_dev.json').read_text())
    single = {**golden['cases'], **golden['stacks']}
    with np.load(folder / 'golden' / 'metrics_dev.npz') as arrays:
        images = {name: read_image(arrays, name) for name in single}
    sets = [
        (name, [images[name]], case['values']['voc_ap'])
        for name, case in single.items()
        if 'all_gt' in case['values'].get('voc_ap', {})
    ]
    sets += [
        (name, [images[member] for member in group['members']], group['voc_ap'])
        for name, group in golden['groups'].items()
        if 'voc_ap' in group
    ]
    stacks = {name: (images[name], case['values']) for name, case in golden['stacks'].items()}
    return sets, stacks


def match(image, implementation, thresholds=THRESHOLDS, drop_flat=False, share_box_area=False):
    kind, strict = IMPLEMENTATIONS[implementation]
    pairs = getattr(image, kind)
    if share_box_area:
        boxes = set(zip(image.boxes.gt_index, image.boxes.pred_index, strict=True))
        shared = [pair in boxes for pair in zip(pairs.gt_index, pairs.pred_index, strict=True)]
        shared = np.array(shared, dtype=bool)
        pairs = pairs._replace(
            gt_index=pairs.gt_index[shared],
            pred_index=pairs.pred_index[shared],
            ious=pairs.ious[shared],
        )
    keep_gt = (image.gt_extents > 1).all(1) if drop_flat else None
    return ranked_matches(pairs, image.scores, thresholds, strict=strict, keep_gt=keep_gt)


def differences(folder, implementation, variant, **options):
    """Names of the images and data sets whose AP or mean IoU is off by more than 1e-9."""
    found, compared = set(), 0
    for name, images, values in load(folder)[0]:
        expected = values[variant][implementation]
        # Without ground truth they raise or divide by zero, here it is 0, or NaN if both are empty.
        if name in ('edge_empty_gt', 'edge_both_empty'):
            continue
        matches = [match(image, implementation, **options) for image in images]
        results = {'ap_area': average_precision(matches)}
        if 'mean_iou_of_tp' in expected:
            results['mean_iou_of_tp'] = mean_matched_iou(matches)
        compared += 1
        for key, result in results.items():
            stored = np.array(expected[key], dtype=float)
            if not np.allclose(result, stored, rtol=0, atol=1e-9, equal_nan=True):
                found.add(name)
    assert compared == 34
    return found


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_average_precision_is_theirs_once_flat_ground_truth_is_dropped(test_data, implementation):
    variant = 'gt_min_extent_filter'  # as their loaders do
    assert differences(test_data, implementation, variant, drop_flat=True) == set()


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_with_all_ground_truth_only_objects_of_one_pixel_make_a_difference(
    test_data, implementation
):
    found = differences(test_data, implementation, 'all_gt')
    assert found == (ONE_PIXEL_OBJECTS if implementation.endswith('mask') else set())


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_average_precision_is_theirs_where_boxes_must_share_area(test_data, implementation):
    assert differences(test_data, implementation, 'all_gt', share_box_area=True) == set()


@pytest.mark.parametrize('threshold', [0.5, 0.7])
@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_each_prediction_is_right_or_wrong_as_theirs(test_data, implementation, threshold):
    stacks = load(test_data)[1]
    assert len(stacks) == 6
    for name, (image, values) in stacks.items():
        found = match(image, implementation, [threshold], share_box_area=True)
        flags = found.tp[0, np.argsort(-found.scores)]
        expected = values['tp_flags_by_descending_score'][str(threshold)][implementation]
        assert ''.join(str(int(flag)) for flag in flags) == expected, name
