import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData

from mmcell.functional.fusion import FUSION_MODES, fuse_instance_masks
from mmcell.models.semantic_heads.raff import RAFF


def some_instances(boxes, channels=2, seed=0):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(boxes), channels, 8, 8, generator=generator)
    index = torch.arange(len(boxes))
    return InstanceData(bboxes=boxes, mask_logits=logits, object_index=index)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return RAFF(in_channels=6, num_classes=1)


@pytest.fixture
def finest():
    return torch.randn(2, 6, 8, 10, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def instances():
    return [some_instances([[3.0, 4, 20, 15], [10.0, 8, 30, 31]]), some_instances([[0.0, 0, 9, 9]])]


NOTHING = [some_instances([]), some_instances([])]


def test_reads_convolve_upsample_fuse_convolve(head, finest, instances):
    upsampled = F.interpolate(head.to_classes(finest), scale_factor=4, mode='nearest')
    fused = torch.stack(
        [
            fuse_instance_masks(one, found.mask_logits, found.bboxes)
            for one, found in zip(upsampled, instances, strict=True)
        ]
    )
    first, _, last = head.score
    expected = last(F.leaky_relu(first(fused), 0.1))
    torch.testing.assert_close(head(finest, instances, (32, 40)), expected)


def test_convolution_before_upsampling_equals_convolution_after(head, finest):
    late = head.to_classes(F.interpolate(finest, scale_factor=4, mode='nearest'))
    torch.testing.assert_close(head(finest, NOTHING, (32, 40)), head.score(late))


@pytest.mark.parametrize('mode', FUSION_MODES)
@pytest.mark.parametrize('num_classes', [1, 3])
def test_mode_decides_how_masks_are_fused(mode, num_classes, finest):
    torch.manual_seed(0)
    head = RAFF(6, num_classes, mode=mode)
    head.score = torch.nn.Identity()
    found = [
        some_instances([[3.0, 4, 20, 15]], num_classes + 1),
        some_instances([], num_classes + 1),
    ]
    upsampled = F.interpolate(head.to_classes(finest), scale_factor=4, mode='nearest')
    fused = head(finest, found, (32, 40))
    expected = fuse_instance_masks(upsampled[0], found[0].mask_logits, found[0].bboxes, mode)
    torch.testing.assert_close(fused[0], expected)
    torch.testing.assert_close(fused[1], upsampled[1])


def test_masks_of_one_image_do_not_touch_another(head, finest, instances):
    both = head(finest, instances, (32, 40))
    first_only = head(finest, [instances[0], NOTHING[1]], (32, 40))
    neither = head(finest, NOTHING, (32, 40))
    torch.testing.assert_close(first_only[0], both[0])
    torch.testing.assert_close(first_only[1], neither[1])
    assert not torch.allclose(first_only[0], neither[0])


def test_masks_reach_one_pixel_beyond_their_box(head, finest, instances):
    with_masks = head(finest, [some_instances([[3.0, 4, 20, 15]]), NOTHING[1]], (32, 40))
    changed = (with_masks != head(finest, NOTHING, (32, 40)))[0].any(0)
    box = torch.zeros(32, 40, dtype=torch.bool)
    box[3:16, 2:21] = True  # the 3x3 convolution
    assert not (changed & ~box).any()
    assert changed.any(0).nonzero().flatten()[[0, -1]].tolist() == [2, 20]
    assert changed.any(1).nonzero().flatten()[[0, -1]].tolist() == [3, 15]


def test_rois_of_one_object_count_as_one(head, finest):
    one = some_instances([[3.0, 4, 20, 15]])
    same = InstanceData.cat([one] * 40)  # the object's number is the same
    expected = head(finest, [one, NOTHING[1]], (32, 40))
    torch.testing.assert_close(head(finest, [same, NOTHING[1]], (32, 40)), expected)
    head.per_object = False
    with_all = head(finest, [same, NOTHING[1]], (32, 40))
    assert with_all.abs().max() > 1000 * expected.abs().max()


def test_rois_of_two_objects_count_as_two(head, finest):
    boxes = [[3.0, 4, 20, 15], [3.0, 4, 20, 15], [10.0, 8, 30, 31]]
    found = some_instances(boxes)
    found.object_index = torch.tensor([5, 5, 2])
    upsampled = F.interpolate(head.to_classes(finest), scale_factor=4, mode='nearest')
    weights = torch.tensor([0.5, 0.5, 1.0])
    fused = fuse_instance_masks(upsampled[0], found.mask_logits, found.bboxes, weights=weights)
    expected = head.score(torch.stack([fused, upsampled[1]]))
    torch.testing.assert_close(head(finest, [found, NOTHING[1]], (32, 40)), expected)


def test_learns_where_the_first_convolution_is_negative_everywhere(head, finest, instances):
    with torch.no_grad():
        head.score[0].bias.fill_(-1e3)
    target = torch.randint(2, (2, 32, 40), generator=torch.Generator().manual_seed(0))
    head.loss(head(finest, instances, (32, 40)), target)['loss_instance_semantic'].backward()
    assert head.score[0].weight.grad.abs().min() > 0
    assert head.to_classes.weight.grad.abs().min() > 0


@pytest.mark.parametrize('image_size', [(30, 37), (32, 40), (29, 38)])
def test_scores_are_as_large_as_the_image(head, finest, instances, image_size):
    assert head(finest, instances, image_size).shape == (2, 2, *image_size)


def test_gradient_flows_to_masks_and_features_by_default(head, finest, instances):
    finest.requires_grad_()
    for found in instances:
        found.mask_logits.requires_grad_()
    target = torch.randint(2, (2, 32, 40))
    head.loss(head(finest, instances, (32, 40)), target)['loss_instance_semantic'].backward()
    for tensor in (finest, *head.parameters(), *(found.mask_logits for found in instances)):
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize('mode', FUSION_MODES)
def test_detach_cuts_the_gradient_to_the_masks_only(mode, finest):
    torch.manual_seed(0)
    head = RAFF(6, 1, mode=mode, detach=True)
    found = [some_instances([[3.0, 4, 20, 15]]), some_instances([[0.0, 0, 9, 9]])]
    finest.requires_grad_()
    for image in found:
        image.mask_logits.requires_grad_()
    head(finest, found, (32, 40)).sum().backward()
    assert finest.grad.abs().sum() > 0
    assert all(image.mask_logits.grad is None for image in found)


def test_images_without_instances_still_train(head, finest):
    loss = head.loss(head(finest, NOTHING, (32, 40)), torch.zeros(2, 32, 40, dtype=torch.int64))
    loss['loss_instance_semantic'].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())


def test_gradient_is_right():
    torch.manual_seed(0)
    head = RAFF(2, 1).double()
    finest = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    mask_logits = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.5, 1.5, 4, 6], [2.0, 2, 7, 7]])

    def score(finest, mask_logits):
        index = torch.zeros(2, dtype=torch.int64)
        found = InstanceData(bboxes=boxes, mask_logits=mask_logits, object_index=index)
        return head(finest, [found], (8, 8))

    assert torch.autograd.gradcheck(score, (finest, mask_logits))


def test_loss_is_weighted_cross_entropy(head):
    losses = head.loss(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.int64))
    torch.testing.assert_close(losses, {'loss_instance_semantic': torch.tensor(0.1 * 0.6931472)})


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode must be one of .*, got 'replace'"):
        RAFF(6, 1, mode='replace')


def test_masks_without_background_channel_are_refused(head, finest):
    with pytest.raises(ValueError, match='C = 2 semantic channels'):
        head(finest, [some_instances([[0.0, 0, 9, 9]], channels=1), NOTHING[1]], (32, 40))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('mode', FUSION_MODES)
def test_cuda_equals_cpu(mode, finest, instances):
    torch.manual_seed(0)
    head = RAFF(6, 1, mode=mode)
    expected = head(finest, instances, (32, 40))
    moved = [found.cuda() for found in instances]
    result = head.cuda()(finest.cuda(), moved, (32, 40)).cpu()
    torch.testing.assert_close(result, expected, rtol=2e-2, atol=2e-2)
