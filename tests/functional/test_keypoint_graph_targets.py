import math

import pytest
import torch

from mmcell.functional.keypoint_graph import EDGES
from mmcell.functional.keypoint_graph_targets import (
    graph_targets,
    keypoints_of_boxes,
    label_boxes,
    multi_scale_targets,
)


def targets_by_loops(keypoints, batch_index, shape, stamped):
    """Pixel by pixel, object by object."""
    batch, height, width = shape
    heatmaps = torch.zeros(batch, 5, height, width)
    short, mid = torch.zeros(batch, 10, height, width), torch.zeros(batch, 40, height, width)
    points, images = keypoints.tolist(), batch_index.tolist()
    for image in range(batch):
        objects = [k for k in range(len(points)) if images[k] == image]
        for kind in range(5):
            for y in range(height):
                for x in range(width):
                    near = [(math.dist(points[k][kind], (x, y)), k) for k in objects]
                    near = [pair for pair in near if pair[0] <= 5]
                    if not near:
                        continue
                    owner = min(near)[1]
                    heatmaps[image, kind, y, x] = 1
                    if not stamped:
                        short[image, 2 * kind, y, x] = points[owner][kind][0] - x
                        short[image, 2 * kind + 1, y, x] = points[owner][kind][1] - y
                    for edge, (start, end) in enumerate(EDGES):
                        if start == kind:
                            mid[image, 2 * edge, y, x] = points[owner][end][0] - x
                            mid[image, 2 * edge + 1, y, x] = points[owner][end][1] - y
            if stamped:
                for k in objects:
                    px, py = (int(value) for value in points[k][kind])
                    for y in range(max(0, py - 5), min(height, py + 6)):
                        for x in range(max(0, px - 5), min(width, px + 6)):
                            inside = (px - x) ** 2 + (py - y) ** 2 <= 25
                            short[image, 2 * kind, y, x] = px - x if inside else 0
                            short[image, 2 * kind + 1, y, x] = py - y if inside else 0
    return heatmaps, short, mid


def random_boxes(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, size, (count, 2), generator=generator)
    return torch.cat([corner, corner + torch.randint(1, 20, (count, 2), generator=generator)], 1)


@pytest.mark.parametrize('stamped', [False, True])
def test_equals_the_loop_over_pixels_and_objects(stamped):
    # Crowded, on every border, some keypoints outside.
    keypoints = keypoints_of_boxes(random_boxes(24, 30))
    images = torch.arange(24) % 2
    found = graph_targets(keypoints, images, (2, 34, 31), stamped=stamped)
    expected = targets_by_loops(keypoints, images, (2, 34, 31), stamped)
    for ours, loop in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, loop, rtol=0, atol=1e-6)


def test_keypoints_are_indices_of_the_first_and_last_pixels():
    keypoints = keypoints_of_boxes(torch.tensor([[2, 3, 7, 15]]))
    assert keypoints.tolist() == [[[2, 3], [6, 3], [2, 14], [6, 14], [4, 8.5]]]


def test_one_object_by_hand():
    keypoints = keypoints_of_boxes(torch.tensor([[10, 12, 31, 30]]))
    found = graph_targets(keypoints, torch.zeros(1, dtype=torch.long), (1, 40, 40))
    # Within 5 of a pixel 11 + 2 * (9 + 9 + 9 + 7 + 1); the center (20, 20.5) lies between two
    # rows: 2 * (9 + 9 + 9 + 7 + 5).
    assert found.heatmaps.sum((0, 2, 3)).tolist() == [81, 81, 81, 81, 78]
    assert found.short_offsets[0, :2, 13, 7].tolist() == [3, -1]  # to the top left (10, 12)
    assert found.short_offsets[0, 8:, 20, 22].tolist() == [-2, 0.5]  # to the center
    edge = EDGES.index((0, 3))
    assert found.mid_offsets[0, 2 * edge : 2 * edge + 2, 13, 7].tolist() == [23, 16]  # (30, 29)
    assert found.mid_offsets[0, :, 25, 10].abs().sum() > 0  # disc of the bottom left
    assert found.mid_offsets[0, :, 0].abs().sum() == 0


def test_a_pixel_between_two_keypoints_belongs_to_the_nearer_then_to_the_first():
    boxes = torch.tensor([[10, 10, 30, 30], [16, 10, 40, 30]])  # top left corners 6 apart
    zeros = torch.zeros(2, dtype=torch.long)
    short = graph_targets(keypoints_of_boxes(boxes), zeros, (1, 40, 40)).short_offsets[0, 0, 10]
    assert short[5:22].tolist() == [5, 4, 3, 2, 1, 0, -1, -2, -3, 2, 1, 0, -1, -2, -3, -4, -5]


def test_published_stamps_of_later_objects_overwrite_with_zeros():
    boxes = torch.tensor([[10, 10, 30, 30], [14, 14, 40, 40]])
    zeros = torch.zeros(2, dtype=torch.long)
    keypoints = keypoints_of_boxes(boxes)
    by_paper = graph_targets(keypoints, zeros, (1, 40, 40)).short_offsets[0, :2]
    stamped = graph_targets(keypoints, zeros, (1, 40, 40), stamped=True).short_offsets[0, :2]
    # (9, 10) is in the square, not in the disc, of the second object's corner (14, 14).
    assert by_paper[:, 10, 9].tolist() == [1, 0]
    assert stamped[:, 10, 9].tolist() == [0, 0]
    # (11, 11) is nearer to the first corner.
    assert by_paper[:, 11, 11].tolist() == [-1, -1]
    assert stamped[:, 11, 11].tolist() == [3, 3]


def test_label_boxes_of_several_images_with_gaps_between_ids():
    labels = torch.zeros(2, 6, 8, dtype=torch.int32)
    labels[0, 1:4, 2:7] = 900
    labels[0, 5, 7] = 3  # one pixel
    labels[1, 0, 0] = labels[1, 5, 7] = 3  # two parts
    found = label_boxes(labels)
    assert found.boxes.tolist() == [[7, 5, 8, 6], [2, 1, 7, 4], [0, 0, 8, 6]]
    assert found.batch_index.tolist() == [0, 0, 1]
    assert found.ids.tolist() == [3, 900, 3]


def test_objects_are_left_out_where_a_side_is_below_13_pixels():
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[0, 2:14, 2:40] = 1  # 12 rows: on no scale
    labels[0, 20:33, 0:13] = 2  # 13 x 13: on the first
    labels[0, 36:64, 32:64] = 3  # 28 x 32: halved still 14 x 16
    counts = [int(t.heatmaps[0, 0].sum() > 0) for t in multi_scale_targets(labels)]
    assert counts == [1, 1, 0, 0]
    first, second = multi_scale_targets(labels)[:2]
    assert first.heatmaps[0, 0, 2, 2] == 0
    assert first.heatmaps[0, 0, 20, 0] == 1
    assert torch.nonzero(second.heatmaps[0, 0])[:, 0].min() == 18 - 5
    assert [tuple(t.mid_offsets.shape) for t in multi_scale_targets(labels)] == [
        (1, 40, 64 // 2**s, 64 // 2**s) for s in range(4)
    ]


def test_an_image_without_objects_has_empty_targets():
    for targets in multi_scale_targets(torch.zeros(2, 32, 32, dtype=torch.long)):
        assert not any(tensor.any() for tensor in targets)
    assert len(label_boxes(torch.zeros(1, 4, 4, dtype=torch.long)).boxes) == 0


def test_boxes_larger_than_the_image_leave_only_the_discs_on_it():
    keypoints = keypoints_of_boxes(torch.tensor([[-50, -60, 100, 90]]))
    found = graph_targets(keypoints, torch.zeros(1, dtype=torch.long), (1, 40, 40))
    assert found.heatmaps[0, :4].sum() == 0
    assert found.heatmaps[0, 4, 14, 24] == 1  # center (24.5, 14.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('stamped', [False, True])
def test_cuda_equals_cpu(stamped):
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[0, 4:30, 4:30], labels[0, 28:60, 8:50] = 1, 2
    on_cpu = multi_scale_targets(labels, stamped=stamped)
    on_gpu = multi_scale_targets(labels.cuda(), stamped=stamped)
    for ours, reference in zip(on_gpu, on_cpu, strict=True):
        for a, b in zip(ours, reference, strict=True):
            torch.testing.assert_close(a.cpu(), b)
