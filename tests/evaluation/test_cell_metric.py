import csv
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.functional.rle import label_map_to_rles
from mmcell.structures.label_map_masks import LabelMapMasks
from mmcell.structures.roi_masks import RoiMasks

SIZE = (4, 12)


def rectangle(x1, y1, x2, y2):
    mask = np.zeros(SIZE, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def bool_masks(boxes):
    return torch.tensor(np.array([rectangle(*box) for box in boxes]).reshape(-1, *SIZE))


def rle_masks(boxes):
    return [coco_mask.encode(np.asfortranarray(rectangle(*box), np.uint8)) for box in boxes]


def roi_masks(boxes):
    return RoiMasks(torch.tensor(boxes).float().reshape(-1, 4), torch.ones(len(boxes), 5, 5), SIZE)


def bitmap_gt(boxes):
    return BitmapMasks(bool_masks(boxes).numpy().astype(np.uint8), *SIZE)


def layered_gt(boxes):
    return LabelMapMasks.from_rles(rle_masks(boxes), SIZE)


def sample(gt, pred, scores=None, name='a.png', pred_form=roi_masks, gt_form=layered_gt, **more):
    """A data sample as MMEngine hands it to metrics; ``gt`` and ``pred`` are lists of boxes."""
    scores = [0.9] * len(pred) if scores is None else scores
    extra = {key: torch.tensor(value) for key, value in more.items() if key == 'mask_scores'}
    return {
        **{key: value for key, value in more.items() if key == 'subset'},
        'img_path': f'/data/images/{name}',
        'img_id': name,
        'ori_shape': SIZE,
        'gt_instances': {
            'masks': gt_form(gt),
            'labels': torch.tensor(more.get('gt_labels', [0] * len(gt))),
        },
        'pred_instances': {
            'masks': pred_form(pred),
            'scores': torch.tensor(scores),
            'labels': torch.tensor(more.get('labels', [0] * len(pred)), dtype=torch.long),
            **extra,
        },
    }


def evaluate(samples, classes=('nucleus',), **options):
    metric = CellMetric(**options)
    metric.dataset_meta = {'classes': classes}
    metric.process({}, samples)
    return metric.evaluate(len(samples))


# 8 and 4 pixels; the prediction finds 6 + 0 of them, and 4 pixels where nothing is.
GT = [(0, 0, 2, 4), (4, 0, 5, 4)]
PRED = [(0, 0, 2, 3), (10, 0, 11, 4)]


def test_scores_of_one_image_worked_by_hand():
    result = evaluate([sample(GT, PRED)])
    assert result['cell/aji'] == 6 / (8 + 4 + 4)
    assert result['cell/aji_plus'] == 6 / (8 + 4 + 4)
    assert result['cell/dice'] == 2 * 6 / (12 + 10)
    assert result['cell/f1'] == 0.5
    assert result['cell/dq'] == 0.5
    assert result['cell/sq'] == 0.75
    assert result['cell/pq'] == 0.375
    assert result['cell/pq_std'] == 0


def test_only_the_chosen_scores_are_reported():
    result = evaluate([sample(GT, PRED)], scores=['dice', 'aji'])
    names = {key.removeprefix('cell/').split('_')[0] for key in result}
    assert names == {'aji', 'dice', 'images'}
    assert result['cell/dice'] == 2 * 6 / (12 + 10)


def test_unknown_scores_are_refused_when_the_metric_is_built():
    with pytest.raises(ValueError, match="no score 'aij'. Did you mean 'aji'"):
        CellMetric(scores=['aij'])


@pytest.mark.parametrize('gt_form', [layered_gt, bitmap_gt])
@pytest.mark.parametrize('pred_form', [roi_masks, rle_masks, bool_masks])
@pytest.mark.parametrize('min_visible', [0.0, 0.5])
def test_every_form_of_masks_gives_the_same_numbers(gt_form, pred_form, min_visible):
    gt = [(0, 0, 4, 4), (2, 0, 8, 2), (9, 1, 12, 3)]  # the first two overlap
    pred = [(0, 0, 5, 3), (3, 0, 8, 3), (4, 1, 9, 4), (9, 0, 11, 3), (1, 1, 4, 3)]
    scores = [0.7, 0.9, 0.8, 0.6, 0.65]
    forms = {'gt_form': gt_form, 'pred_form': pred_form}
    found = evaluate([sample(gt, pred, scores, **forms)], min_visible=min_visible)
    assert found == evaluate([sample(gt, pred, scores)], min_visible=min_visible)
    assert 0 < found['cell/pq'] < 1


@pytest.mark.parametrize('pred_form', [roi_masks, rle_masks, bool_masks])
def test_image_without_predictions_scores_0(pred_form):
    result = evaluate([sample(GT, [], pred_form=pred_form)])
    assert [result[f'cell/{name}'] for name in ('aji', 'dice', 'f1', 'dq', 'pq')] == [0] * 5
    assert np.isnan(result['cell/sq'])


@pytest.mark.parametrize('gt_form', [layered_gt, bitmap_gt])
def test_image_without_objects_scores_0_for_any_prediction(gt_form):
    assert evaluate([sample([], PRED, gt_form=gt_form)])['cell/aji'] == 0


def test_predictions_below_the_class_score_are_dropped_at_it_they_stay():
    samples = [sample(GT, PRED, [0.5, 0.499])]
    assert evaluate(samples)['cell/dq'] == 1 / 1.5
    assert evaluate(samples, score_threshold=0.4)['cell/dq'] == 0.5
    assert evaluate(samples, score_threshold=0.6)['cell/dq'] == 0


@pytest.mark.parametrize('pred_form', [roi_masks, rle_masks, bool_masks])
def test_shared_pixels_go_by_mask_score_dropping_by_class_score(pred_form):
    gt = [(0, 0, 6, 4), (6, 0, 12, 4)]
    pred = [(0, 0, 8, 4), (6, 0, 12, 4), (0, 0, 12, 4)]
    more = {'scores': [0.9, 0.8, 0.1], 'pred_form': pred_form}
    by_class_score = evaluate([sample(gt, pred, **more)])
    by_mask_score = evaluate([sample(gt, pred, mask_scores=[0.2, 0.3, 0.9], **more)])
    assert by_class_score['cell/aji'] == (24 + 16) / (32 + 24)
    assert by_mask_score['cell/aji'] == 1


def test_mask_threshold_applies_to_mask_probabilities():
    def soft(boxes):
        return RoiMasks(torch.tensor(boxes).float(), torch.full((len(boxes), 5, 5), 0.4), SIZE)

    perfect = sample(GT, GT, pred_form=soft)
    assert evaluate([perfect])['cell/pq'] == 0
    assert evaluate([perfect], mask_threshold=0.3)['cell/dq'] == 1


def test_means_are_over_images_and_leave_out_those_with_nothing_to_measure():
    result = evaluate([sample(GT, GT), sample(GT, PRED), sample([], [])])
    assert result['cell/aji'] == (1 + 6 / 16) / 2
    assert result['cell/aji_std'] == (1 - 6 / 16) / 2
    assert result['cell/images_left_out'] == 1


def test_all_images_without_anything_to_measure_give_nan_not_an_error():
    result = evaluate([sample([], [])])
    assert np.isnan(result['cell/aji'])
    assert np.isnan(result['cell/pq_pooled'])


def test_pooled_values_come_from_counts_added_up():
    # Mean PQ (1 + 0) / 2; pooled: 1 match of IoU 1, no false positive, 3 missed.
    result = evaluate([sample([(0, 0, 2, 4)], [(0, 0, 2, 4)]), sample([*GT, (8, 0, 9, 4)], [])])
    assert result['cell/pq'] == 0.5
    assert result['cell/pq_pooled'] == result['cell/dq_pooled'] == 1 / (1 + 1.5)
    assert result['cell/sq_pooled'] == 1
    assert result['cell/f1_pooled'] == 2 / (2 + 3)


def test_classes_are_pooled_one_by_one_into_mpq():
    # Class 0: found twice. Class 1: taken for class 0 once, found once with IoU 3/4. Class 2 never.
    first = sample(GT, GT, gt_labels=[0, 1], labels=[0, 0])
    second = sample(GT, PRED[:1] + GT[1:], gt_labels=[1, 0], labels=[1, 0])
    result = evaluate([first, second], classes=('a', 'b', 'c'))
    assert result['cell/pq_a_pooled'] == 2 / (2 + 1 / 2)
    assert result['cell/pq_b_pooled'] == 0.75 / (1 + 1 / 2)
    assert np.isnan(result['cell/pq_c_pooled'])
    assert result['cell/mpq_pooled'] == pytest.approx((0.8 + 0.5) / 2)
    assert result['cell/dq'] == 1  # the other scores ask for objects, whatever their class


def test_one_class_has_no_mpq():
    assert 'cell/mpq_pooled' not in evaluate([sample(GT, PRED)])


def test_means_over_real_images_are_the_reference_values(test_data):
    golden = json.loads((test_data / 'golden' / 'metrics_dev.json').read_text())
    expected = golden['groups']['mean_over_images']
    metric = CellMetric()
    with np.load(test_data / 'golden' / 'metrics_dev.npz') as maps:
        for name in expected['members']:
            gt = LabelMapMasks.from_label_map(maps[f'{name}__gt'])
            _, rles = label_map_to_rles(maps[f'{name}__pred'])
            pred = {'masks': rles, 'scores': torch.linspace(0.5, 1, len(rles))}
            size = (gt.height, gt.width)
            metric.process(
                {}, [{'ori_shape': size, 'gt_instances': {'masks': gt}, 'pred_instances': pred}]
            )
    result = metric.evaluate(len(expected['members']))
    for name, key in (
        ('aji', 'aji_each_pred_once'),
        ('pq', 'pq'),
        ('f1', 'f1_overlap_gt'),
        ('dice', 'pixel_dice'),
    ):
        assert result[f'cell/{name}'] == pytest.approx(expected[key], abs=1e-9)


@pytest.fixture
def logger(monkeypatch):
    """MMEngine's logger replaced by one that pytest can read."""
    logger = logging.getLogger('cell_metric_test')
    monkeypatch.setattr(
        'mmcell.evaluation.cell_metric.MMLogger.get_current_instance', lambda: logger
    )
    return logger


def test_images_at_the_detection_limit_are_counted_and_warned_about(logger, caplog):
    full = sample(GT, PRED, [0.9, 0.1])  # one of the two is below the score threshold
    result = evaluate([full, sample(GT, PRED[:1]), full], max_per_img=2)
    assert result['cell/images_at_limit'] == 2
    warnings = [record.getMessage() for record in caplog.records if record.levelname == 'WARNING']
    assert len(warnings) == 1
    assert '2 of 3 images reached the limit of 2 detections' in warnings[0]


def test_no_warning_below_the_detection_limit(logger, caplog):
    assert evaluate([sample(GT, PRED)], max_per_img=3)['cell/images_at_limit'] == 0
    assert not [record for record in caplog.records if record.levelname == 'WARNING']


def test_table_of_scores_is_logged(logger, caplog):
    caplog.set_level(logging.INFO)
    evaluate([sample(GT, PRED)])
    assert '| aji      | 0.3750 | 0.0000 | 1      |        |' in caplog.text
    assert (
        '1 images (0 left out), n_gt 2, n_pred 2, n_detections 2, tp 1, fp 1, fn 1' in caplog.text
    )


def test_files_hold_scores_per_image_and_their_summary_in_words(tmp_path):
    samples = [sample(GT, PRED, name='b.png'), sample([], [], name='a.png')]
    evaluate(samples, out_dir=str(tmp_path / 'new'), max_per_img=2)
    with open(tmp_path / 'new' / 'per_image.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['image'] for row in rows] == ['b.png', 'a.png']
    assert [row['aji'] for row in rows] == ['0.375', 'nan']
    counts = ('n_gt', 'n_pred', 'n_detections', 'tp', 'fp', 'fn', 'f1_tp')
    assert [rows[0][name] for name in counts] == ['2', '2', '2', '1', '1', '1', '1']

    summary = json.loads((tmp_path / 'new' / 'summary.json').read_text())
    assert summary['n_images'] == 2
    assert summary['images_at_limit'] == 1
    assert summary['scores']['aji'] == {'mean': 0.375, 'std': 0.0, 'n_images': 1}
    assert summary['pooled']['pq'] == 0.375
    assert 'unused prediction' in summary['definitions']['aji']
    assert summary['options']['score_threshold'] == 0.5

    text = (tmp_path / 'new' / 'summary.md').read_text()
    assert '| aji | 0.3750 | 0.0000 | 1 |  |' in text
    assert '- **pq**: Panoptic quality' in text


def test_subsets_of_the_images_are_summarized_on_their_own(tmp_path):
    samples = [
        sample(GT, GT, name='a.png', subset=['seen']),
        sample(GT, PRED, name='b.png', subset=['unseen', 'liver']),
        sample(GT, [], name='c.png'),
    ]
    result = evaluate(samples, out_dir=str(tmp_path))
    assert result['cell/aji'] == pytest.approx((1 + 0.375 + 0) / 3)
    subsets = json.loads((tmp_path / 'summary.json').read_text())['subsets']
    means = {name: part['scores']['aji']['mean'] for name, part in subsets.items()}
    assert means == {'liver': 0.375, 'seen': 1, 'unseen': 0.375}


def test_undefined_values_are_null_in_json(tmp_path):
    evaluate([sample([], [])], out_dir=str(tmp_path))
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['scores']['aji']['mean'] is None


def test_nothing_is_written_without_out_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluate([sample(GT, PRED)])
    assert list(tmp_path.iterdir()) == []


def test_only_plain_numbers_are_kept_per_image():
    metric = CellMetric()
    metric.process({}, [sample(GT, PRED)])
    (row,) = metric.results
    assert {type(value) for value in row.values()} == {str, int, float, list}
    assert row['subset'] == []


def broken(key, value):
    found = sample(GT, PRED)
    if value is None:
        found.pop(key)
    else:
        found[key] = value
    return found


@pytest.mark.parametrize(
    ('bad', 'message'),
    [
        (broken('gt_instances', None), 'LoadCellAnnotations'),
        (broken('gt_instances', {'labels': torch.zeros(0)}), 'LoadCellAnnotations'),
        (broken('pred_instances', {'scores': torch.zeros(0)}), 'no masks in pred_instances'),
        (broken('ori_shape', (8, 24)), r'\(4, 12\), the image is \(8, 24\).*after Resize'),
    ],
)
def test_unusable_data_samples_are_refused_naming_the_image(bad, message):
    with pytest.raises(ValueError, match=f'a.png: .*{message}'):
        evaluate([bad])


def test_predictions_of_another_size_are_refused_naming_the_image():
    bad = sample(GT, PRED)
    bad['pred_instances']['masks'] = RoiMasks(torch.zeros(2, 4), torch.ones(2, 5, 5), (8, 24))
    with pytest.raises(ValueError, match=r'a.png: .*\(4, 12\) and \(8, 24\)'):
        evaluate([bad])


def test_metric_runs_inside_mmengine_on_detection_data_samples():
    parts = sample(GT, PRED)
    data_sample = DetDataSample(metainfo={'img_path': 'a.png', 'img_id': 1, 'ori_shape': SIZE})
    data_sample.gt_instances = InstanceData(**parts['gt_instances'])
    data_sample.pred_instances = InstanceData(**parts['pred_instances'])
    evaluator = Evaluator([METRICS.build({'type': 'CellMetric'})])
    evaluator.dataset_meta = {'classes': ('nucleus',)}
    evaluator.process([data_sample])
    assert evaluator.evaluate(1)['cell/aji'] == 0.375


RANK = """
import os, sys
import torch.distributed as dist
rank, store, test_file, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
import importlib.util
spec = importlib.util.spec_from_file_location('cell_metric_cases', test_file)
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
# Three images on two processes: the sampler repeats the first one at the end.
images = [
    cases.sample(cases.GT, cases.GT, name='0.png'),
    cases.sample(cases.GT, cases.PRED, name='1.png'),
    cases.sample(cases.GT, [], name='2.png'),
]
metric = cases.CellMetric(out_dir=folder + '/scores', scores=['aji', 'ap50'])
metric.collect_dir = folder + '/collect'
metric.process({}, [images[i] for i in ([0, 2], [1, 0])[rank]])
result = metric.evaluate(3)
assert result['cell/aji'] == (1 + 6 / 16 + 0) / 3, result
assert result['cell/ap50_pooled'] == 3 / 6, result  # the first three of four detections are right
dist.barrier()  # neither leaves while the other still reads
dist.destroy_process_group()
os._exit(0)  # gloo's threads now and then abort the interpreter's own way out
"""


def test_images_repeated_by_a_distributed_sampler_count_once(tmp_path):
    arguments = [str(tmp_path / 'store'), __file__, str(tmp_path)]
    ranks = [
        subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c', RANK, str(rank), *arguments],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    with open(tmp_path / 'scores' / 'per_image.csv', newline='') as file:
        assert [row['image'] for row in csv.DictReader(file)] == ['0.png', '1.png', '2.png']


def test_box_scores_alone_need_no_masks():
    """A detector without masks: one right box, one wrong, one object missed: AP 0.5."""
    truth = dict(bboxes=torch.tensor([[0.0, 0, 4, 4], [8, 8, 12, 12]]), labels=torch.zeros(2))
    found = dict(
        bboxes=torch.tensor([[0.0, 0, 4, 4], [20, 20, 24, 24]]),
        scores=torch.tensor([0.9, 0.4]),
        labels=torch.zeros(2),
    )
    metric = CellMetric(scores=['box_ap', 'box_ap50'])
    metric.dataset_meta = dict(classes=('cell',))
    metric.process({}, [dict(gt_instances=truth, pred_instances=found, ori_shape=(32, 32))])
    scores = metric.evaluate(1)
    assert scores['cell/box_ap50_pooled'] == scores['cell/box_ap_pooled'] == 0.5
