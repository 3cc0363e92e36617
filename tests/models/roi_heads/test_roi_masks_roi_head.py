import pytest
import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules import AssignResult, SamplingResult
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import mmcell.models.detection_limit as detection_limit
import mmcell.models.roi_heads.roi_masks_roi_head as roi_masks_roi_head
from mmcell.models.roi_heads.roi_masks_roi_head import RoiMasksRoIHead
from mmcell.structures import RoiMasks


@pytest.fixture
def mask_rcnn_pair(model_config, shrink):
    """MMDetection's Mask R-CNN with either RoI head, same weights, three classes."""
    models = []
    for roi_head in ('RoiMasksRoIHead', 'StandardRoIHead'):
        cfg = shrink(model_config('mask_rcnn_r101_gn'))
        cfg.roi_head.type = roi_head
        cfg.roi_head.bbox_head.num_classes = cfg.roi_head.mask_head.num_classes = 3
        cfg.test_cfg.rpn.max_per_img = 40
        torch.manual_seed(0)
        models.append(MODELS.build(cfg).eval())
    ours, theirs = models
    assert type(ours.roi_head) is RoiMasksRoIHead
    assert type(theirs.roi_head) is StandardRoIHead
    ours.load_state_dict(theirs.state_dict())
    return models


@pytest.mark.parametrize('scale_factor', [1.0, 2.0, 0.75])
def test_builtin_mask_rcnn_gives_the_masks_that_mmdetection_pastes(
    mask_rcnn_pair, predictions_of, scale_factor
):
    options = dict(counts=(3, 1), sizes=[(64, 64), (48, 57)], scale_factor=scale_factor)
    ours, theirs = (predictions_of(model, **options) for model in mask_rcnn_pair)
    for mine, reference in zip(ours, theirs, strict=True):
        mine, reference = mine.pred_instances, reference.pred_instances
        assert len(mine) > 10
        torch.testing.assert_close(mine.bboxes, reference.bboxes)
        torch.testing.assert_close(mine.scores, reference.scores)
        assert mine.labels.equal(reference.labels)
        assert isinstance(mine.masks, RoiMasks)
        assert mine.masks.boxes.equal(mine.bboxes)
        bitmaps = mine.masks.to_bitmaps()
        assert bitmaps.shape == reference.masks.shape
        assert (bitmaps != reference.masks).sum() <= 0.001 * reference.masks.sum()


def test_training_is_mmdetections(mask_rcnn_pair, losses_of):
    ours, theirs = (losses_of(model, num_classes=3) for model in mask_rcnn_pair)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_without_rois_every_layer_still_has_a_gradient(mask_rcnn_pair):
    """As where all RoIs of an image lie in ignored regions: other processes wait for them."""
    head = mask_rcnn_pair[0].roi_head.train()
    nothing = torch.zeros(0, 4)
    assigned = AssignResult(0, torch.zeros(0).long(), torch.zeros(0), torch.zeros(0).long())
    sampled = SamplingResult(
        *(torch.zeros(0).long(),) * 2, nothing, nothing, assigned, torch.zeros(0).byte()
    )
    levels = [torch.rand(1, 16, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    losses = head.bbox_loss(levels, [sampled])['loss_bbox']
    assert losses['loss_cls'] == losses['loss_bbox'] == 0
    sum(losses.values()).backward()
    assert all((p.grad == 0).all() for p in head.bbox_head.parameters())


@pytest.fixture
def head_and_levels():
    """A head of three classes on random features of two images, 32 x 48 pixels."""
    torch.manual_seed(0)
    roi_layer = dict(type='RoIAlign', output_size=7, sampling_ratio=0)
    extractor = dict(
        type='SingleRoIExtractor', roi_layer=roi_layer, out_channels=4, featmap_strides=[4, 8]
    )
    head = RoiMasksRoIHead(
        bbox_roi_extractor=extractor,
        bbox_head=dict(type='Shared2FCBBoxHead', in_channels=4, fc_out_channels=8, num_classes=3),
        mask_roi_extractor=extractor,
        mask_head=dict(
            type='FCNMaskHead', num_convs=1, in_channels=4, conv_out_channels=4, num_classes=3
        ),
        test_cfg=ConfigDict(
            score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100
        ),
    )
    levels = tuple(torch.randn(2, 4, 32 // s, 48 // s) for s in (4, 8))
    return head.eval(), levels


METAS = [
    dict(img_path='a.png', img_shape=(32, 48), ori_shape=(64, 48), scale_factor=(1.0, 0.5)),
    dict(img_shape=(30, 40), ori_shape=(10, 20), scale_factor=(2.0, 3.0)),
]


def detections(counts=(4, 5)):
    """Detections of two images at network scale."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for count in counts:
        corners = 20 * torch.rand(count, 2, generator=generator)
        sides = 2 + 15 * torch.rand(count, 2, generator=generator)
        found.append(
            InstanceData(
                bboxes=torch.cat([corners, corners + sides], dim=1),
                labels=torch.arange(count) % 3,
                scores=torch.rand(count, generator=generator),
            )
        )
    return found


def test_each_mask_is_the_channel_of_its_class(head_and_levels):
    head, levels = head_and_levels
    results = head.predict_mask(levels, METAS, detections(), rescale=False)
    for image, found in enumerate(results):
        for k in range(len(found)):
            roi = torch.cat([torch.tensor([float(image)]), found.bboxes[k]])[None]
            logits = head._mask_forward(levels, roi)['mask_preds']
            expected = logits[0, found.labels[k]].sigmoid()
            torch.testing.assert_close(found.masks.probs[k], expected)


def test_class_agnostic_masks_have_one_channel(head_and_levels):
    head, _ = head_and_levels
    head.mask_head.class_agnostic = True
    logits = torch.randn(5, 1, 14, 14)
    probs = head.foreground_probs(logits, torch.tensor([0, 1, 2, 1, 0]))
    assert probs.equal(logits[:, 0].sigmoid())


@pytest.mark.parametrize('size', [1, 3, 4, 9])
def test_predicting_in_batches_equals_predicting_at_once(head_and_levels, monkeypatch, size):
    head, levels = head_and_levels
    whole = head.predict_mask(levels, METAS, detections(), rescale=True)
    monkeypatch.setattr(roi_masks_roi_head, 'MASK_BATCH', size)
    parts = head.predict_mask(levels, METAS, detections(), rescale=True)
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one.masks.probs, other.masks.probs)
        assert one.masks.boxes.equal(other.masks.boxes)


def test_rescale_maps_boxes_to_the_original_image(head_and_levels):
    head, levels = head_and_levels
    results = head.predict_mask(levels, METAS, detections(), rescale=True)
    factors = torch.tensor([[1, 0.5, 1, 0.5], [2, 3, 2, 3]])
    for found, before, meta, factor in zip(results, detections(), METAS, factors, strict=True):
        torch.testing.assert_close(found.bboxes, before.bboxes / factor)
        assert found.masks.boxes.equal(found.bboxes)
        assert found.masks.image_size == meta['ori_shape']


def test_without_rescale_boxes_stay_at_network_scale(head_and_levels):
    head, levels = head_and_levels
    results = head.predict_mask(levels, METAS, detections(), rescale=False)
    for found, before, meta in zip(results, detections(), METAS, strict=True):
        assert found.bboxes.equal(before.bboxes)
        assert found.masks.image_size == meta['img_shape']


@pytest.mark.parametrize('counts', [(0, 0), (0, 3), (3, 0)])
def test_images_without_detections_have_no_masks(head_and_levels, counts):
    head, levels = head_and_levels
    results = head.predict_mask(levels, METAS, detections(counts), rescale=True)
    for found, count, meta in zip(results, counts, METAS, strict=True):
        assert len(found.masks) == len(found) == count
        assert found.masks.image_size == meta['ori_shape']
        assert found.masks.to_label_map(found.scores).shape == meta['ori_shape']


def test_scores_may_follow_the_masks(head_and_levels):
    head, levels = head_and_levels
    plain = head.predict_mask(levels, METAS, detections(), rescale=True)
    head.test_cfg.mask_score_weight = 0.75
    results = head.predict_mask(levels, METAS, detections(), rescale=True)
    for found, before in zip(results, plain, strict=True):
        scores = before.scores**0.25 * before.masks.expected_iou() ** 0.75
        torch.testing.assert_close(found.scores, scores.sort(descending=True).values)


def test_masks_may_be_predicted_in_larger_boxes(head_and_levels):
    head, levels = head_and_levels
    head.test_cfg.mask_enlarge = 1.5
    for rescale in (False, True):
        results = head.predict_mask(levels, METAS, detections(), rescale=rescale)
        for image, (found, before, meta) in enumerate(
            zip(results, detections(), METAS, strict=True)
        ):
            height, width = meta['img_shape']
            x1, y1, x2, y2 = before.bboxes.T
            quarter_x, quarter_y = (x2 - x1) / 4, (y2 - y1) / 4
            larger = torch.stack(
                [
                    (x1 - quarter_x).clamp(min=0),
                    (y1 - quarter_y).clamp(min=0),
                    (x2 + quarter_x).clamp(max=width),
                    (y2 + quarter_y).clamp(max=height),
                ],
                dim=1,
            )
            rois = torch.cat([torch.full((len(larger), 1), float(image)), larger], dim=1)
            logits = head._mask_forward(levels, rois)['mask_preds']
            scale = torch.tensor(meta['scale_factor']).repeat(2) if rescale else 1
            torch.testing.assert_close(found.bboxes, before.bboxes / scale)
            torch.testing.assert_close(found.masks.boxes, larger / scale)
            torch.testing.assert_close(
                found.masks.probs, head.foreground_probs(logits, before.labels)
            )


@pytest.mark.parametrize('factor', [0.99, 0.0, float('nan')])
def test_boxes_of_masks_may_not_shrink(head_and_levels, factor):
    head, levels = head_and_levels
    head.test_cfg.mask_enlarge = factor
    with pytest.raises(ValueError, match=f'mask_enlarge must be at least 1, got {factor}'):
        head.predict_mask(levels, METAS, detections())


@pytest.mark.parametrize(('limit', 'named'), [(4, True), (3, True), (5, False), (-1, False)])
def test_image_file_that_reaches_the_limit_of_detections_is_named(
    head_and_levels, monkeypatch, limit, named
):
    head, levels = head_and_levels
    head.test_cfg.max_per_img = limit
    messages = []
    monkeypatch.setattr(
        detection_limit, 'print_log', lambda message, *args: messages.append(message)
    )
    head.predict_mask(levels, METAS, detections((4, 4)), rescale=True)  # the second has no file
    assert [message.startswith('a.png: 4 detections') for message in messages] == [True] * named


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu(head_and_levels):
    head, levels = head_and_levels
    expected = head.predict_mask(levels, METAS, detections(), rescale=True)
    results = head.cuda().predict_mask(
        tuple(level.cuda() for level in levels),
        METAS,
        [found.cuda() for found in detections()],
        rescale=True,
    )
    for found, reference in zip(results, expected, strict=True):
        assert found.masks.device.type == 'cuda'
        moved = found.to('cpu')
        torch.testing.assert_close(moved.bboxes, reference.bboxes)
        torch.testing.assert_close(moved.masks.probs, reference.masks.probs, rtol=2e-2, atol=2e-2)
