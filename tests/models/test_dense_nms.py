import pytest
import torch
from mmcv.ops import batched_nms, nms

import mmcell.plugin  # noqa: F401
from mmcell.models.dense_nms import dense_nms


def random_boxes(count=3000, side=400, size=15):
    center, sides = torch.rand(count, 2) * side, size * (0.5 + torch.rand(count, 2))
    boxes = torch.cat([center - sides / 2, center + sides / 2], dim=1)
    return boxes, torch.randperm(count) / count  # mmcv leaves open which of equal scores is better


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(score_threshold=0.4),
        dict(max_num=100),
        dict(score_threshold=0.4, max_num=100),
        dict(offset=1),
    ],
)
def test_equals_mmcv(options):
    boxes, scores = random_boxes()
    expected, expected_kept = nms(boxes, scores, 0.3, **options)
    dets, kept = dense_nms(boxes, scores, 0.3, **options)
    assert 0 < len(kept) < 3000
    assert kept.equal(expected_kept)
    assert dets.equal(expected)


@pytest.mark.parametrize('split_thr', [10000, 100], ids=['all at once', 'group by group'])
def test_batched_nms_finds_it_by_name_and_keeps_groups_apart(split_thr):
    boxes, scores = random_boxes()
    groups = torch.randint(3, (3000,))
    results = [
        batched_nms(boxes, scores, groups, dict(type=name, iou_threshold=0.3, split_thr=split_thr))
        for name in ('nms', 'dense_nms')
    ]
    for one, other in zip(*results, strict=True):
        assert other.equal(one)


def test_no_boxes():
    dets, kept = dense_nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    boxes, scores = random_boxes()
    _, kept = dense_nms(boxes.cuda(), scores.cuda(), 0.3)
    assert kept.cpu().equal(dense_nms(boxes, scores, 0.3)[1])
