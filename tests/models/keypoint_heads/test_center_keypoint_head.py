import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData


def build(num_classes=1, **test_cfg):
    torch.manual_seed(0)
    head = dict(type='CenterKeypointHead', in_channels=8, feat_channels=8, num_classes=num_classes)
    test_cfg = {'max_per_img': 100, 'score_thr': 0.3, **test_cfg}
    return MODELS.build({**head, 'test_cfg': ConfigDict(test_cfg)})


def objects(boxes, labels=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(boxes), dtype=torch.long) if labels is None else torch.tensor(labels)
    return InstanceData(bboxes=boxes, labels=labels)


def maps(num_images=1, num_classes=1, value=0.1):
    heatmap = torch.full((num_images, num_classes, 16, 16), value)
    return [heatmap], [torch.zeros(num_images, 2, 16, 16)], [torch.zeros(num_images, 2, 16, 16)]


def meta(size=(64, 64), scale=1.0):
    return dict(img_shape=size, scale_factor=(scale, scale), img_path='cells.png')


def test_losses_by_hand():
    """One object of 9 x 5 px; its first and last pixel are 8, 16 and 20, 24: center 12, 22."""
    heatmaps, sizes, offsets = maps()
    sizes[0][0, :, 5, 3] = torch.tensor([2.25, 3.25])  # truly 2.25, 1.25 cells: off by 0 and 2
    offsets[0][0, :, 5, 3] = torch.tensor([0.0, 1.0])  # truly 0, 0.5: off by 0 and 0.5
    losses = build().loss_by_feat(heatmaps, sizes, offsets, [objects([[8, 20, 17, 25]])], [meta()])
    torch.testing.assert_close(losses['loss_wh'], torch.tensor(0.1 * (2 - 0.5) / 2))
    torch.testing.assert_close(losses['loss_offset'], torch.tensor(0.5 * 0.5**2 / 2))
    # The blob's radius is below a cell: 255 cells of background, one center.
    expected = -255 * 0.1**2 * math.log(0.9) - 0.9**2 * math.log(0.1)
    torch.testing.assert_close(losses['loss_center_heatmap'], torch.tensor(expected))


def test_losses_are_divided_by_the_objects_of_all_images():
    head, (heatmaps, sizes, offsets) = build(), maps(2)
    boxes = [objects([[8, 20, 17, 25], [40, 40, 49, 45]]), objects([[8, 20, 17, 25]])]
    losses = head.loss_by_feat(heatmaps, sizes, offsets, boxes, [meta()] * 2)
    one = head.loss_by_feat(*maps(), [objects([[8, 20, 17, 25]])], [meta()])
    torch.testing.assert_close(losses['loss_wh'], one['loss_wh'])


def test_images_without_objects_leave_background_alone():
    head = build()
    features = torch.rand(2, 8, 16, 16)
    outputs = head((features,))
    losses = head.loss_by_feat(*outputs, [objects([]), objects([])], [meta()] * 2)
    assert losses['loss_wh'] == losses['loss_offset'] == 0
    assert losses['loss_center_heatmap'] > 0
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_ignored_boxes_hold_no_background():
    head, arguments = build(), maps()
    ignored = objects([[32, 0, 64, 64]])  # columns 8 to 15 of 16
    losses = head.loss_by_feat(*arguments, [objects([])], [meta()], [ignored])
    expected = -(256 - 8 * 16) * 0.1**2 * math.log(0.9)
    torch.testing.assert_close(losses['loss_center_heatmap'], torch.tensor(expected))


def test_center_in_an_ignored_box_counts():
    head, arguments = build(), maps()
    everything = objects([[0, 0, 64, 64]])
    losses = head.loss_by_feat(*arguments, [objects([[8, 20, 17, 25]])], [meta()], [everything])
    expected = torch.tensor(-(0.9**2) * math.log(0.1))
    torch.testing.assert_close(losses['loss_center_heatmap'], expected)


def test_targets_decode_to_the_boxes_they_were_made_from():
    """What the losses ask for is what predictions read, on every border too."""
    from mmcell.functional.center_keypoints import center_targets
    from mmcell.models.keypoint_heads.center_keypoint_head import pixel_index_boxes

    boxes = [[0, 0, 9, 7], [55, 0, 64, 9], [0, 50, 11, 64], [50, 53, 64, 64], [20, 20, 21, 21]]
    truth = objects(boxes)
    zeros = torch.zeros(5, dtype=torch.long)
    targets = center_targets(pixel_index_boxes(truth.bboxes), zeros, zeros, (1, 1, 16, 16))
    heatmaps, sizes, offsets = maps()
    x, y = targets.cells.unbind(1)
    sizes[0][0, :, y, x] = targets.sizes.T
    offsets[0][0, :, y, x] = targets.offsets.T
    (found,) = build().predict_by_feat([targets.heatmap], sizes, offsets, [meta()])
    assert sorted(found.bboxes.tolist()) == sorted([float(v) for v in box] for box in boxes)


def test_boxes_are_cut_off_at_the_image_and_scaled_back():
    heatmaps, sizes, offsets = maps()
    heatmaps[0][0, 0, 2, 2], sizes[0][0, :, 2, 2] = 0.9, 1000.0  # larger than the image
    heatmaps[0][0, 0, 12, 12], sizes[0][0, :, 12, 12] = 0.8, 2.0  # in the padding of a 40 px image
    (found,) = build().predict_by_feat(heatmaps, sizes, offsets, [meta((40, 30), 2.0)])
    assert found.bboxes.tolist() == [[0, 0, 15, 20]]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_boxes_without_area_are_left_out():
    heatmaps, sizes, offsets = maps()
    heatmaps[0][0, 0, 2, 2], sizes[0][0, :, 2, 2] = 0.9, -1.0
    (found,) = build().predict_by_feat(heatmaps, sizes, offsets, [meta()])
    assert len(found) == 0


def test_classes_have_heatmaps_of_their_own():
    heatmaps, sizes, offsets = maps(num_classes=3)
    heatmaps[0][0, 2, 4, 4], heatmaps[0][0, 0, 9, 9] = 0.5, 0.9
    sizes[0][:] = 2
    (found,) = build(3).predict_by_feat(heatmaps, sizes, offsets, [meta()])
    assert found.labels.tolist() == [0, 2]


def test_reaching_the_limit_is_reported(caplog):
    heatmaps, sizes, offsets = maps(2)
    heatmaps[0][0, 0, ::4, 0], sizes[0][:] = 0.9, 2
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    results = build(max_per_img=3).predict_by_feat(heatmaps, sizes, offsets, [meta()] * 2)
    logger.removeHandler(caplog.handler)
    assert [len(found) for found in results] == [3, 0]
    (record,) = [r for r in caplog.records if 'limit' in r.getMessage()]
    assert (
        'cells.png: 3 detections reach the limit model.test_cfg.max_per_img' in record.getMessage()
    )


def test_maps_are_float32_under_autocast_and_neighbours_of_a_peak_differ():
    head = build()
    features = torch.rand(1, 8, 16, 16)
    with torch.autocast('cpu', torch.bfloat16):
        outputs = head((features,))
    assert {maps[0].dtype for maps in outputs} == {torch.float32}
    assert outputs[0][0].unique().numel() > 200


def test_a_diverged_network_is_named_with_its_image():
    heatmap, sizes, offsets = maps(num_images=2)
    sizes[0][1, 0, 3, 3] = torch.nan
    metas = [dict(meta(), img_path=name) for name in ('good.png', 'bad.png')]
    with pytest.raises(ValueError, match='NaN or infinite keypoint maps for bad.png'):
        build().predict_by_feat(heatmap, sizes, offsets, metas)
