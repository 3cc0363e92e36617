import tracemalloc
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmdet.registry import HOOKS, VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.structures import LabelMapMasks, RoiMasks
from mmcell.visualization.cell_visualizer import CellVisualizer
from mmcell.visualization.overlay import (
    FALSE,
    MATCHED,
    MISSED,
    overlay_boxes,
    overlay_objects,
    overlay_pair,
)
from mmcell.visualization.visualization_hook import CellVisualizationHook


def data_sample(size, gt_map, boxes, scores, img_path=''):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    sample = DetDataSample(metainfo=dict(img_path=str(img_path), ori_shape=size))
    sample.gt_instances = InstanceData(masks=LabelMapMasks.from_label_map(gt_map))
    sample.pred_instances = InstanceData(
        bboxes=boxes,
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=RoiMasks(boxes, torch.ones(len(boxes), 32, 32), size),
    )
    return sample


@pytest.fixture
def one_square():
    gt_map = np.zeros((60, 80), dtype=np.int32)
    gt_map[10:30, 20:40] = 5
    return gt_map, data_sample((60, 80), gt_map, [(20, 10, 40, 30), (50, 40, 60, 50)], [0.9, 0.4])


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 200, (60, 80, 3), dtype=np.uint8)


def drawn(tmp_path, name, *args, **options):
    visualizer = CellVisualizer(name=name)
    visualizer.add_datasample('x', *args, out_file=str(tmp_path / 'x.png'), **options)
    return cv2.imread(str(tmp_path / 'x.png'))[..., ::-1]


def has_color(picture, color):
    return (picture == color).all(axis=2).sum() > 17 * 17  # more than the legend


def test_both_are_registered_in_mmdet(tmp_path):
    visualizer = VISUALIZERS.build(dict(type='CellVisualizer', name='registered'))
    assert isinstance(visualizer, CellVisualizer)
    assert HOOKS.get('CellVisualizationHook') is CellVisualizationHook


def test_ground_truth_beside_prediction(one_square, image, tmp_path):
    gt_map, sample = one_square
    picture = drawn(tmp_path, 'pair', image, sample)
    pred_map = (gt_map > 0).astype(np.int32)  # the second prediction is below the threshold
    np.testing.assert_array_equal(picture, overlay_pair(image, gt_map, pred_map))


def test_threshold_lets_the_unsure_prediction_in(one_square, image, tmp_path):
    _, sample = one_square
    picture = drawn(tmp_path, 'unsure', image, sample, pred_score_thr=0.3)
    pred_map = np.zeros((60, 80), dtype=np.int32)
    pred_map[10:30, 20:40], pred_map[40:50, 50:60] = 1, 2
    expected = overlay_pair(image, one_square[0], pred_map)
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize(
    ('options', 'caption'),
    [(dict(draw_pred=False), 'Ground truth'), (dict(draw_gt=False), 'Prediction')],
)
def test_one_side_alone(one_square, image, options, caption, tmp_path):
    gt_map, sample = one_square
    picture = drawn(tmp_path, caption, image, sample, **options)
    expected = overlay_objects(image, (gt_map > 0).astype(np.int32), caption=caption)
    np.testing.assert_array_equal(picture, expected)


def test_boxes_are_drawn_where_a_detector_has_no_masks(one_square, image, tmp_path):
    _, sample = one_square
    gt = torch.tensor([[20.0, 10, 40, 30], [60, 5, 75, 20]])
    sample.gt_instances = InstanceData(bboxes=HorizontalBoxes(gt))
    del sample.pred_instances.masks
    sample.pred_instances.scores[1] = 0.9
    picture = drawn(tmp_path, 'boxes', image, sample)
    pred = [[20, 10, 40, 30], [50, 40, 60, 50]]
    np.testing.assert_array_equal(picture, overlay_boxes(image, gt, pred))
    alone = drawn(tmp_path, 'alone', image, sample, draw_gt=False, pred_score_thr=0.95)
    np.testing.assert_array_equal(alone, overlay_boxes(image, None, np.zeros((0, 4))))


def test_without_data_sample_the_image_stays(image, tmp_path):
    np.testing.assert_array_equal(drawn(tmp_path, 'plain', image), image)


def test_dense_image_is_drawn_without_one_bitmap_per_object(monkeypatch):
    size, count = (1000, 1000), 2000  # 2 GB as bitmaps

    def refuse(*args):
        raise AssertionError('full-size masks were made')

    for masks in (RoiMasks, LabelMapMasks):
        for name in ('to_bitmaps', 'to_bitmap', 'to_ndarray', 'to_tensor'):
            if hasattr(masks, name):
                monkeypatch.setattr(masks, name, refuse)
    corners = np.stack(np.divmod(np.arange(count) * 20, 1000), 1)[:, ::-1] * (1, 20)
    boxes = np.concatenate([corners, corners + 15], axis=1)
    gt_map = np.zeros(size, dtype=np.int32)
    sample = data_sample(size, gt_map, boxes.tolist(), np.full(count, 0.9).tolist())
    visualizer = CellVisualizer(name='dense')
    tracemalloc.start()
    visualizer.add_datasample('x', np.zeros((*size, 3), dtype=np.uint8), sample)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert has_color(visualizer.get_image(), FALSE)
    assert peak < 200e6


class FakeRunner:
    iter = 0
    timestamp = 'start'
    test_dataloader = SimpleNamespace(dataset=[])

    def __init__(self, work_dir):
        self.work_dir = str(work_dir)


def test_hook_writes_a_png_for_every_test_image_16_bit_tiff_included(tmp_path, one_square):
    gt_map, _ = one_square
    samples = []
    for name in ('ü 1.tif', 'b.tif'):
        intensities = (gt_map > 0).astype(np.uint16) * 3000 + 50  # 12 bits in use
        tifffile.imwrite(tmp_path / name, intensities)
        samples.append(data_sample((60, 80), gt_map, [(50, 40, 60, 50)], [0.9], tmp_path / name))
    CellVisualizer.get_instance('hook')
    hook = CellVisualizationHook(draw=True, test_out_dir='pictures')
    hook.after_test_iter(FakeRunner(tmp_path), 0, {}, samples[:1])
    hook.after_test_iter(FakeRunner(tmp_path), 1, {}, samples[1:])
    folder = tmp_path / 'start' / 'pictures'
    assert sorted(p.name for p in folder.iterdir()) == ['b.png', 'ü 1.png']
    picture = cv2.imread(str(folder / 'b.png'))[..., ::-1]
    assert has_color(picture, MISSED) and has_color(picture, FALSE)
    assert not has_color(picture, MATCHED)
    assert (picture == 255).all(axis=2).sum() > 20 * 20 * 36  # the object is bright, not black


@pytest.mark.parametrize(
    ('asked', 'shown'),
    [(dict(), {5, 6}), (dict(score_thr=0.5), {5}), (dict(score_thr=0.1), {5, 6, 7})],
)
def test_hook_draws_what_is_scored(tmp_path, monkeypatch, asked, shown):
    boxes = [(20, 10, 40, 30), (50, 40, 60, 50), (0, 40, 9, 50), (18, 9, 40, 30)]
    sample = data_sample((60, 80), np.zeros((60, 80), int), boxes, [0.9, 0.4, 0.2, 0.6], 'x.png')
    places = {5: (20, 30), 6: (45, 55), 7: (45, 4), 8: (9, 19)}  # 8 is hidden by 5 but for a rim
    monkeypatch.setattr(
        'mmcell.visualization.visualization_hook.read_image',
        lambda path: np.zeros((60, 80, 3), np.uint8),
    )
    drawn = []
    monkeypatch.setattr(
        'mmcell.visualization.cell_visualizer.overlay_pair',
        lambda image, gt, pred, title: drawn.append(pred) or image,
    )
    CellVisualizer.get_instance(f'scored {asked}')
    runner = FakeRunner(tmp_path)
    runner.val_evaluator = Evaluator([CellMetric(score_threshold=0.7)])
    runner.test_evaluator = Evaluator([CellMetric(score_threshold=0.3, min_visible=0.3)])
    hook = CellVisualizationHook(draw=True, test_out_dir='pictures', **asked)
    hook.before_val(runner)
    hook.before_test(runner)
    hook.after_test_iter(runner, 0, {}, [sample])
    (pred,) = drawn
    assert {name for name, place in places.items() if pred[place]} == shown


def test_pictures_of_images_that_share_a_stem_are_told_apart(tmp_path, one_square):
    names = ('a/1.png', 'b/1.png', '2.png', '1_1.png')
    samples = []
    for img_id, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((60, 80, 3), np.uint8))
        samples.append(data_sample((60, 80), one_square[0], [], [], tmp_path / name))
        samples[-1].set_metainfo(dict(img_id=img_id))
    CellVisualizer.get_instance('shared')
    hook = CellVisualizationHook(draw=True, test_out_dir='pictures')
    runner = FakeRunner(tmp_path)
    runner.test_evaluator = Evaluator([])
    dataset = BaseDataset(serialize_data=False, lazy_init=True)
    dataset.data_list = [dict(img_path=s.img_path, img_id=s.img_id) for s in samples]
    dataset._fully_initialized = True
    runner.test_dataloader = SimpleNamespace(dataset=dataset)
    hook.before_test(runner)
    hook.after_test_iter(runner, 0, {}, samples)
    pictures = sorted(path.name for path in (tmp_path / 'start' / 'pictures').iterdir())
    assert pictures == ['1_0.png', '1_1.png', '1_1_3.png', '2.png']


def test_every_process_draws_the_images_it_tests(one_square, image, tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda group=None: False)
    picture = drawn(tmp_path, 'second', image, one_square[1])
    assert has_color(picture, MATCHED)


def test_hook_draws_nothing_unless_asked(tmp_path, one_square):
    CellVisualizer.get_instance('quiet')
    hook = CellVisualizationHook(test_out_dir=str(tmp_path / 'pictures'))
    hook.after_test_iter(FakeRunner(tmp_path), 0, {}, [one_square[1]])
    hook.after_val_iter(FakeRunner(tmp_path), 0, {}, [one_square[1]])
    assert not (tmp_path / 'pictures').exists()
