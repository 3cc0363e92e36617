import pytest
import torch
import torch.nn.functional as F

from mmcell.models.keypoint_heads.keypoint_graph_mask_head import KeypointGraphMaskHead

CHANNELS = [4, 4, 6, 8, 8]
BOXES = [[0, 0, 20, 14], [20, 0, 48, 30], [3, 20, 12, 40], [40, 34, 56, 40]]


@pytest.fixture
def head():
    torch.manual_seed(0)
    return KeypointGraphMaskHead(CHANNELS, head_channels=4, instance_norm=True)


def random_features(batch, height=40, width=56):
    torch.manual_seed(1)
    return [
        torch.randn(batch, c, -(-height // 2**k), -(-width // 2**k)) for k, c in enumerate(CHANNELS)
    ]


def label_map_of(boxes):
    labels = torch.zeros(1, 40, 56, dtype=torch.long)
    for number, (x1, y1, x2, y2) in enumerate(boxes, start=1):
        labels[0, y1:y2, x1:x2] = number
        labels[0, y1, x1] = 0 if y2 - y1 > 1 else number  # no object is all of its box
    return labels


def test_loss_is_the_mean_over_boxes_of_the_mean_over_pixels(head):
    features = random_features(2)
    labels = torch.cat([label_map_of(BOXES), label_map_of(BOXES[1:2])])
    found = head.loss(features, labels)['loss_mask']
    expected = []
    for image, boxes in enumerate((BOXES, BOXES[1:2])):
        for number, box in enumerate(boxes, start=1):
            x1, y1, x2, y2 = box
            own = [level[image : image + 1] for level in features]
            _, (probs,) = head.predict_masks(
                own, torch.tensor([box]).float(), torch.zeros(1).long()
            )
            target = (labels[image, y1:y2, x1:x2] == number).float()
            expected.append(F.binary_cross_entropy(probs, target))
    torch.testing.assert_close(found, torch.stack(expected).mean())


@pytest.mark.parametrize('boxes', [[], [[7, 7, 8, 8]], [[0, 5, 56, 6]]])
def test_without_a_box_of_two_pixels_the_loss_is_zero_and_every_parameter_takes_part(head, boxes):
    loss = head.loss(random_features(1), label_map_of(boxes))['loss_mask']
    assert loss == 0
    loss.backward()
    assert all(not p.grad.any() for p in head.parameters())


def test_every_parameter_learns_from_a_large_box_and_takes_part_with_a_small_one(head):
    head.loss(random_features(1), label_map_of([[0, 0, 50, 38]]))['loss_mask'].backward()
    assert [n for n, p in head.named_parameters() if not p.grad.any()] == []
    head.zero_grad()
    head.loss(random_features(1), label_map_of([[2, 2, 5, 5]]))['loss_mask'].backward()
    assert [n for n, p in head.named_parameters() if p.grad is None] == []


def test_masks_have_the_boxes_own_resolution_up_to_the_border(head):
    boxes = torch.tensor([[-3.0, 2.4, 20.6, 50], [40, 30, 80, 40], [5, 5, 6, 30], [60, 5, 70, 9]])
    found, probs = head.predict_masks(random_features(1), boxes, torch.zeros(4).long())
    assert found[:2].tolist() == [[0, 2, 21, 40], [40, 30, 56, 40]]
    assert [tuple(mask.shape) for mask in probs] == [(38, 21), (10, 16), (0, 0), (0, 0)]
    assert all(((mask >= 0) & (mask <= 1)).all() for mask in probs)


def test_many_boxes_equal_one_at_a_time(head):
    features = random_features(2)
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 2, generator=generator) * 30
    boxes = torch.cat([corners, corners + 2 + 24 * torch.rand(40, 2, generator=generator)], dim=1)
    images = torch.arange(40) % 2
    found, together = head.predict_masks(features, boxes, images)
    for k in range(40):
        own = [level[images[k : k + 1]] for level in features]
        box, (alone,) = head.predict_masks(own, boxes[k : k + 1], torch.zeros(1).long())
        assert box.equal(found[k : k + 1])
        torch.testing.assert_close(together[k], alone, rtol=0, atol=1e-4)


def test_no_box_gives_no_mask(head):
    found, probs = head.predict_masks(random_features(1), torch.zeros(0, 4), torch.zeros(0).long())
    assert found.shape == (0, 4)
    assert probs == []


def test_a_single_level_is_segmented_as_it_is():
    head = KeypointGraphMaskHead(CHANNELS[:1], head_channels=4)
    features = random_features(1)[:1]
    _, (found,) = head.predict_masks(
        features, torch.tensor([[4.0, 6, 30, 26]]), torch.zeros(1).long()
    )
    crop = features[0][:, :, 6:26, 4:30]
    expected = head.predict(head.hidden(crop).relu())[0, 0].sigmoid()
    torch.testing.assert_close(found, expected)
