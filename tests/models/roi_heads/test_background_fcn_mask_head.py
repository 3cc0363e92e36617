from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmcell.models.roi_heads.background_fcn_mask_head import BackgroundFCNMaskHead
from mmcell.structures import LabelMapMasks


@pytest.fixture
def head():
    return BackgroundFCNMaskHead(num_classes=2, num_convs=1, in_channels=4, conv_out_channels=4)


def positives(labels):
    """RoIs of 4 x 4 pixels on an image whose left half is the object."""
    label_map = np.zeros((4, 4), dtype=np.int32)
    label_map[:, :2] = 1
    count = len(labels)
    return [
        SimpleNamespace(
            pos_priors=torch.tensor([[0.0, 0, 4, 4]]).repeat(count, 1),
            pos_assigned_gt_inds=torch.zeros(count, dtype=torch.int64),
            pos_gt_labels=torch.tensor(labels, dtype=torch.int64),
        )
    ], [InstanceData(masks=LabelMapMasks([label_map], [1]))]


def test_logits_have_a_background_channel(head):
    assert head(torch.randn(5, 4, 14, 14)).shape == (5, 3, 28, 28)


def test_loss_is_the_cross_entropy_of_the_channel_after_the_background(head):
    logits = torch.zeros(2, 3, 28, 28, requires_grad=True)
    with torch.no_grad():
        logits[0, 1], logits[1, 2] = 2.0, -1.0
    result = head.loss_and_target(logits, *positives([0, 1]), ConfigDict(mask_size=28))
    # Half of each target is 1: log(1 + exp(x)) - x / 2 on average.
    expected = sum(np.log1p(np.exp(x)) - x / 2 for x in (2.0, -1.0)) / 2
    assert result['loss_mask']['loss_mask'].item() == pytest.approx(expected, abs=1e-6)
    assert result['mask_targets'].mean().item() == 0.5
    result['loss_mask']['loss_mask'].backward()
    touched = logits.grad.abs().sum((2, 3)) > 0
    assert touched.tolist() == [[False, True, False], [False, False, True]]


def test_loss_without_positives_is_zero_and_connected(head):
    logits = torch.zeros(0, 3, 28, 28, requires_grad=True)
    result = head.loss_and_target(logits, *positives([]), ConfigDict(mask_size=28))
    result['loss_mask']['loss_mask'].backward()
    assert result['loss_mask']['loss_mask'].item() == 0
    assert result['mask_targets'].shape == (0, 28, 28)
