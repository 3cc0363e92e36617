import json

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from pycocotools import mask as coco_mask

from mmcell.evaluation.coco_metric import CellCocoMetric
from mmcell.functional.rle import label_map_to_rles
from mmcell.structures.roi_masks import RoiMasks


def grid_label_map(rows, columns):
    """Squares of 4 x 4 pixels on a grid of 6 x 6."""
    ids = np.arange(1, rows * columns + 1).reshape(rows, columns)
    return np.kron(ids, np.pad(np.ones((4, 4), int), 1))


def boxes_of(rles):
    x, y, width, height = np.asarray(coco_mask.toBbox(rles)).T
    return torch.tensor(np.stack([x, y, x + width, y + height], axis=1)).float()


@pytest.fixture(scope='module')
def dense_image(tmp_path_factory):
    """500 objects in one image: annotation file, RLEs, boxes, image size."""
    label_map = grid_label_map(20, 25)
    _, rles = label_map_to_rles(label_map)
    boxes = boxes_of(rles)
    annotations = [
        {
            'id': k + 1,
            'image_id': 3,
            'category_id': 1,
            'iscrowd': 0,
            'area': 16,
            'bbox': [*box[:2], box[2] - box[0], box[3] - box[1]],
            'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
        }
        for k, (rle, box) in enumerate(zip(rles, boxes.tolist(), strict=True))
    ]
    height, width = label_map.shape
    content = {
        'info': {},
        'images': [{'id': 3, 'file_name': 'a.png', 'height': height, 'width': width}],
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'nucleus'}],
    }
    path = tmp_path_factory.mktemp('coco') / 'test.json'
    path.write_text(json.dumps(content))
    return str(path), rles, boxes, label_map.shape


def evaluate(metric, masks, boxes, size):
    metric.dataset_meta = {'classes': ('nucleus',)}
    number = len(boxes)
    pred = {
        'bboxes': boxes,
        'scores': torch.linspace(0.1, 0.9, number),
        'labels': torch.zeros(number, dtype=torch.long),
        'masks': masks,
    }
    metric.process({}, [{'img_id': 3, 'ori_shape': size, 'pred_instances': pred}])
    return metric.evaluate(1)


def as_rles(rles, boxes, size):
    return [dict(rle) for rle in rles]


def as_roi_masks(rles, boxes, size):
    return RoiMasks(boxes, torch.ones(len(boxes), 28, 28), size)


@pytest.mark.parametrize('form', [as_rles, as_roi_masks])
def test_500_perfect_masks_have_an_average_precision_of_1(dense_image, form):
    path, rles, boxes, size = dense_image
    result = evaluate(CellCocoMetric(ann_file=path), form(rles, boxes, size), boxes, size)
    for name in ('mAP', 'mAP_50', 'mAP_75', 'mAP_s'):
        assert result[f'coco/segm_{name}'] == 1


def test_the_limits_of_mmdetection_stop_at_100_detections(dense_image):
    """Why the metric exists; when this fails, use MMDetection's own."""
    path, rles, boxes, size = dense_image
    metric = CocoMetric(ann_file=path, metric='segm', proposal_nums=(100, 300, 5000))
    result = evaluate(metric, as_rles(rles, boxes, size), boxes, size)
    assert result['coco/segm_mAP'] == 0.208  # 21 of 101 recall points
    assert result['coco/segm_mAP_50'] == 1


def test_half_of_the_objects_found_is_half_of_the_average_precision(dense_image):
    path, rles, boxes, size = dense_image
    metric = CellCocoMetric(ann_file=path, metric=['bbox', 'segm'])
    result = evaluate(metric, as_rles(rles[:250], boxes, size), boxes[:250], size)
    for name in ('bbox_mAP', 'segm_mAP'):
        assert result[f'coco/{name}'] == pytest.approx(51 / 101, abs=5e-4)  # recalls 0.00 to 0.50


@pytest.mark.parametrize('absent', [(), ('lymphocyte',)])
def test_classes_are_those_of_the_file_by_name(tmp_path, absent):
    _, rles = label_map_to_rles(grid_label_map(1, 3))
    boxes, size = boxes_of(rles), (6, 18)
    ids = {'stroma': 5, 'nucleus': 1, 'lymphocyte': 8}  # not in the order of the classes
    classes = ('lymphocyte', 'nucleus', 'stroma')
    categories = [{'id': ids[name], 'name': name} for name in ids if name not in absent]
    annotations = [
        {
            'id': k + 1,
            'image_id': 3,
            'category_id': ids[name],
            'iscrowd': 0,
            'area': 16,
            'bbox': [*box[:2], 4, 4],
            'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
        }
        for k, (name, rle, box) in enumerate(zip(classes, rles, boxes.tolist(), strict=True))
        if name not in absent
    ]
    images = [{'id': 3, 'file_name': 'a.png', 'height': 6, 'width': 18}]
    content = dict(info={}, images=images, annotations=annotations, categories=categories)
    (tmp_path / 'test.json').write_text(json.dumps(content))
    for labels, expected in (([0, 1, 2], 1), ([0, 2, 1], 0 if absent else 1 / 3)):
        metric = CellCocoMetric(ann_file=str(tmp_path / 'test.json'), classwise=True)
        metric.dataset_meta = {'classes': classes}
        pred = {
            'bboxes': boxes,
            'scores': torch.tensor([0.9, 0.8, 0.7]),
            'labels': torch.tensor(labels),
            'masks': as_roi_masks(rles, boxes, size),
        }
        metric.process({}, [{'img_id': 3, 'ori_shape': size, 'pred_instances': pred}])
        scores = metric.evaluate(1)
        assert scores['coco/segm_mAP'] == pytest.approx(expected, abs=1e-3)
        right = {name for k, name in enumerate(classes) if labels[k] == k and name not in absent}
        found = {name for name in classes if scores.get(f'coco/{name}_precision') == 1}
        assert found == right


def test_a_file_of_other_classes_is_refused(dense_image):
    path, rles, boxes, size = dense_image
    metric = CellCocoMetric(ann_file=path)
    pred = {'bboxes': boxes, 'scores': boxes[:, 0], 'labels': boxes[:, 0].long() * 0, 'masks': rles}
    metric.dataset_meta = {'classes': ('leaf',)}
    metric.process({}, [{'img_id': 3, 'ori_shape': size, 'pred_instances': pred}])
    with pytest.raises(ValueError, match="categories nucleus, none of the data set's classes leaf"):
        metric.evaluate(1)


def test_data_samples_keep_their_masks_for_the_next_metric(dense_image):
    path, rles, boxes, size = dense_image
    metric = METRICS.build({'type': 'CellCocoMetric', 'ann_file': path})
    masks = as_roi_masks(rles, boxes, size)
    pred = {'bboxes': boxes, 'scores': boxes[:, 0], 'labels': boxes[:, 0].long(), 'masks': masks}
    sample = {'img_id': 3, 'ori_shape': size, 'pred_instances': pred}
    metric.process({}, [sample])
    assert sample['pred_instances']['masks'] is masks
