import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.models.keypoint_heads.center_keypoint_head import pixel_index_boxes
from mmcell.structures import LabelMapMasks

LOSSES = {'loss_center_heatmap', 'loss_wh', 'loss_offset', 'loss_mask', 'loss_point_refine'}


@pytest.fixture
def build(model_config, shrink):
    def build(num_classes=1, side_cells=4.0, **changes):
        """Tiny, with boxes of ``side_cells`` * 4 px at every peak before it is trained."""
        cfg = Config(dict(model=shrink(model_config('object_guided_r18_tiny'), num_classes)))
        cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        torch.nn.init.constant_(model.bbox_head.wh_head[-1].bias, side_cells)
        return model

    return build


def grid_of_objects(boxes, size):
    """A batch of one image with full rectangles."""
    label_map = np.zeros(size, dtype=np.int32)
    image = np.zeros((3, *size), dtype=np.uint8)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        label_map[y1:y2, x1:x2] = k + 1
        image[:, y1:y2, x1:x2] = 200
    masks = LabelMapMasks([label_map], np.arange(1, len(boxes) + 1))
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)))
    sample.gt_instances = InstanceData(
        bboxes=masks.get_bboxes('hbox').tensor,
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=masks,
    )
    return dict(inputs=[torch.from_numpy(image)], data_samples=[sample])


def step(model, batch):
    losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    return losses


@pytest.mark.parametrize('counts', [(3,), (3, 2), (0, 2), (0, 0)])
def test_a_step_has_every_loss_and_a_gradient_everywhere(build, losses_of, counts):
    model = build()
    losses = losses_of(model, counts=counts)
    assert set(losses) == LOSSES
    model.parse_losses(losses)[0].backward()
    assert all(value.isfinite() for value in losses.values())
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_images_of_different_size_and_several_classes(build, losses_of, predictions_of):
    model = build(num_classes=3)
    arguments = dict(counts=(3, 2), num_classes=3, sizes=[(64, 64), (50, 90)])
    assert all(value.isfinite() for value in losses_of(model, **arguments).values())
    samples = predictions_of(model, **arguments)
    assert [s.pred_instances.masks.image_size for s in samples] == [(64, 64), (50, 90)]


def test_without_refinement_only_its_loss_is_missing(build, losses_of):
    with_refinement, without = build(), build(point_head=None)
    without.load_state_dict(
        {k: v for k, v in with_refinement.state_dict().items() if 'point_head' not in k}
    )
    found, expected = losses_of(without), losses_of(with_refinement)
    assert set(found) == LOSSES - {'loss_point_refine'}
    for name in found:
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_under_autocast_losses_are_float32_and_close(build, losses_of, predictions_of, dtype):
    model = build()
    exact = losses_of(model)
    with torch.autocast('cpu', dtype):
        rounded = losses_of(model)
        (sample,) = predictions_of(model, counts=(2,))
    for name in LOSSES:
        assert rounded[name].dtype == torch.float32
        torch.testing.assert_close(rounded[name], exact[name], rtol=0.05, atol=0.02)
    assert len(sample.pred_instances) > 0


def test_a_batch_gives_what_its_images_give_alone(build, predictions_of):
    model = build()
    together = predictions_of(model, counts=(3, 2))
    assert all(len(sample.pred_instances) for sample in together)
    (alone,) = (s.pred_instances for s in predictions_of(model, counts=(3,)))
    first = together[0].pred_instances
    torch.testing.assert_close(first.bboxes, alone.bboxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(first.scores, alone.scores, rtol=0, atol=1e-4)


@pytest.fixture
def scores_of(build, predictions_of, cells):
    def score(perfect=False, **changes):
        """Predictions on an image of two objects, and their scores."""
        model = build(**changes)
        truth = cells(counts=(2,))['data_samples'][0].gt_instances
        if perfect:
            boxes = pixel_index_boxes(torch.as_tensor(truth.bboxes)) / model.bbox_head.stride
            centers = (boxes[:, :2] + boxes[:, 2:]) / 2
            x, y = centers.long().unbind(1)
            heatmap, sizes, offsets = (torch.zeros(1, n, 16, 16) for n in (1, 2, 2))
            heatmap[0, :, y, x] = 1
            sizes[0, :, y, x] = (boxes[:, 2:] - boxes[:, :2]).T
            offsets[0, :, y, x] = (centers - centers.floor()).T
            model.bbox_head.forward = lambda features: ([heatmap], [sizes], [offsets])
        (sample,) = predictions_of(model, counts=(2,))
        sample.gt_instances = truth
        metric = CellMetric(scores=['box_ap', 'ap', 'ap50', 'ap75', 'aji'], score_threshold=0.0)
        metric.dataset_meta = dict(classes=('cell',))
        metric.process({}, [sample.to_dict()])
        return sample.pred_instances, metric.evaluate(1)

    return score


def test_no_peak_gives_empty_predictions_that_evaluate(scores_of):
    found, scores = scores_of(**{'test_cfg.score_thr': 0.99})
    assert len(found) == len(found.masks) == 0
    assert scores['cell/ap50_pooled'] == scores['cell/box_ap_pooled'] == scores['cell/aji'] == 0


def test_predictions_are_scored_with_the_papers_average_precision(scores_of):
    found, scores = scores_of(perfect=True)
    assert len(found) == 2
    assert scores['cell/box_ap_pooled'] == 1
    assert 0 <= scores['cell/ap75_pooled'] <= scores['cell/ap50_pooled'] <= 1  # masks are untrained


def test_objects_on_every_border_and_of_one_pixel_train(build):
    boxes = [[0, 0, 10, 8], [54, 0, 64, 9], [0, 50, 9, 64], [52, 53, 64, 64]]
    boxes += [[30, 0, 31, 1], [0, 30, 1, 31], [63, 30, 64, 31], [30, 63, 31, 64]]
    losses = step(build(), grid_of_objects(boxes, (64, 64)))
    assert all(value.isfinite() for value in losses.values())


def test_an_object_as_large_as_the_image_trains_and_larger_boxes_are_predicted(
    build, predictions_of
):
    losses = step(build(), grid_of_objects([[0, 0, 64, 64]], (64, 64)))
    assert all(value.isfinite() for value in losses.values())
    (sample,) = predictions_of(build(side_cells=100.0), counts=(2,))
    found = sample.pred_instances
    assert len(found) > 0
    assert found.bboxes[0].tolist() == [0, 0, 64, 64]


def test_two_thousand_objects_in_one_image(build):
    boxes = [[x, y, x + 6, y + 7] for y in range(0, 400, 8) for x in range(0, 320, 8)]
    assert len(boxes) == 2000
    model = build(side_cells=2.0, **{'mask_head.max_rois': None, 'test_cfg.max_per_img': 4000})
    losses = step(model, grid_of_objects(boxes, (400, 320)))
    assert all(value.isfinite() for value in losses.values())
    model.eval()
    # Every cell is a peak where the heatmap is constant.
    for branch in (model.bbox_head.heatmap_head,):
        torch.nn.init.zeros_(branch[-1].weight)
        torch.nn.init.zeros_(branch[-1].bias)
    data = model.data_preprocessor(grid_of_objects(boxes, (400, 320)), training=False)
    model.mask_head.test_cfg.mask_nms = None
    with torch.no_grad():
        (sample,) = model.predict(data['inputs'], data['data_samples'])
    found = sample.pred_instances
    assert len(found.masks) == len(found) > 1500
