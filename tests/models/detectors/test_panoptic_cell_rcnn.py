import numpy as np
import pytest
import torch
from mmdet.models.detectors import MaskRCNN
from mmdet.registry import MODELS
from mmengine.structures import InstanceData

from mmcell.models.detectors.panoptic_cell_rcnn import PanopticCellRCNN
from mmcell.structures import LabelMapMasks, RoiMasks

MASK_RCNN_LOSSES = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'loss_mask'}
SEMANTIC_LOSSES = {'loss_semantic', 'loss_instance_semantic', 'loss_consistency'}
PFFNET_LOSSES = MASK_RCNN_LOSSES | {'loss_mask_quality'} | SEMANTIC_LOSSES
CELL_RCNN_V2 = {  # replacement instead of RAFF, no quality, no consistency, weights of 1
    'roi_head.mask_quality_head': None,
    'instance_semantic_head.mode': 'replacement',
    'instance_semantic_head.loss_weight': 1.0,
    'semantic_head.loss_weight': 1.0,
    'loss_consistency': None,
}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')


def total(model, losses):
    return model.parse_losses(losses)[0]


def assert_finite(model, losses):
    log = model.parse_losses(losses)[1]
    assert [name for name, value in log.items() if not value.isfinite()] == []


@pytest.mark.parametrize(
    ('counts', 'num_classes'), [((3,), 1), ((3, 2), 3), ((1, 2, 3), 1), ((1, 2, 3), 3)]
)
def test_nine_losses_for_any_batch_size_and_number_of_classes(
    tiny_model, losses_of, counts, num_classes
):
    model = tiny_model(num_classes=num_classes)
    losses = losses_of(model, counts=counts, num_classes=num_classes)
    assert set(losses) == PFFNET_LOSSES | {'acc'}
    assert_finite(model, losses)
    _, log = model.parse_losses(losses)
    assert all(log[name] > 0 for name in PFFNET_LOSSES)


def test_total_is_the_sum_of_eq_5(tiny_model, losses_of):
    model = tiny_model()
    once, log = model.parse_losses(losses_of(model))
    torch.testing.assert_close(once, sum(log[name] for name in PFFNET_LOSSES))
    model.semantic_head.loss_weight *= 2
    model.instance_semantic_head.loss_weight *= 2
    model.loss_consistency.loss_weight *= 3
    twice = total(model, losses_of(model))
    more = log['loss_semantic'] + log['loss_instance_semantic'] + 2 * log['loss_consistency']
    torch.testing.assert_close(twice - once, more, rtol=1e-4, atol=1e-5)


def test_weights_are_the_papers(model_config):
    with torch.device('meta'):
        model = MODELS.build(model_config('pffnet_r101_gn'))
    assert model.semantic_head.loss_weight == model.instance_semantic_head.loss_weight == 0.1
    assert model.loss_consistency.loss_weight == model.roi_head.mask_quality_head.loss_weight == 1


def test_systems_start_from_the_same_features_at_one_seed(tiny_model):
    pffnet, mask_rcnn, again = (
        tiny_model(name) for name in ('pffnet_r18_tiny', 'mask_rcnn_r18_tiny', 'pffnet_r18_tiny')
    )
    for model, seed in ((pffnet, 3), (mask_rcnn, 3), (again, 4)):
        torch.manual_seed(seed)
        torch.rand(len(model.state_dict()))  # as building the heads: more for some systems
        model.init_weights()
    shared = [
        name
        for name, weight in mask_rcnn.state_dict().items()
        if name.startswith(('backbone.', 'neck.', 'rpn_head.')) and weight.std() > 0
    ]
    first, second, other = (model.state_dict() for model in (pffnet, mask_rcnn, again))
    assert len(shared) > 20
    assert [name for name in shared if not torch.equal(first[name], second[name])] == []
    assert not any(torch.equal(first[name], other[name]) for name in shared)


@pytest.mark.parametrize('num_classes', [1, 3])
def test_every_parameter_gets_a_gradient(tiny_model, losses_of, num_classes):
    model = tiny_model(num_classes=num_classes)
    total(model, losses_of(model, num_classes=num_classes)).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_semantics_are_learned_in_every_nth_iteration(tiny_model, losses_of):
    always = losses_of(tiny_model(changes={'semantic_interval': 1}))
    assert set(always) == PFFNET_LOSSES | {'acc'}
    model = tiny_model(changes={'semantic_interval': 3})
    for iteration in range(7):
        losses = losses_of(model, iteration=iteration)
        semantic = set() if iteration % 3 else SEMANTIC_LOSSES
        assert set(losses) == MASK_RCNN_LOSSES | {'loss_mask_quality', 'acc'} | semantic
        torch.testing.assert_close(losses, {name: always[name] for name in losses})


def test_ten_steps_lower_the_loss_of_a_batch(tiny_model, losses_of):
    model = tiny_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(11):
        loss = total(model, losses_of(model))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]


@pytest.mark.parametrize('counts', [(2, 0), (0, 2), (0,), (0, 0)])
def test_images_without_objects_train(tiny_model, losses_of, counts):
    model = tiny_model()
    losses = losses_of(model, counts=counts)
    assert set(losses) == PFFNET_LOSSES | {'acc'}
    assert_finite(model, losses)
    if not any(counts):
        _, log = model.parse_losses(losses)
        assert log['loss_mask'] == log['loss_mask_quality'] == log['loss_bbox'] == 0
    total(model, losses).backward()
    # Distributed training waits for the gradient of every parameter.
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_images_of_different_size_are_padded_and_their_padding_ignored(tiny_model, cells):
    model = tiny_model().eval()
    sizes = [(64, 64), (40, 52)]
    data = model.data_preprocessor(cells(counts=(3, 1), sizes=sizes), training=True)
    target = torch.cat([sample.gt_sem_seg.sem_seg for sample in data['data_samples']])
    assert target.shape == (2, 64, 64)
    padding = torch.ones(64, 64, dtype=torch.bool)
    padding[:40, :52] = False
    assert (target[1] == 255).equal(padding)
    scores = torch.randn(2, 2, 64, 64)
    changed = scores.clone()
    changed[1, :, padding] = 9.0
    for part in (model.semantic_head, model.instance_semantic_head):
        torch.testing.assert_close(part.loss(scores, target), part.loss(changed, target))
    assert_finite(model, model.loss(data['inputs'], data['data_samples']))


def test_ignored_regions_and_labels_of_the_batch_are_left_as_they_are(tiny_model, cells):
    model = tiny_model(num_classes=3)
    data = model.data_preprocessor(cells(counts=(3, 2), num_classes=3), training=True)
    samples = data['data_samples']
    for sample in samples:
        sample.ignored_instances = sample.gt_instances[:1]
        sample.gt_instances = sample.gt_instances[1:]
    before = [sample.gt_instances.labels.clone() for sample in samples]
    assert_finite(model, model.loss(data['inputs'], samples))
    for sample, labels in zip(samples, before, strict=True):
        assert sample.gt_instances.labels.equal(labels)  # the RPN learns without classes


def test_boxes_inside_ignored_objects_are_no_background(tiny_model):
    model = tiny_model()
    objects = InstanceData(bboxes=torch.tensor([[0.0, 0, 10, 10]]), labels=torch.zeros(1).long())
    ignored = InstanceData(bboxes=torch.tensor([[20.0, 20, 60, 60]]))
    boxes = [[0, 0, 10, 10], [25, 25, 45, 45], [70, 0, 80, 10]]
    for assigner in (model.rpn_head.assigner, model.roi_head.bbox_assigner):
        priors = InstanceData(priors=torch.tensor(boxes).float())
        assert assigner.assign(priors, objects, ignored).gt_inds.tolist() == [1, -1, 0]
        everywhere = InstanceData(bboxes=torch.tensor([[0.0, 0, 100, 80]]))
        assert assigner.assign(priors, objects, everywhere).gt_inds.tolist() == [1, -1, -1]
        # The pixels of a crowd count, not the box around all of them.
        label_map = np.zeros((80, 100), dtype=np.int32)
        label_map[:60:4, :60], label_map[70:, 90:] = 1, 1
        label_map[25:45, 25:37] = 1
        everywhere.masks = LabelMapMasks.from_label_map(label_map)
        assert assigner.assign(priors, objects, everywhere).gt_inds.tolist() == [1, -1, 0]


def test_features_that_are_not_finite_are_refused(tiny_model, cells):
    model = tiny_model().eval()
    data = model.data_preprocessor(cells(counts=(1, 1)))
    data['inputs'][1, :, 10, 10] = float('nan')
    for sample, name in zip(data['data_samples'], ('good.png', 'bad.png'), strict=True):
        sample.set_metainfo(dict(img_path=name))
    with torch.no_grad(), pytest.raises(ValueError, match='NaN or infinite features for bad.png: '):
        model.predict(data['inputs'], data['data_samples'])


def test_cell_rcnn_v2_has_its_losses(tiny_model, losses_of):
    model = tiny_model(changes=CELL_RCNN_V2)
    losses = losses_of(model)
    assert set(losses) == MASK_RCNN_LOSSES | {'loss_semantic', 'loss_instance_semantic', 'acc'}
    assert_finite(model, losses)


def test_cell_rcnn_is_mask_rcnn_with_a_semantic_branch(model_config, tiny_model, losses_of):
    semantic_head = model_config('pffnet_r18_tiny').semantic_head
    semantic_head.in_channels = [8, 16, 32, 64]
    model = tiny_model('mask_rcnn_r18_tiny', changes={'semantic_head': semantic_head})
    losses = losses_of(model)
    assert set(losses) == MASK_RCNN_LOSSES | {'loss_semantic', 'acc'}
    assert_finite(model, losses)


def test_without_semantic_heads_it_is_mmdetections_mask_rcnn(tiny_model, losses_of, predictions_of):
    ours = tiny_model('mask_rcnn_r18_tiny', num_classes=3)
    theirs = tiny_model('mask_rcnn_r18_tiny', num_classes=3, changes={'type': 'MaskRCNN'})
    assert type(ours) is PanopticCellRCNN
    assert type(theirs) is MaskRCNN
    theirs.load_state_dict(ours.state_dict())
    losses = [losses_of(model, num_classes=3) for model in (ours, theirs)]
    torch.testing.assert_close(*losses, rtol=0, atol=0)
    for mine, reference in zip(predictions_of(ours), predictions_of(theirs), strict=True):
        mine, reference = mine.pred_instances, reference.pred_instances
        assert len(mine) > 0
        assert mine.bboxes.equal(reference.bboxes)
        assert mine.masks.probs.equal(reference.masks.probs)


def test_prediction_has_boxes_scores_and_masks_in_their_boxes(tiny_model, predictions_of):
    model = tiny_model(num_classes=3, changes={'test_cfg.rcnn.mask_enlarge': 1.0})
    for sample in predictions_of(model, scale_factor=2.0, num_classes=3):
        found = sample.pred_instances
        assert len(found) > 0
        assert isinstance(found.masks, RoiMasks)
        assert found.masks.image_size == sample.ori_shape == (32, 32)
        assert found.masks.boxes.equal(found.bboxes)
        assert (found.bboxes >= 0).all() and (found.bboxes <= 32).all()
        assert ((found.mask_scores > 0) & (found.mask_scores < found.scores)).all()
        assert 'pred_sem_seg' not in sample


def test_nothing_detected_is_a_prediction_too(tiny_model, predictions_of):
    model = tiny_model(changes={'test_cfg.rcnn.score_thr': 1.1})
    for sample in predictions_of(model, return_semantic=True):
        found = sample.pred_instances
        assert len(found) == len(found.masks) == len(found.mask_scores) == 0
        assert not found.masks.to_label_map(found.mask_scores).any()


def test_objects_of_any_size_of_image_are_in_pixels_of_the_image(tiny_model, predictions_of):
    sample = predictions_of(tiny_model(), counts=(3,), sizes=[(61, 75)])[0]
    found = sample.pred_instances
    assert sample.img_shape == (64, 64)
    assert found.masks.image_size == (61, 75)
    assert len(found) and found.bboxes[:, 2].max() > 64  # of the 64 that the network saw
    assert (found.bboxes <= torch.tensor([75, 61, 75, 61]) + 1e-3).all()


def test_semantic_parts_rest_at_test_time(tiny_model, predictions_of, monkeypatch):
    model = tiny_model()

    def refuse(*args):
        raise AssertionError('ran at test time')

    for part in (model.semantic_head, model.instance_semantic_head, model.loss_consistency):
        monkeypatch.setattr(part, 'forward', refuse)
    assert len(predictions_of(model)[0].pred_instances) > 0
    monkeypatch.undo()
    monkeypatch.setattr(model.instance_semantic_head, 'forward', refuse)
    predictions_of(model, return_semantic=True)


@pytest.mark.parametrize('rescale', [True, False])
def test_semantic_map_comes_on_request_without_padding(tiny_model, predictions_of, rescale):
    model = tiny_model(num_classes=3)
    options = dict(counts=(3, 2), sizes=[(64, 64), (48, 56)], scale_factor=2.0, num_classes=3)
    plain = predictions_of(model, rescale, **options)
    samples = predictions_of(model, rescale, return_semantic=True, **options)
    for sample, other in zip(samples, plain, strict=True):
        size = sample.ori_shape if rescale else sample.img_shape
        semantic = sample.pred_sem_seg
        assert semantic.probs.shape == (4, *size)
        torch.testing.assert_close(semantic.probs.sum(0), torch.ones(size))
        assert semantic.sem_seg.equal(semantic.probs.argmax(0, keepdim=True))
        assert sample.pred_instances.bboxes.equal(other.pred_instances.bboxes)


def test_semantic_map_is_the_branchs_softmax(tiny_model, cells, predictions_of):
    model = tiny_model()
    sample = predictions_of(model, return_semantic=True, counts=(3,))[0]
    data = model.data_preprocessor(cells(counts=(3,)), training=False)
    with torch.no_grad():
        logits = model.semantic_head(model.backbone(data['inputs']), (64, 64))
    torch.testing.assert_close(sample.pred_sem_seg.probs, logits[0].softmax(0))


def test_semantic_map_of_a_model_without_semantic_branch_is_refused(tiny_model, predictions_of):
    with pytest.raises(ValueError, match='return_semantic needs a model with a semantic_head'):
        predictions_of(tiny_model('mask_rcnn_r18_tiny'), return_semantic=True)


@pytest.mark.parametrize('missing', ['semantic_head', 'instance_semantic_head'])
def test_consistency_without_both_heads_is_refused(tiny_model, missing):
    with pytest.raises(ValueError, match='needs semantic_head and instance_semantic_head'):
        tiny_model(changes={missing: None})


def test_semantic_interval_below_one_is_refused(tiny_model):
    with pytest.raises(ValueError, match='semantic_interval must be at least 1, got 0'):
        tiny_model(changes={'semantic_interval': 0})


def test_missing_semantic_target_is_refused_with_the_remedy(tiny_model, cells):
    model = tiny_model()
    batch = cells()
    for sample in batch['data_samples']:
        del sample.gt_sem_seg
    data = model.data_preprocessor(batch, training=True)
    with pytest.raises(ValueError, match='put SemanticFromInstances before PackDetInputs'):
        model.loss(data['inputs'], data['data_samples'])


def test_semantic_target_without_padding_is_refused_with_the_remedy(tiny_model, cells):
    model = tiny_model(changes={'data_preprocessor.pad_seg': False})
    data = model.data_preprocessor(cells(counts=(3,), sizes=[(60, 64)]), training=True)
    with pytest.raises(ValueError, match='pad_seg=True into the data_preprocessor'):
        model.loss(data['inputs'], data['data_samples'])


def test_semantic_instance_branch_on_a_plain_roi_head_is_refused(tiny_model):
    raff = dict(type='RAFF', in_channels=16, num_classes=1)
    with pytest.raises(ValueError, match="roi_head.type='PanopticRoIHead', got 'RoiMasksRoIHead'"):
        tiny_model('mask_rcnn_r18_tiny', changes={'instance_semantic_head': raff})


def test_network_alone_runs_in_tensor_mode(tiny_model, cells):
    model = tiny_model()
    data = model.data_preprocessor(cells(), training=False)
    ((cls_score, bbox_pred, mask_logits),) = model(**data, mode='tensor')
    assert cls_score.shape[1] == 2
    assert bbox_pred.shape[1] == 4
    assert mask_logits.shape[1:] == (2, 28, 28)


@pytest.mark.parametrize('counts', [(3, 2), (0, 0)])
@pytest.mark.parametrize(
    'name',
    [
        f'{method}_r18_tiny'
        for method in (
            'pffnet',
            'mask_rcnn',
            'cell_rcnn_v2',
            'panoptic_fpn',
            'point_rend',
            'ms_rcnn',
        )
    ],
)
def test_bfloat16_autocast_trains_and_predicts(tiny_model, losses_of, predictions_of, name, counts):
    model = tiny_model(name)
    reference = model.parse_losses(losses_of(model, counts=counts))[1]
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(model, counts=counts)
    assert_finite(model, losses)
    _, log = model.parse_losses(losses)
    for loss in ('loss_rpn_cls', 'loss_cls', 'loss_mask'):  # samples differ, scales do not
        assert log[loss].item() == pytest.approx(reference[loss].item(), rel=0.1, abs=0.05)
    total(model, losses).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    with torch.autocast('cpu', torch.bfloat16):
        found = predictions_of(model, counts=counts)[0].pred_instances
    assert found.bboxes.dtype == found.scores.dtype == found.masks.probs.dtype == torch.float32
    assert found.bboxes.isfinite().all()


def test_the_class_of_mmdetection_predicts_under_bfloat16_autocast(tiny_model, predictions_of):
    model = tiny_model('mask_rcnn_r18_tiny', changes={'type': 'MaskRCNN'})
    with torch.autocast('cpu', torch.bfloat16):
        found = predictions_of(model)[0].pred_instances
    assert len(found) > 0
    assert found.bboxes.dtype == found.scores.dtype == found.masks.probs.dtype == torch.float32


@needs_cuda
@pytest.mark.parametrize('amp', [None, torch.float16, torch.bfloat16])
def test_training_step_on_cuda(tiny_model, losses_of, amp):
    model = tiny_model().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler('cuda', init_scale=128.0, enabled=amp == torch.float16)
    with torch.autocast('cuda', amp, enabled=amp is not None):
        losses = losses_of(model)
    assert set(losses) == PFFNET_LOSSES | {'acc'}
    assert_finite(model, losses)
    scaler.scale(total(model, losses)).backward()
    scaler.step(optimizer)
    scaler.update()
    assert all(p.isfinite().all() for p in model.parameters())


@needs_cuda
@pytest.mark.parametrize('amp', [None, torch.float16])
def test_prediction_on_cuda_moves_to_the_cpu(tiny_model, predictions_of, amp):
    model = tiny_model().cuda()
    with torch.autocast('cuda', amp, enabled=amp is not None):
        samples = predictions_of(model, return_semantic=True)
    for sample in samples:
        assert sample.pred_instances.masks.device.type == 'cuda'
        found = sample.to('cpu').pred_instances
        assert found.masks.device.type == found.mask_scores.device.type == 'cpu'
        assert found.masks.to_label_map(found.mask_scores).shape == (64, 64)


@needs_cuda
def test_losses_on_cuda_equal_those_on_a_cpu(tiny_model, losses_of):
    # Every RoI is taken: the devices draw different samples.
    changes = {'train_cfg.rcnn.sampler.num': 10000, 'train_cfg.rpn.sampler.num': 100000}
    model = tiny_model(changes=changes)
    expected = model.parse_losses(losses_of(model))[1]
    result = model.cuda().parse_losses(losses_of(model))[1]
    for name in PFFNET_LOSSES:
        assert result[name].item() == pytest.approx(expected[name].item(), rel=5e-2), name
