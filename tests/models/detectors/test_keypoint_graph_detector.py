import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch.profiler import ProfilerActivity, profile

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.functional.keypoint_graph_targets import multi_scale_targets
from mmcell.models.keypoint_heads.keypoint_graph_head import GraphMaps
from mmcell.structures import RoiMasks

LOSSES = {
    f'loss_{kind}_s{scale}'
    for kind in ('heatmap', 'short_offsets', 'mid_offsets')
    for scale in (1, 2, 3, 4)
} | {'loss_mask'}
CERTAIN = 30.0
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')


@pytest.fixture
def detector(model_config, shrink):
    """``detector(**changes)`` with dotted keys builds the tiny detector, still narrower."""

    def build(**changes):
        cfg = Config(dict(model=shrink(model_config('keypoint_graph_r18_tiny'))))
        cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
        torch.manual_seed(0)
        return MODELS.build(cfg.model)

    return build


def make_perfect(model, label_maps):
    """Let the network give perfect maps for ``label_maps``, and masks that fill their boxes."""
    maps = [
        GraphMaps((2 * targets.heatmaps - 1) * CERTAIN, *targets[1:])
        for targets in multi_scale_targets(label_maps)
    ]
    model.bbox_head.forward = lambda features: maps
    model.bbox_head.test_cfg.peak_threshold = 0.004
    torch.nn.init.zeros_(model.mask_head.predict.weight)
    torch.nn.init.constant_(model.mask_head.predict.bias, CERTAIN)
    return model


def truth_of(cells, **kwargs):
    masks = [sample.gt_instances.masks for sample in cells(**kwargs)['data_samples']]
    return torch.stack([torch.from_numpy(m.to_label_map()).long() for m in masks])


@pytest.mark.parametrize('counts', [(3,), (3, 2), (1, 2, 3)])
def test_losses_of_every_scale_and_of_the_masks_for_any_batch_size(detector, losses_of, counts):
    model = detector()
    losses = losses_of(model, counts=counts)
    assert set(losses) == LOSSES
    _, log = model.parse_losses(losses)
    assert all(value.isfinite() for value in log.values())
    # Squares of 16 px have keypoints on the first scale alone.
    assert all(log[name] > 0 for name in LOSSES if 'offsets' not in name or name.endswith('s1'))


def test_every_parameter_gets_a_gradient(detector, losses_of):
    model = detector(**{'bbox_head.min_side_px': 2})
    model.parse_losses(losses_of(model))[0].backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # 16 pixels are too few for conv4, and for the layers that join it.
    assert [name for name in without if 'mask_head.combinations.3' not in name] == []


def test_images_of_different_size_and_without_objects_train(detector, losses_of):
    model = detector()
    losses = losses_of(model, counts=(0, 2), sizes=[(64, 64), (50, 61)])
    assert all(value.isfinite() for value in losses.values())
    losses = losses_of(model, counts=(0, 0))
    assert losses['loss_mask'] == losses['loss_mid_offsets_s1'] == 0
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_fifteen_steps_lower_the_loss_of_a_batch(detector, losses_of):
    model = detector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(16):
        loss, _ = model.parse_losses(losses_of(model))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.7 * history[0]


@pytest.mark.parametrize('mode', ['branch', 's1'])
def test_masks_come_from_the_branch_or_from_the_finest_scale(detector, losses_of, mode):
    levels = [16, 8, 8, 16, 32] if mode == 'branch' else [16]
    model = detector(segment_from=mode, **{'mask_head.in_channels': levels})
    losses_of(model)['loss_mask'].backward()
    through_decoder = any(p.grad is not None and p.grad.any() for p in model.neck.parameters())
    assert through_decoder == (mode == 's1')


def test_single_scale(detector, losses_of, predictions_of):
    model = detector(**{'bbox_head.scales': (0,)})
    assert set(losses_of(model)) == {name for name in LOSSES if name.endswith(('s1', 'mask'))}
    assert isinstance(predictions_of(model)[0].pred_instances.masks, RoiMasks)


def test_perfect_maps_give_the_objects_at_their_own_resolution(detector, cells, predictions_of):
    model = make_perfect(detector(), truth_of(cells))
    for sample in predictions_of(model):
        found, truth = sample.pred_instances, sample.gt_instances
        assert sorted(found.bboxes.tolist()) == sorted(truth.bboxes.tolist())
        assert found.masks[0].probs.shape == (1, 16, 16)
        assert found.masks.boxes.equal(found.bboxes)
        painted = found.masks.to_label_map(found.scores) > 0
        assert (painted.numpy() == (truth.masks.to_label_map() > 0)).all()


def test_perfect_maps_have_every_score(detector, cells, predictions_of):
    model = make_perfect(detector(), truth_of(cells))
    metric = CellMetric(scores=['ap', 'ap50', 'box_ap', 'box_ap50', 'aji', 'pq'])
    metric.dataset_meta = dict(classes=('nucleus',))
    metric.process(None, [sample.to_dict() for sample in predictions_of(model)])
    results = metric.compute_metrics(metric.results)
    pooled = ('ap', 'ap50', 'box_ap', 'box_ap50', 'pq')
    assert {name: results[f'{name}_pooled'] for name in pooled} == dict.fromkeys(pooled, 1.0)
    assert results['aji'] == 1


def test_results_are_given_in_pixels_of_the_original_image(detector, cells, predictions_of):
    model = make_perfect(detector(), truth_of(cells, counts=(2,)))
    (small,) = predictions_of(model, counts=(2,), scale_factor=2.0)
    (asis,) = predictions_of(model, counts=(2,), scale_factor=2.0, rescale=False)
    assert small.pred_instances.bboxes.equal(asis.pred_instances.bboxes / 2)
    assert small.pred_instances.masks.image_size == (32, 32)
    assert small.pred_instances.masks.boxes.equal(small.pred_instances.bboxes)


def test_a_batch_predicts_what_each_image_does_alone(detector, cells, predictions_of):
    model = detector()
    together = predictions_of(model, counts=(3, 0, 2))
    data = model.data_preprocessor(cells(counts=(3, 0, 2)), training=False)
    for k, sample in enumerate(together):
        with torch.no_grad():
            (alone,) = model.predict(data['inputs'][k : k + 1], data['data_samples'][k : k + 1])
        found, expected = sample.pred_instances, alone.pred_instances
        assert len(found) == len(expected) > 0
        assert found.bboxes.equal(expected.bboxes)
        torch.testing.assert_close(found.scores, expected.scores)


def test_overlapping_masks_are_dropped_on_request(detector, cells, predictions_of):
    labels = truth_of(cells, counts=(2,))
    counts = []
    for iou in (None, 0.3):
        # All boxes of all scales stay, three of each object; masks decide.
        model = make_perfect(detector(**{'test_cfg.mask_nms': iou}), labels)
        model.bbox_head.test_cfg.nms_iou = 1.0
        maps = model.bbox_head([])
        shifted = [values.roll(1, dims=3) for values in maps[0]]
        model.bbox_head.scales = (0, 0)
        twice = [maps[0], GraphMaps(*shifted)]
        model.bbox_head.forward = lambda features, twice=twice: twice
        counts.append(len(predictions_of(model, counts=(2,))[0].pred_instances))
    assert counts == [4, 2]


def test_scores_may_follow_the_masks(detector, predictions_of):
    (plain,) = predictions_of(detector(), counts=(2,))
    (found,) = predictions_of(detector(**{'test_cfg.mask_score_weight': 1.0}), counts=(2,))
    quality = plain.pred_instances.masks.expected_iou()
    assert len(quality) > 1
    assert found.pred_instances.scores.equal(quality.sort(descending=True).values)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_trains_and_predicts(detector, losses_of, predictions_of, dtype):
    model = detector()
    full = {name: value.item() for name, value in losses_of(model).items()}
    with torch.autocast('cpu', dtype):
        losses = losses_of(model)
        (sample,) = predictions_of(model, counts=(2,))
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(full[name], rel=0.1, abs=0.02), name
    assert sample.pred_instances.scores.dtype == torch.float32
    assert sample.pred_instances.scores.isfinite().all()


def test_images_without_anything_found_have_empty_results(detector, predictions_of):
    model = detector(**{'test_cfg.peak_threshold': 1.0})
    for sample in predictions_of(model):
        found = sample.pred_instances
        assert len(found) == len(found.masks) == len(found.bboxes) == 0
        assert found.masks.to_label_map(found.scores).shape == (64, 64)


@pytest.mark.filterwarnings('ignore:.*Profiler clears events')  # torch 2.11
def test_2000_objects_never_take_a_full_size_map_each(detector):
    side, pitch = 900, 20
    labels = torch.zeros(side, side, dtype=torch.long)
    for k in range(2000):
        y, x = pitch * (k // 45), pitch * (k % 45)
        labels[y : y + 16, x : x + 18] = k + 1
    limits = {'test_cfg.max_per_img': 3000, 'test_cfg.max_keypoints': 30000}
    model = make_perfect(detector(**limits), labels[None]).eval()
    meta = dict(img_shape=(side, side), ori_shape=(side, side), scale_factor=(1.0, 1.0))
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        (result,) = model.predict(torch.zeros(1, 3, side, side), [DetDataSample(metainfo=meta)])
    assert len(result.pred_instances) == 2000
    largest = max(event.self_cpu_memory_usage for event in run.events())
    assert largest < 2000 * side**2 / 8


def test_nothing_is_learned_inside_ignored_objects(detector, cells):
    model = detector()
    data = model.data_preprocessor(cells(counts=(3, 2)), training=True)
    samples = data['data_samples']
    plain = model.loss(data['inputs'], samples)
    for sample in samples:
        sample.ignored_instances = sample.gt_instances[:1]
        sample.gt_instances = sample.gt_instances[1:]
    maps = model.bbox_head(model._extract_levels(data['inputs'])[0])
    losses = model.loss(data['inputs'], samples)
    truth = torch.stack([torch.from_numpy(s.gt_instances.masks.to_label_map()) for s in samples])
    crowd = torch.stack(
        [torch.from_numpy(s.ignored_instances.masks.to_label_map()) for s in samples]
    )
    targets = multi_scale_targets(truth.long())[0].heatmaps
    counted = ~((crowd > 0)[:, None] & (targets == 0))
    cells_loss = torch.nn.functional.binary_cross_entropy_with_logits(
        maps[0].heatmap_logits, targets, reduction='none'
    )
    expected = model.bbox_head.weights[0] * cells_loss[counted].mean()
    torch.testing.assert_close(losses['loss_heatmap_s1'], expected)
    assert losses['loss_heatmap_s1'] != plain['loss_heatmap_s1']


def test_the_limit_of_keypoints_reaches_the_result(detector, cells):
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[0, 4:24, 4:24], labels[0, 34:54, 34:54] = 1, 2
    meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0))
    for limit, expected in ((100, None), (7, ('model.test_cfg.max_keypoints=7',))):
        model = make_perfect(detector(**{'test_cfg.max_keypoints': limit}), labels).eval()
        with torch.no_grad():
            (result,) = model.predict(torch.zeros(1, 3, 64, 64), [DetDataSample(metainfo=meta)])
        assert len(result.pred_instances) > 0
        assert result.pred_instances.get('limits_reached') == expected


def test_annotations_must_be_label_maps(detector, cells):
    model = detector()
    data = model.data_preprocessor(cells(), training=True)
    for sample in data['data_samples']:
        sample.gt_instances.masks = sample.gt_instances.masks.to_tensor(torch.bool, 'cpu')
    with pytest.raises(ValueError, match='LabelMapMasks, got Tensor: put LoadCellAnnotations'):
        model(**data, mode='loss')


def test_unknown_source_of_masks(detector):
    with pytest.raises(ValueError, match="'branch' or 's1', got 's2'"):
        detector(segment_from='s2')


@pytest.mark.parametrize(('mode', 'levels'), [('s1', 5), ('branch', 1)])
def test_mask_head_must_be_made_for_its_source(detector, mode, levels):
    channels = [16, 8, 8, 16, 32][:levels]
    with pytest.raises(ValueError, match=f"got {levels} for '{mode}'"):
        detector(segment_from=mode, **{'mask_head.in_channels': channels})


@needs_cuda
def test_cuda_equals_cpu(detector, losses_of):
    model = detector()
    expected = losses_of(model)
    found = losses_of(model.cuda())
    for name, value in found.items():
        torch.testing.assert_close(value.cpu(), expected[name], rtol=1e-3, atol=1e-4)
