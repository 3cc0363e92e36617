from types import SimpleNamespace

import pytest
import torch
from mmdet.structures.mask import mask_target
from mmengine.structures import InstanceData

import mmcell.models.roi_heads.panoptic_roi_head as panoptic_roi_head
import mmcell.models.roi_heads.roi_masks_roi_head as roi_masks_roi_head
from mmcell.models.roi_heads.panoptic_roi_head import PanopticRoIHead


@pytest.fixture
def observe(tiny_model, cells, monkeypatch):
    """Run ``loss_and_instances`` once; give its results and what its parts exchanged."""

    def run(num_classes=1, changes=None, **batch):
        model = tiny_model(num_classes=num_classes, changes=changes)
        head = model.roi_head
        assert isinstance(head, PanopticRoIHead)
        seen = SimpleNamespace(head=head)

        def record(owner, name, key):
            function = getattr(owner, name)

            def recorded(*args):
                result = function(*args)
                setattr(seen, key, SimpleNamespace(args=args, result=result))
                return result

            monkeypatch.setattr(owner, name, recorded)

        record(head, 'bbox_loss', 'boxes')
        record(head, 'mask_loss', 'masks')
        record(panoptic_roi_head, 'mask_quality_targets', 'quality')
        data = model.data_preprocessor(cells(num_classes=num_classes, **batch), training=True)
        seen.data_samples = data['data_samples']
        torch.manual_seed(0)
        levels = model.extract_feat(data['inputs'])
        proposals = model.rpn_head.predict(levels, seen.data_samples, rescale=False)
        seen.losses, seen.instances = head.loss_and_instances(levels, proposals, seen.data_samples)
        seen.samples = seen.boxes.args[1]
        return seen

    return run


def test_instances_carry_the_mask_logits_of_their_image_with_gradient(observe):
    seen = observe(num_classes=3, counts=(3, 2))
    assert [len(found) for found in seen.instances] == [len(r.pos_priors) for r in seen.samples]
    joined = torch.cat([found.mask_logits for found in seen.instances])
    assert joined.equal(seen.masks.result['mask_preds'])
    assert joined.shape[1:] == (4, 28, 28)
    assert joined.requires_grad
    for found, sample in zip(seen.instances, seen.samples, strict=True):
        assert found.object_index.equal(sample.pos_assigned_gt_inds)
        assert found.bboxes.equal(sample.pos_priors)  # where the masks were predicted
    assert not any(found.bboxes.requires_grad for found in seen.instances)


def test_quality_is_learnt_from_whole_objects_and_the_masks_of_their_class(observe):
    seen = observe(num_classes=3, counts=(3, 2))
    probs, mask_targets, boxes, areas = seen.quality.args
    labels = torch.cat([result.pos_gt_labels for result in seen.samples])
    logits = seen.masks.result['mask_preds']
    assert probs.equal(logits[torch.arange(len(labels)), labels + 1].sigmoid())
    assert probs.requires_grad  # the mask generator learns from it, as in Mask Scoring R-CNN
    priors = [result.pos_priors for result in seen.samples]
    objects = [result.pos_assigned_gt_inds for result in seen.samples]
    masks = [sample.gt_instances.masks for sample in seen.data_samples]
    assert boxes.equal(torch.cat(priors))
    assert mask_targets.equal(mask_target(priors, objects, masks, seen.head.train_cfg))
    expected = [mask.areas[found.numpy()] for mask, found in zip(masks, objects, strict=True)]
    assert areas.tolist() == [area for image in expected for area in image]


def test_losses_have_the_names_of_the_instance_branch(observe):
    names = {'loss_cls', 'loss_bbox', 'acc', 'loss_mask', 'loss_mask_quality'}
    assert set(observe().losses) == names
    seen = observe(changes={'roi_head.mask_quality_head': None})
    assert set(seen.losses) == names - {'loss_mask_quality'}


METAS = [
    dict(img_shape=(64, 64), ori_shape=(128, 64), scale_factor=(1.0, 0.5)),
    dict(img_shape=(60, 50), ori_shape=(20, 25), scale_factor=(2.0, 3.0)),
]


@pytest.fixture
def head_and_levels(tiny_model):
    head = tiny_model().roi_head.eval()
    generator = torch.Generator().manual_seed(0)
    return head, [torch.randn(2, 16, 64 // s, 64 // s, generator=generator) for s in (4, 8, 16, 32)]


def detections(counts=(4, 5)):
    """Detections of two images at network scale."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for count in counts:
        corners = 30 * torch.rand(count, 2, generator=generator)
        sides = 4 + 15 * torch.rand(count, 2, generator=generator)
        found.append(
            InstanceData(
                bboxes=torch.cat([corners, corners + sides], dim=1),
                labels=torch.zeros(count, dtype=torch.int64),
                scores=torch.rand(count, generator=generator),
            )
        )
    return found


@torch.no_grad()
def predict(head, levels, counts=(4, 5), rescale=True):
    return head.predict_mask(levels, METAS, detections(counts), rescale=rescale)


def test_mask_scores_are_class_scores_times_quality(head_and_levels, monkeypatch):
    head, levels = head_and_levels
    # Quality that can be read off the mask.
    monkeypatch.setattr(
        head.mask_quality_head, 'forward', lambda feats, probs: probs.mean((1, 2)).logit()
    )
    for found, before in zip(predict(head, levels), detections(), strict=True):
        assert found.scores.equal(before.scores)
        expected = before.scores * found.masks.probs.mean((1, 2))
        torch.testing.assert_close(found.mask_scores, expected)


def test_quality_looks_at_the_same_roi(head_and_levels):
    head, levels = head_and_levels
    for image, found in enumerate(predict(head, levels, rescale=False)):
        for k in range(len(found)):
            roi = torch.cat([torch.tensor([float(image)]), found.masks.boxes[k]])[None]
            parts = head._mask_forward(levels, roi)
            probs = parts['mask_preds'][:, 1].sigmoid()
            quality = head.mask_quality_head(parts['mask_feats'], probs).sigmoid()
            torch.testing.assert_close(found.masks.probs[k], probs[0])
            torch.testing.assert_close(found.mask_scores[k], found.scores[k] * quality[0])


def test_predicting_in_batches_equals_predicting_at_once(head_and_levels, monkeypatch):
    head, levels = head_and_levels
    whole = predict(head, levels)
    monkeypatch.setattr(roi_masks_roi_head, 'MASK_BATCH', 3)
    for one, other in zip(predict(head, levels), whole, strict=True):
        torch.testing.assert_close(one.masks.probs, other.masks.probs)
        torch.testing.assert_close(one.mask_scores, other.mask_scores)
        assert one.bboxes.equal(other.bboxes)


def test_without_quality_head_there_are_no_mask_scores(tiny_model, head_and_levels):
    head = tiny_model(changes={'roi_head.mask_quality_head': None}).roi_head.eval()
    for found in predict(head, head_and_levels[1]):
        assert 'mask_scores' not in found
        assert len(found.masks) == len(found)


@pytest.mark.parametrize('counts', [(0, 0), (0, 3), (3, 0)])
def test_images_without_detections_have_no_masks(head_and_levels, counts):
    head, levels = head_and_levels
    for found, count, meta in zip(predict(head, levels, counts), counts, METAS, strict=True):
        assert len(found) == len(found.masks) == len(found.mask_scores) == count
        assert found.masks.image_size == meta['ori_shape']


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu(head_and_levels):
    head, levels = head_and_levels
    expected = predict(head, levels)
    with torch.no_grad():
        results = head.cuda().predict_mask(
            [level.cuda() for level in levels],
            METAS,
            [found.cuda() for found in detections()],
            rescale=True,
        )
    for found, reference in zip(results, expected, strict=True):
        assert found.masks.device.type == 'cuda'
        torch.testing.assert_close(
            found.mask_scores.cpu(), reference.mask_scores, rtol=2e-2, atol=2e-2
        )
