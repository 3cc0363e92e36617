import math

import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps

from mmcell.functional.keypoint_graph_targets import (
    GraphTargets,
    multi_scale_targets,
)
from mmcell.models.keypoint_heads.keypoint_graph_head import (
    GraphMaps,
    KeypointGraphHead,
    graph_losses,
)

CERTAIN = 30.0  # logit whose probability is 1 in float32


def labels_of(boxes, size):
    """(1, H, W) label map of rectangles; of overlapping ones the later shows."""
    labels = torch.zeros(1, *size, dtype=torch.long)
    for number, (x1, y1, x2, y2) in enumerate(boxes, start=1):
        labels[0, y1:y2, x1:x2] = number
    return labels


def perfect_maps(label_maps, scales=(0, 1, 2, 3)):
    """What a perfect network gives: offsets anywhere off the discs, here 0."""
    targets = multi_scale_targets(label_maps, 4)
    return [GraphMaps((2 * targets[k].heatmaps - 1) * CERTAIN, *targets[k][1:]) for k in scales]


def head_giving(maps, **kwargs):
    """A head that predicts ``maps``, whatever the features."""
    scales = kwargs.pop('scales', (0, 1, 2, 3))
    head = KeypointGraphHead([4, 4, 4, 4], scales=scales, kernel_size=1, **kwargs)
    head.forward = lambda features: maps
    return head


def detect(label_maps, sizes=None, scales=(0, 1, 2, 3), **test_cfg):
    sizes = sizes or [tuple(label_maps.shape[1:])] * len(label_maps)
    metas = [dict(img_shape=size, img_path=f'{k}.png') for k, size in enumerate(sizes)]
    head = head_giving(perfect_maps(label_maps, scales), scales=scales, test_cfg=test_cfg)
    return head.predict([], metas)


def assert_same_boxes(found, expected, iou):
    """As many boxes as expected, each of them found with at least this IoU."""
    overlaps = bbox_overlaps(found, torch.as_tensor(expected).float())
    assert overlaps.shape == (len(expected), len(expected))
    assert (overlaps.amax(0) >= iou).all(), overlaps.amax(0)


def test_losses_of_one_disc_by_hand():
    heatmaps = torch.zeros(1, 5, 1, 4)
    heatmaps[0, 0, 0, :2] = 1  # top left, two pixels
    short, mid = torch.zeros(1, 10, 1, 4), torch.zeros(1, 40, 1, 4)
    short[0, 0, 0, :2] = torch.tensor([3.0, 2])  # x
    short[0, 1, 0, :2] = -1  # y
    mid[0, 0, 0, :2] = 16  # the first of the four edges from top left, x
    maps = GraphMaps(torch.zeros(1, 5, 1, 4), torch.zeros(1, 10, 1, 4), torch.zeros(1, 40, 1, 4))
    maps.short_offsets[0, :, 0, 2:] = 99  # off the disc: no matter
    maps.mid_offsets[0, 8:] = 99  # edges from other types: no matter
    heatmap_loss, short_loss, mid_loss = graph_losses(maps, GraphTargets(heatmaps, short, mid))
    assert heatmap_loss == pytest.approx(math.log(2))
    assert short_loss == (3 + 2 + 1 + 1) / 4
    assert mid_loss == (16 + 16) / (2 * 2 * 4)


def test_without_objects_offsets_have_no_loss_and_a_zero_gradient():
    head = KeypointGraphHead([4] * 4, kernel_size=3)
    features = [torch.randn(2, 4, 16 >> k, 16 >> k) for k in range(4)]
    losses = head.loss(features, torch.zeros(2, 16, 16, dtype=torch.long))
    assert all(losses[f'loss_{k}_offsets_s1'] == 0 for k in ('short', 'mid'))
    assert losses['loss_heatmap_s1'] > 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize(('scales', 'names'), [((0, 1, 2, 3), '1234'), ((0,), '1'), ((3, 1), '24')])
def test_every_scale_has_three_losses_named_as_in_the_paper(scales, names):
    head = KeypointGraphHead([4] * 4, scales=scales, kernel_size=1)
    features = [torch.randn(1, 4, -(-37 // 2**k), -(-50 // 2**k)) for k in range(4)]
    losses = head.loss(features, torch.zeros(1, 37, 50, dtype=torch.long))
    assert set(losses) == {
        f'loss_{kind}_s{k}' for kind in ('heatmap', 'short_offsets', 'mid_offsets') for k in names
    }


@pytest.mark.parametrize('scales', [(0,), (1, 2), (3,)])
def test_the_finest_level_has_a_gradient_whatever_the_scales(scales):
    """Several processes wait for those of all layers, and the finest level comes from all."""
    head = KeypointGraphHead([4] * 4, scales=scales, kernel_size=1)
    features = [torch.randn(1, 4, 32 >> k, 32 >> k, requires_grad=True) for k in range(4)]
    sum(head.loss(features, torch.zeros(1, 32, 32, dtype=torch.long)).values()).backward()
    assert features[0].grad is not None
    assert features[0].grad.any() == (0 in scales)


def test_weights_multiply_the_losses():
    labels = labels_of([[4, 4, 20, 22]], (32, 32))
    features = [torch.randn(1, 4, 32 >> k, 32 >> k) for k in range(4)]
    found = []
    for weights in ((1, 1, 1), (2, 3, 5)):
        torch.manual_seed(0)
        names = ('heatmap_weight', 'short_weight', 'mid_weight')
        head = KeypointGraphHead([4] * 4, (0,), **dict(zip(names, weights, strict=True)))
        found.append(torch.stack(list(head.loss(features, labels).values())))
    torch.testing.assert_close(found[1], found[0] * torch.tensor([2.0, 3, 5]))
    assert (found[0] > 0).all()


def test_pixels_are_rarely_on_a_disc_before_training():
    head = KeypointGraphHead([4] * 4)
    logits = head([torch.randn(1, 4, 32 >> k, 32 >> k) for k in range(4)])[0].heatmap_logits
    torch.testing.assert_close(logits.sigmoid().mean(), torch.tensor(0.1), atol=0.02, rtol=0)


TOUCHING = [[10, 10, 40, 50], [40, 10, 72, 44], [10, 50, 66, 90], [100, 20, 180, 90]]


def test_perfect_maps_give_the_boxes_of_touching_objects_over_all_scales():
    (found,) = detect(labels_of(TOUCHING, (128, 192)))
    assert_same_boxes(found.bboxes, TOUCHING, 0.9)
    assert (found.scores > 0.95).all() and (found.scores <= 1).all()
    assert found.labels.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize('scale', [0, 1, 2, 3])
def test_perfect_maps_of_each_scale_give_touching_boxes(scale):
    step = 2**scale
    boxes = [[step * v + 1 for v in box] for box in ([5, 5, 35, 35], [35, 5, 70, 40])]
    labels = labels_of(boxes, (45 * step, 75 * step))
    (found,) = detect(labels, scales=(scale,))
    assert_same_boxes(found.bboxes, boxes, 0.9)
    if scale == 0:
        assert sorted(found.bboxes.tolist()) == sorted(boxes)


def test_an_object_of_many_scales_is_found_once_unless_nms_lets_both_stay():
    labels = labels_of([[8, 8, 120, 120]], (128, 128))
    assert len(detect(labels)[0]) == 1
    assert len(detect(labels, nms_iou=1.0)[0]) >= 3  # 13 pixels or more on all four scales


def test_objects_on_every_border_are_found_and_none_crosses_it():
    boxes = [[0, 0, 20, 16], [44, 0, 64, 18], [0, 44, 17, 64], [40, 40, 64, 64]]
    (found,) = detect(labels_of(boxes, (64, 64)), scales=(0,))
    assert sorted(found.bboxes.tolist()) == boxes_sorted(boxes)


def boxes_sorted(boxes):
    return sorted([float(v) for v in box] for box in boxes)


@pytest.mark.parametrize(
    'label_maps', [torch.zeros(2, 40, 40).long(), labels_of([[5, 5, 6, 6]], (9, 9))]
)
def test_empty_images_and_one_pixel_objects_give_no_box(label_maps):
    for found in detect(label_maps):
        assert found.bboxes.shape == (0, 4)
        assert len(found.scores) == len(found.labels) == 0


def test_boxes_mirrored_beyond_the_image_are_cut_off():
    # Both right corners are missing, and the center lies near the border: x2 would be 79.
    maps = perfect_maps(labels_of([[20, 8, 60, 40]], (48, 64)), (0,))
    maps[0].heatmap_logits[:, [1, 3]] = -CERTAIN
    maps[0].short_offsets[:, 8] += 10  # the center moves right
    head = head_giving(maps, scales=(0,), test_cfg=dict(match_radius_px=12))
    (found,) = head.predict([], [dict(img_shape=(48, 64))])
    assert found.bboxes.tolist() == [[20, 8, 64, 40]]


def test_images_of_a_batch_give_what_each_gives_alone():
    label_maps = torch.cat([
        labels_of(TOUCHING, (128, 192)),
        labels_of([], (128, 192)),
        labels_of([[30, 30, 90, 80]], (128, 192)),
    ])  # fmt: skip
    together = detect(label_maps)
    for found, label_map in zip(together, label_maps, strict=True):
        (alone,) = detect(label_map[None])
        assert found.bboxes.equal(alone.bboxes)
        assert found.scores.equal(alone.scores)


def test_padding_does_not_vote():
    labels = labels_of([[5, 5, 25, 25], [40, 5, 60, 25]], (64, 64))
    (found,) = detect(labels, sizes=[(64, 33)])
    assert found.bboxes.tolist() == [[5, 5, 25, 25]]


def test_2000_objects_are_all_found():
    steps = torch.arange(0, 45 * 20, 20)
    corners = torch.stack(torch.meshgrid(steps, steps, indexing='xy'), -1).view(-1, 2)[:2000]
    boxes = torch.cat([corners, corners + torch.tensor([18, 16])], dim=1)
    (found,) = detect(labels_of(boxes.tolist(), (900, 900)), max_keypoints=20000)
    assert boxes_sorted(found.bboxes.tolist()) == boxes_sorted(boxes.tolist())


@pytest.fixture
def warnings_of(monkeypatch):
    messages = []
    for module in ('keypoint_heads.keypoint_graph_head', 'detection_limit'):
        monkeypatch.setattr(
            f'mmcell.models.{module}.print_log', lambda message, *_: messages.append(message)
        )
    return messages


def test_limits_that_are_reached_are_reported_and_keep_the_best(warnings_of):
    labels = labels_of(TOUCHING, (128, 192))
    (everything,) = detect(labels)
    (found,) = detect(labels, max_per_img=2)
    assert found.scores.equal(everything.scores[:2])
    assert warnings_of == [
        '0.png: 2 detections reach the limit model.test_cfg.max_per_img; raise it, objects may '
        'be missing'
    ]
    warnings_of.clear()
    (found,) = detect(labels, scales=(0,), max_keypoints=8)
    assert len(found) < 4
    assert warnings_of[0].startswith('0.png: 24 keypoints exceed the limit model.test_cfg.max_key')
    assert found.limits_reached == ('model.test_cfg.max_keypoints=8',)
    warnings_of.clear()
    (found,) = detect(labels, max_keypoints=24, max_per_img=5)
    assert warnings_of == [] and 'limits_reached' not in found


def test_limit_of_keypoints_counts_each_image_alone(warnings_of):
    label_maps = torch.cat([labels_of(TOUCHING, (128, 192)), labels_of(TOUCHING[:1], (128, 192))])
    full, single = detect(label_maps, scales=(0,), max_keypoints=8)
    assert len(full) < 4
    assert single.bboxes.tolist() == TOUCHING[:1]
    assert len(warnings_of) == 1 and 'limits_reached' not in single


def test_boxes_below_the_score_threshold_are_dropped():
    maps = perfect_maps(labels_of([[5, 5, 25, 25], [40, 5, 60, 25]], (32, 64)), (0,))
    maps[0].heatmap_logits[..., 33:] -= CERTAIN  # probability 1/2 on the second object's discs
    for threshold, expected in ((0.0, 2), (0.6, 1)):
        head = head_giving(maps, scales=(0,), test_cfg=dict(score_thr=threshold))
        (found,) = head.predict([], [dict(img_shape=(32, 64))])
        assert len(found) == expected


def test_under_autocast_the_same_boxes_are_found():
    labels = labels_of([(3, 3, 20, 17), (21, 6, 40, 22), (10, 24, 26, 41)], (48, 48))
    expected = detect(labels)
    with torch.autocast('cpu', torch.bfloat16):
        found = detect(labels)
    for one, other in zip(found, expected, strict=True):
        assert one.bboxes.equal(other.bboxes)
        assert one.scores.equal(other.scores)


@pytest.mark.parametrize('field', GraphMaps._fields)
@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_diverged_network_is_named_with_its_image(field, value):
    maps = perfect_maps(torch.zeros(2, 32, 32).long(), (0,))
    getattr(maps[0], field)[1, 0, 3, 3] = value
    head = head_giving(maps, scales=(0,))
    metas = [dict(img_shape=(32, 32), img_path=name) for name in ('good.png', 'bad.png')]
    with pytest.raises(ValueError, match='NaN or infinite keypoint maps for bad.png'):
        head.predict([], metas)


@pytest.mark.parametrize('scales', [(), (4,), (-1, 0)])
def test_scales_must_be_levels(scales):
    with pytest.raises(ValueError, match='scales must be some of the levels 0 to 3'):
        KeypointGraphHead([4] * 4, scales=scales)
