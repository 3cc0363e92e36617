"""Scores of detections, with their confidence and before they are flattened."""

import json

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from pycocotools import mask as coco_mask

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.evaluation.coco_metric import CellCocoMetric
from mmcell.evaluation.summary import DEFINITIONS, RANKED_DEFINITIONS
from mmcell.functional.rle import label_map_to_rles
from mmcell.structures import LabelMapMasks, RoiMasks

SIZE = (4, 12)
# Objects of 8 pixels, and detections of them: 6 pixels of A are IoU 3/4.
A, B, C = (0, 0, 2, 4), (4, 0, 6, 4), (8, 0, 10, 4)
PART_OF_A, NOWHERE = (0, 0, 2, 3), (11, 0, 12, 4)


def bitmaps(boxes):
    masks = np.zeros((len(boxes), *SIZE), dtype=bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def as_rles(boxes):
    return [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in bitmaps(boxes)]


def as_tensor(boxes):
    return torch.tensor(bitmaps(boxes))


def as_roi_masks(boxes):
    return RoiMasks(torch.tensor(boxes).float().reshape(-1, 4), torch.ones(len(boxes), 5, 5), SIZE)


def as_layers(boxes):
    return LabelMapMasks.from_rles(as_rles(boxes), SIZE)


def as_bitmap_masks(boxes):
    return BitmapMasks(bitmaps(boxes).astype(np.uint8), *SIZE)


def sample(gt, pred, scores, pred_form=as_roi_masks, gt_form=as_layers, **more):
    """``gt`` and ``pred`` are lists of boxes, their masks fill them."""
    labels = [0] * len(gt), [0] * len(pred)
    gt_labels, pred_labels = more.get('labels', labels)
    extra = {key: torch.tensor(value) for key, value in more.items() if key == 'mask_scores'}
    return {
        'img_path': 'a.png',
        'ori_shape': SIZE,
        'subset': more.get('subset', ()),
        'gt_instances': {
            'masks': gt_form(gt),
            'labels': torch.tensor(gt_labels),
            'bboxes': HorizontalBoxes(torch.tensor(gt).float().reshape(-1, 4)),
        },
        'pred_instances': {
            'masks': pred_form(pred),
            'scores': torch.tensor(scores),
            'labels': torch.tensor(pred_labels),
            'bboxes': torch.tensor(pred).float().reshape(-1, 4),
            **extra,
        },
    }


def evaluate(*samples, scores=('ap50',), classes=('nucleus',), **options):
    metric = CellMetric(scores=scores, **options)
    metric.dataset_meta = {'classes': classes}
    metric.process({}, samples)
    result = metric.evaluate(len(samples))
    return {key.removeprefix('cell/').removesuffix('_pooled'): v for key, v in result.items()}


def test_detections_of_all_images_are_ranked_together():
    # Right, wrong, right by confidence; three objects: precision 1 up to recall 1/3, then 2/3.
    first = sample([A, B], [A, NOWHERE], [0.9, 0.8])
    second = sample([C], [C], [0.7])
    assert evaluate(first, second)['ap50'] == pytest.approx((1 + 2 / 3) / 3)
    assert evaluate(first)['ap50'] == 1 / 2
    assert evaluate(second)['ap50'] == 1


@pytest.mark.parametrize('gt_form', [as_layers, as_bitmap_masks])
@pytest.mark.parametrize('pred_form', [as_roi_masks, as_rles, as_tensor])
@pytest.mark.parametrize('number', [0, 3])
def test_every_form_of_masks_gives_the_same_numbers(gt_form, pred_form, number):
    gt, pred, confidence = [A, B], [PART_OF_A, A, NOWHERE][:number], [0.9, 0.8, 0.7][:number]
    found = evaluate(
        sample(gt, pred, confidence, pred_form, gt_form), scores=list(RANKED_DEFINITIONS)
    )
    expected = evaluate(sample(gt, pred, confidence), scores=list(RANKED_DEFINITIONS))
    assert found == pytest.approx(expected, nan_ok=True)
    assert found['ap50'] == (0.5 if number else 0)


def test_detections_below_the_threshold_of_the_label_map_count():
    below = sample([A, B], [A, B], [0.9, 0.1])
    assert evaluate(below, score_threshold=0.5)['ap50'] == 1


def test_masks_are_compared_before_they_are_flattened():
    # In the label map the larger one, which is more confident, leaves nothing of the other.
    around_a = (0, 0, 5, 4)
    result = evaluate(sample([A], [around_a, A], [0.9, 0.8]), scores=['ap50', 'pq'])
    assert result['ap50'] == 1 / 2
    assert result['pq'] == 0


def test_thresholds_of_ap():
    # IoU 3/4 for A and 1 for B: both are right up to 0.75, one of them beyond.
    result = evaluate(sample([A, B], [PART_OF_A, B], [0.8, 0.9]), scores='all')
    assert [result[f'ap{percent}'] for percent in (50, 70, 75)] == [1, 1, 1]
    assert result['ap'] == pytest.approx((6 * 1 + 4 * 0.5) / 10)
    assert result['matched_iou50'] == (3 / 4 + 1) / 2


def test_strict_thresholds_must_be_exceeded():
    exact = sample([A], [PART_OF_A], [0.9])
    assert evaluate(exact, scores=['ap75'])['ap75'] == 1
    assert evaluate(exact, scores=['ap75'], ap_strict=True)['ap75'] == 0
    assert evaluate(exact, scores=['ap70'], ap_strict=True)['ap70'] == 1


def test_boxes_are_those_of_the_detections_not_of_the_masks():
    boxes = sample([A], [A], [0.9])
    boxes['pred_instances']['bboxes'] = torch.tensor([[4.0, 0, 6, 4]])
    result = evaluate(boxes, scores=['ap50', 'box_ap50'])
    assert (result['ap50'], result['box_ap50']) == (1, 0)


def test_masks_are_ranked_by_their_own_score_boxes_by_that_of_the_class():
    quality = sample([A, B], [NOWHERE, A], [0.9, 0.8], mask_scores=[0.1, 0.7])
    result = evaluate(quality, scores=['ap50', 'box_ap50'])
    assert (result['ap50'], result['box_ap50']) == (1 / 2, 1 / 4)


def test_mask_threshold_applies_to_mask_probabilities():
    def soft(boxes):
        probs = torch.full((len(boxes), 5, 5), 0.4)
        return RoiMasks(torch.tensor(boxes).float(), probs, SIZE)

    assert evaluate(sample([A], [A], [0.9], soft))['ap50'] == 0
    assert evaluate(sample([A], [A], [0.9], soft), mask_threshold=0.3)['ap50'] == 1


def test_classes_are_matched_one_by_one_and_averaged():
    # Class 0 is found, class 1 is taken for class 0, class 2 never occurs.
    image = sample([A, B], [A, B], [0.9, 0.8], labels=([0, 1], [0, 0]))
    assert evaluate(image)['ap50'] == 1
    assert evaluate(image, classes=('a', 'b', 'c'))['ap50'] == (1 + 0) / 2


def test_nothing_to_measure_is_nan():
    assert np.isnan(evaluate(sample([], [], []))['ap50'])
    assert evaluate(sample([], [A], [0.9]))['ap50'] == 0


def test_subsets_are_pooled_on_their_own(tmp_path):
    seen = sample([A], [A], [0.5], subset=['seen'])
    unseen = sample([A], [NOWHERE], [0.9], subset=['unseen'])
    result = evaluate(seen, unseen, scores=['ap50', 'aji'], out_dir=str(tmp_path))
    assert result['ap50'] == (1 / 2) / 2
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert {n: part['pooled'] for n, part in summary['subsets'].items()} == {
        'seen': {'ap50': 1},
        'unseen': {'ap50': 0},
    }
    assert summary['definitions']['ap50'].endswith('IoU 0.5')
    assert summary['options']['ap_strict'] is False
    heading = (tmp_path / 'per_image.csv').read_text().splitlines()[0]
    assert heading == 'image,img_id,subset,aji,n_gt,n_pred,n_detections'


def test_all_scores_are_label_map_scores_and_ranked_scores():
    result = evaluate(sample([A, B], [PART_OF_A, B], [0.8, 0.9]), scores='all')
    assert {*DEFINITIONS, *RANKED_DEFINITIONS} <= set(result)


def test_few_numbers_are_kept_per_detection():
    metric = CellMetric(scores=['ap', 'ap75'])
    metric.process({}, [sample([A, B], [A, B, C], [0.9, 0.8, 0.7])])
    (row,) = metric.results
    ((matches,),) = row['ranked'].values()
    assert matches.scores.shape == matches.ious.shape == (3,)
    assert matches.tp.shape == (10, 3)


def test_detections_without_boxes_are_refused_naming_the_image():
    boxless = sample([A], [A], [0.9])
    del boxless['pred_instances']['bboxes']
    with pytest.raises(ValueError, match=r'a.png: the predictions have no bboxes.*box_ap'):
        evaluate(boxless, scores=['box_ap'])


@pytest.fixture(scope='module')
def dense(tmp_path_factory):
    """500 squares in one image: annotation file, and a sample that finds the first ``number``."""
    ids = np.arange(1, 501).reshape(20, 25)
    label_map = np.kron(ids, np.pad(np.ones((4, 4), int), 1))
    _, rles = label_map_to_rles(label_map)
    x, y, width, height = np.asarray(coco_mask.toBbox(rles)).T
    boxes = torch.tensor(np.stack([x, y, x + width, y + height], axis=1)).float()
    annotations = [
        {
            'id': k + 1,
            'image_id': 1,
            'category_id': 1,
            'iscrowd': 0,
            'area': 16,
            'bbox': coco_mask.toBbox(rle).tolist(),
            'segmentation': {**rle, 'counts': rle['counts'].decode()},
        }
        for k, rle in enumerate(rles)
    ]
    image = {'id': 1, 'file_name': 'a.png', 'height': 120, 'width': 150}
    path = tmp_path_factory.mktemp('dense') / 'test.json'
    content = {'info': {}, 'images': [image], 'annotations': annotations}
    path.write_text(json.dumps({**content, 'categories': [{'id': 1, 'name': 'nucleus'}]}))

    def found(number):
        pred = {
            'masks': RoiMasks(boxes[:number], torch.ones(number, 7, 7), label_map.shape),
            'bboxes': boxes[:number],
            'scores': torch.linspace(0.9, 0.1, number),
            'labels': torch.zeros(number, dtype=torch.long),
        }
        gt = {
            'masks': LabelMapMasks.from_rles(rles, label_map.shape),
            'bboxes': boxes,
            'labels': torch.zeros(500),
        }
        size = label_map.shape
        return {'img_id': 1, 'ori_shape': size, 'gt_instances': gt, 'pred_instances': pred}

    return str(path), found


@pytest.mark.parametrize(('number', 'area', 'coco_area'), [(500, 1, 1), (250, 0.5, 51 / 101)])
def test_agrees_with_coco_on_500_objects(dense, number, area, coco_area):
    # COCO samples the same curve at 101 recalls.
    ann_file, found = dense
    coco = CellCocoMetric(ann_file=ann_file, metric='segm')
    coco.dataset_meta = {'classes': ('nucleus',)}
    coco.process({}, [found(number)])
    expected = coco.evaluate(1)
    result = evaluate(found(number), scores=list(RANKED_DEFINITIONS))
    for name, key in (('ap', 'mAP'), ('ap50', 'mAP_50'), ('ap75', 'mAP_75')):
        assert result[name] == result[f'box_{name}'] == area
        # CocoMetric rounds to three digits.
        assert expected[f'coco/segm_{key}'] == pytest.approx(coco_area, abs=5e-4)
