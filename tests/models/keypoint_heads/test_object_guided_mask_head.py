import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmcell.functional.ragged_rois import PaddedRois
from mmcell.models.keypoint_heads.object_guided_mask_head import SegmentedObjects, label_layers
from mmcell.models.keypoint_heads.roi_segmentation import RoiPart
from mmcell.structures import LabelMapMasks

CHANNELS = (4, 4, 6)


def build(test_cfg=None, **options):
    torch.manual_seed(0)
    head = dict(type='ObjectGuidedMaskHead', in_channels=CHANNELS, head_channels=5)
    test_cfg = {'mask_thr': 0.5, 'mask_nms': None, **(test_cfg or {})}
    return MODELS.build({**head, **options, 'test_cfg': ConfigDict(test_cfg)})


def features(num_images=1, side=64):
    torch.manual_seed(1)
    return [torch.randn(num_images, c, side >> k, side >> k) for k, c in enumerate(CHANNELS)]


def objects(boxes, size=(64, 64)):
    """Full rectangles."""
    label_map = np.zeros(size, dtype=np.int32)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        label_map[y1:y2, x1:x2] = k + 1
    masks = LabelMapMasks([label_map], np.arange(1, len(boxes) + 1))
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return InstanceData(bboxes=boxes, masks=masks)


def detections(boxes):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    scores = torch.linspace(0.9, 0.4, len(boxes))
    return InstanceData(bboxes=boxes, scores=scores, labels=torch.zeros(len(boxes)).long())


def meta(size=(64, 64), original=None, scale=(1.0, 1.0)):
    return dict(img_shape=size, ori_shape=original or size, scale_factor=scale)


def say(head, logit):
    """Make every sample of every mask the same."""
    torch.nn.init.zeros_(head.branch.predict.weight)
    torch.nn.init.constant_(head.branch.predict.bias, logit)
    return head


def test_target_is_the_object_at_the_samples_of_its_enlarged_box():
    """20 px: 22 samples from half a pixel before the first to half a pixel behind the last."""
    (found,) = build().segment_objects(features(), [objects([[10, 20, 30, 40]])])
    assert found.part.logits.sizes.tolist() == [[22, 22]]
    along = found.targets.values[0, 0, 10]
    assert along[0] == along[21] == 0
    # 22 / 21 px apart from 8.5 on: the second one lies at 9.548, of which pixel 10 has 0.548.
    assert along[[1, 20]].tolist() == pytest.approx([11.5 / 21, 11.5 / 21], abs=1e-4)
    assert (along[2:20] > 0.999).all()


def test_boxes_of_training_are_as_far_off_as_asked_for():
    """Sides of 40 px move by up to 8 px; the target shows the object where it truly is."""
    head = build(jitter=0.2, enlarge=1.0)
    truth = objects([[10, 14, 50, 54]])
    levels, sides, seen = features(), [], []
    for _ in range(60):
        (found,) = head.segment_objects(levels, [truth])
        sides += found.part.logits.sizes.tolist()
        seen.append(float(found.targets.values.sum()))
    sides, seen = torch.tensor(sides), torch.tensor(seen)
    assert sides.min() >= 40 - 16 and sides.max() <= 40 + 16
    assert (sides < 36).any() and (sides > 44).any()
    within = sides.clamp(max=40).prod(1)  # what lies inside, if box and object are concentric
    assert (seen <= within * 1.1).all() and (seen >= 32 * 32 * (sides.prod(1) / 56**2)).all()
    assert seen.std() > 50
    assert truth.bboxes.tolist() == [[10, 14, 50, 54]]


def test_targets_are_of_the_own_object_in_every_image():
    instances = [objects([[10, 10, 30, 30], [26, 12, 50, 30]]), objects([[20, 30, 40, 60]])]
    for found in build().segment_objects(features(2), instances):
        for values, size, member in zip(
            found.targets.values, found.targets.sizes, found.part.members.tolist(), strict=True
        ):
            covered = values.sum() / size.prod()
            # Object 1 hides part of object 0's box, of which 16 / 20 are left.
            expected = {0: 0.8 / 1.21, 1: 1 / 1.21, 2: 1 / 1.21}[member]
            assert covered == pytest.approx(expected, abs=0.08)


def test_bitmaps_and_images_of_different_size_make_the_same_layers():
    first, second = (
        objects([[1, 1, 5, 5], [6, 6, 9, 9]], (10, 12)),
        objects([[0, 0, 3, 3]], (8, 20)),
    )
    layers, index, ids = label_layers([first.masks, second.masks])
    bitmaps = [BitmapMasks(m.to_ndarray(), m.height, m.width) for m in (first.masks, second.masks)]
    other_layers, other_index, other_ids = label_layers(bitmaps)
    assert layers.shape == (2, 10, 20) and other_layers.shape == (3, 10, 20)
    for k in range(3):
        assert (layers[index[k]] == ids[k]).equal(other_layers[other_index[k]] == other_ids[k])


def test_loss_is_a_mean_over_boxes_whatever_their_size():
    head, targets = build(loss_weight=3.0), []
    for side, logit in ((4, 0.0), (9, 100.0)):
        size = torch.tensor([[side, side]])
        logits = PaddedRois(torch.full((1, 1, side, side), logit), size)
        part = RoiPart(torch.zeros(1).long(), logits, (logits,))
        targets.append(SegmentedObjects(part, PaddedRois(torch.ones(1, 1, side, side), size)))
    found = head.loss(targets)['loss_mask']
    torch.testing.assert_close(found, 3 * torch.tensor(2.0).log() / 2)


def test_no_object_and_objects_of_one_pixel_give_zero_with_gradients():
    for instances in (objects([]), objects([[5, 5, 6, 6], [63, 0, 64, 1]])):
        head = build()
        found = list(head.segment_objects(features(), [instances]))
        assert found == []
        loss = head.loss(found)['loss_mask']
        loss.backward()
        assert loss == 0
        assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def test_small_objects_leave_no_parameter_without_gradient():
    head = build()
    found = list(head.segment_objects(features(), [objects([[5, 5, 8, 8]])]))
    assert len(found[0].part.decoded) == 1
    head.loss(found)['loss_mask'].backward()
    assert all(p.grad is not None for p in head.parameters())


def test_training_draws_no_more_objects_than_asked_for():
    boxes = [[x, y, x + 6, y + 6] for x in range(0, 60, 8) for y in range(0, 60, 8)]
    head = build(max_rois=5)
    torch.manual_seed(0)
    drawn = sum(
        len(f.part.members) for f in head.segment_objects(features(2), [objects(boxes)] * 2)
    )
    assert drawn == 10


def test_full_masks_cover_their_boxes():
    """Of 20 x 10 px at 2, 3, enlarged by 1.1: to 22 and 11 px, and half a cell beyond."""
    head = say(build(), 10.0)
    (found,) = head.predict(features(), [detections([[2, 3, 22, 13]])], [meta()])
    rows, columns = torch.nonzero(found.masks.to_bitmaps()[0]).unbind(1)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (0, 24, 2, 14)
    x1, y1, x2, y2 = found.masks.boxes[0].tolist()
    # Centers of cells: 22 from 1 to 22 and 11 from 2 to 12, whole numbers at pixel corners here.
    assert (x2 - x1) / 22 == pytest.approx(22 / 21)
    assert (y2 - y1) / 11 == pytest.approx(11 / 10)
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((12, 8))


def test_samples_fall_into_the_pixels_they_were_taken_from():
    """A network that copies level 0 gives a mask equal to the image under it."""
    image = torch.zeros(1, 4, 64, 64)
    image[0, 0, 20:31, 12:25] = 1
    head = build()
    branch = head.branch
    branch.combinations = torch.nn.ModuleList()
    for conv in (branch.hidden, branch.predict):
        torch.nn.init.zeros_(conv.weight).data[0, 0, 1, 1] = 1
        torch.nn.init.zeros_(conv.bias)
    branch.predict.weight.data[0, 0, 1, 1] = 20
    branch.predict.bias.data.fill_(-10.0)
    head.num_levels = 1
    (found,) = head.predict([image], [detections([[12, 20, 25, 31], [5, 10, 45, 50]])], [meta()])
    expected = image[0, 0] == 1
    for mask in found.masks.to_bitmaps():
        assert mask.equal(expected)


def test_masks_are_scaled_back_to_the_original_image():
    head = say(build(), 10.0)
    metas = [meta((64, 64), (32, 128), (0.5, 2.0))]
    (scaled,) = head.predict(features(), [detections([[10, 20, 30, 50]])], metas)
    (network,) = head.predict(features(), [detections([[10, 20, 30, 50]])], metas, rescale=False)
    assert scaled.bboxes.tolist() == [[20, 10, 60, 25]]
    assert scaled.masks.image_size == (32, 128) and network.masks.image_size == (64, 64)
    factors = torch.tensor([2, 0.5, 2, 0.5])
    torch.testing.assert_close(scaled.masks.boxes, network.masks.boxes * factors)


def test_mask_suppression_drops_the_worse_of_two_alike():
    boxes = [[5, 5, 25, 25], [40, 40, 60, 60], [6, 6, 26, 26]]
    head = say(build({'mask_nms': 0.2}), 10.0)
    (found,) = head.predict(features(), [detections(boxes)], [meta()])
    assert found.bboxes.tolist() == boxes[:2]
    (everything,) = say(build(), 10.0).predict(features(), [detections(boxes)], [meta()])
    assert len(everything) == 3


def test_scores_may_follow_masks_and_decide_which_of_two_stays():
    boxes = [[5, 5, 25, 25], [40, 40, 60, 60], [7, 7, 27, 27]]
    (plain,) = build({'mask_thr': 0.3}).predict(features(), [detections(boxes)], [meta()])
    quality = plain.masks.expected_iou(0.3)
    assert quality[2] > quality[0]
    options = {'mask_thr': 0.3, 'mask_score_weight': 1.0}
    (found,) = build(options).predict(features(), [detections(boxes)], [meta()])
    assert found.scores.equal(quality.sort(descending=True).values)
    assert found.masks[0].boxes.equal(plain.masks[int(quality.argmax())].boxes)
    (found,) = build({**options, 'mask_score_weight': 0.5}).predict(
        features(), [detections(boxes)], [meta()]
    )
    expected = (plain.scores * quality).sqrt().sort(descending=True).values
    torch.testing.assert_close(found.scores, expected)
    (found,) = build({**options, 'mask_nms': 0.2}).predict(
        features(), [detections(boxes)], [meta()]
    )
    assert sorted(found.bboxes.tolist()) == [boxes[2], boxes[1]]


def test_masks_without_a_pixel_are_left_out():
    head = say(build(), -10.0)
    (found,) = head.predict(features(), [detections([[5, 5, 25, 25]])], [meta()])
    assert len(found) == len(found.masks) == 0


def test_one_pixel_boxes_have_no_mask_and_two_pixel_boxes_have():
    head = say(build(), 10.0)
    boxes = [[5, 5, 6, 6], [10, 10, 12, 12], [0, 0, 1, 9]]
    (found,) = head.predict(features(), [detections(boxes)], [meta()])
    assert found.bboxes.tolist() == [[10, 10, 12, 12]]


def test_images_of_a_batch_do_not_matter_to_each_other():
    head, maps = build(), features(3)
    boxes = [[[0, 0, 20, 14], [44, 50, 64, 64]], [], [[10, 10, 40, 31], [0, 30, 9, 64]]]
    together = head.predict(maps, [detections(b) for b in boxes], [meta()] * 3)
    for k, found in enumerate(together):
        one = [level[k : k + 1] for level in maps]
        (alone,) = head.predict(one, [detections(boxes[k])], [meta()])
        assert len(found) == len(alone)
        for a, b in zip(range(len(found)), range(len(alone)), strict=True):
            torch.testing.assert_close(
                found.masks[a].probs, alone.masks[b].probs, rtol=0, atol=1e-4
            )
