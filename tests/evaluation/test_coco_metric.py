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


def test_data_samples_keep_their_masks_for_the_next_metric(dense_image):
    path, rles, boxes, size = dense_image
    metric = METRICS.build({'type': 'CellCocoMetric', 'ann_file': path})
    masks = as_roi_masks(rles, boxes, size)
    pred = {'bboxes': boxes, 'scores': boxes[:, 0], 'labels': boxes[:, 0].long(), 'masks': masks}
    sample = {'img_id': 3, 'ori_shape': size, 'pred_instances': pred}
    metric.process({}, [sample])
    assert sample['pred_instances']['masks'] is masks
