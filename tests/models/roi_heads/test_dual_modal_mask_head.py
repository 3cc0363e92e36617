from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import FCNMaskHead
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmcell.models.roi_heads.dual_modal_mask_head import DualModalMaskHead

GROUP_NORM = dict(type='GN', num_groups=2)


def small_head(num_classes=1, **kwargs):
    torch.manual_seed(0)
    sizes = dict(in_channels=4, conv_channels=4, roi_feat_size=2, norm_cfg=GROUP_NORM)
    return DualModalMaskHead(num_classes, **{**sizes, **kwargs})


def samples(boxes, labels, objects=None):
    """One image's positives; ``objects`` says which mask belongs to each."""
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    objects = list(range(len(boxes))) if objects is None else objects
    return SimpleNamespace(
        pos_priors=boxes,
        pos_gt_labels=torch.tensor(labels, dtype=torch.int64),
        pos_assigned_gt_inds=torch.tensor(objects, dtype=torch.int64),
    )


def some_masks(num=2, seed=0):
    bitmaps = np.random.default_rng(seed).integers(0, 2, (num, 12, 16), dtype=np.uint8)
    return InstanceData(masks=BitmapMasks(bitmaps, 12, 16)), torch.from_numpy(bitmaps).float()


def test_layers_have_the_shapes_of_the_papers_table_1():
    with torch.device('meta'):  # shapes without arithmetic
        head = DualModalMaskHead(num_classes=1, norm_cfg=dict(type='GN', num_groups=32))
        shapes = []
        for block in (head.shared, head.connected, head.upscaled, [head.upscaled_logits]):
            for layer in block:
                layer.register_forward_hook(lambda m, i, out: shapes.append(tuple(out.shape[1:])))
        output = head(torch.empty(3, 256, 14, 14))
    conv = (256, 14, 14)
    assert shapes[:3] == [conv, conv, conv]  # Conv x 3
    assert shapes[3:7] == [conv, (128, 14, 14), (128 * 14 * 14,), (784,)]  # Conv1, Conv2, FC
    assert shapes[7:9] == [conv, (1024, 14, 14)]  # Conv3, Conv4
    assert shapes[9] == (2, 28, 28)  # Conv5
    assert output.shape == (3, 2, 28, 28)


def test_parameters_counted_by_hand():
    with torch.device('meta'):
        head = DualModalMaskHead(num_classes=1)
    conv_256 = 256 * 256 * 9 + 256
    expected = (
        3 * conv_256
        + conv_256
        + (256 * 128 * 9 + 128)
        + (128 * 14 * 14 * 784 + 784)
        + conv_256
        + (256 * 1024 * 9 + 1024)
        + (256 * 2 + 2)
    )
    assert expected == 25_276_050
    assert sum(p.numel() for p in head.parameters()) == expected


@pytest.mark.parametrize('num_classes', [1, 3])
def test_logits_are_the_sum_of_both_paths(num_classes):
    head = small_head(num_classes)
    features = torch.randn(3, 4, 2, 2)
    both = head(features)
    assert both.shape == (3, num_classes + 1, 4, 4)
    torch.nn.init.zeros_(head.upscaled_logits.weight)
    torch.nn.init.zeros_(head.upscaled_logits.bias)
    connected = head(features)
    # The fully connected map is copied to every class.
    assert connected.equal(connected[:, :1].expand_as(connected))
    again = small_head(num_classes)
    torch.nn.init.zeros_(again.connected[-1].weight)
    torch.nn.init.zeros_(again.connected[-1].bias)
    torch.testing.assert_close(both, connected + again(features))


def test_convolutional_path_sees_little_and_connected_path_the_whole_roi():
    head = small_head(roi_feat_size=14, conv_channels=2, norm_cfg=None)
    features = torch.randn(1, 4, 14, 14)
    features.requires_grad_()
    head(features)[0, 1, 0, 0].backward()
    assert features.grad[0, :, -1, -1].abs().sum() > 0
    features.grad = None
    torch.nn.init.zeros_(head.connected[-1].weight)
    head(features)[0, 1, 0, 0].backward()
    assert features.grad[0, :, 6:, 6:].abs().sum() == 0  # five 3x3 convolutions reach 5 pixels


def test_targets_on_pixel_sized_grids_are_the_pixels():
    head = small_head()
    instances, bitmaps = some_masks()
    boxes = [[1, 2, 5, 6], [8, 4, 12, 8], [0, 8, 4, 12]]  # 4 x 4 pixels, as the grid
    result = head.loss_and_target(
        torch.zeros(3, 2, 4, 4),
        [samples(boxes, [0, 0, 0], objects=[1, 0, 1])],
        [instances],
        ConfigDict(mask_size=4),
    )
    expected = [bitmaps[1, 2:6, 1:5], bitmaps[0, 4:8, 8:12], bitmaps[1, 8:12, 0:4]]
    assert result['mask_targets'].equal(torch.stack(expected))


def test_targets_are_mmdetections():
    head = small_head(roi_feat_size=14)
    first, second = some_masks(seed=1)[0], some_masks(seed=2)[0]
    sampling = [
        samples([[1.3, 2.2, 9.7, 8.1], [0, 0, 16, 12]], [0, 0]),
        samples([[3.3, 0.2, 9.1, 11.6]], [0], objects=[1]),
    ]
    cfg = ConfigDict(mask_size=28)
    reference = FCNMaskHead(num_convs=1, in_channels=2, conv_out_channels=2, num_classes=1)
    expected = reference.get_targets(sampling, [first, second], cfg)
    result = head.loss_and_target(torch.zeros(3, 2, 28, 28), sampling, [first, second], cfg)
    assert result['mask_targets'].equal(expected)


def test_loss_is_binary_cross_entropy_of_the_labelled_channel_alone():
    head = small_head(num_classes=3)
    instances, bitmaps = some_masks(3)
    logits = torch.randn(3, 4, 4, 4, requires_grad=True)
    boxes = [[1, 2, 5, 6], [8, 4, 12, 8], [0, 8, 4, 12]]
    labels = [0, 2, 1]
    result = head.loss_and_target(
        logits, [samples(boxes, labels)], [instances], ConfigDict(mask_size=4)
    )
    loss = result['loss_mask']['loss_mask'].sum()
    loss.backward()
    chosen = torch.zeros(3, 4, dtype=torch.bool)
    chosen[torch.arange(3), torch.tensor(labels) + 1] = True  # background comes first
    assert (logits.grad[~chosen] == 0).all()
    assert (logits.grad[chosen] != 0).all()
    probs = logits[chosen].sigmoid()
    targets = torch.stack([bitmaps[k, y1:y2, x1:x2] for k, (x1, y1, x2, y2) in enumerate(boxes)])
    expected = -(targets * probs.log() + (1 - targets) * (1 - probs).log()).mean()
    torch.testing.assert_close(loss, expected)


def test_loss_can_be_configured():
    head = small_head(loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=3.0))
    result = head.loss_and_target(
        torch.zeros(1, 2, 4, 4),
        [samples([[1, 2, 5, 6]], [0])],
        [some_masks()[0]],
        ConfigDict(mask_size=4),
    )
    assert result['loss_mask']['loss_mask'].item() == pytest.approx(3 * np.log(2))


def test_empty_batch_passes_forward_and_backward():
    head = small_head()
    features = torch.zeros(0, 4, 2, 2, requires_grad=True)
    logits = head(features)
    assert logits.shape == (0, 2, 4, 4)
    result = head.loss_and_target(
        logits, [samples([], [])], [some_masks()[0]], ConfigDict(mask_size=4)
    )
    assert result['mask_targets'].shape == (0, 4, 4)
    result['loss_mask']['loss_mask'].backward()
    assert result['loss_mask']['loss_mask'].item() == 0
    # Distributed training waits for the gradient of every parameter.
    assert all(p.grad.equal(torch.zeros_like(p)) for p in head.parameters())


def test_gradient_is_right():
    head = small_head(norm_cfg=dict(type='GN', num_groups=1), conv_channels=2).double()
    features = torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head, features)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    head, features = small_head(), torch.randn(3, 4, 2, 2)
    expected = head(features)
    torch.testing.assert_close(head.cuda()(features.cuda()).cpu(), expected, rtol=2e-2, atol=2e-2)
