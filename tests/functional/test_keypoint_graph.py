import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from mmcell.functional.keypoint_graph import (
    EDGES,
    Keypoints,
    Skeletons,
    boxes_from_keypoints,
    find_keypoints,
    group_keypoints,
    hough_vote,
    perfect_score,
    smooth_votes,
)
from mmcell.functional.keypoint_graph_targets import (
    graph_targets,
    keypoints_of_boxes,
    label_boxes,
)


def vote_by_loop(heatmaps, offsets):
    batch, types, height, width = heatmaps.shape
    votes = torch.zeros_like(heatmaps)
    for b, t, y, x in np.ndindex(batch, types, height, width):
        px = x + float(offsets[b, 2 * t, y, x])
        py = y + float(offsets[b, 2 * t + 1, y, x])
        for cy in (math.floor(py), math.floor(py) + 1):
            for cx in (math.floor(px), math.floor(px) + 1):
                if 0 <= cy < height and 0 <= cx < width:
                    share = (1 - abs(py - cy)) * (1 - abs(px - cx))
                    votes[b, t, cy, cx] += float(heatmaps[b, t, y, x]) * share
    return votes / (25 * math.pi)


def group_by_loop(points, mids, missing_at_origin=False):
    """One seed after the other; points are [type, x, y, score] of one image."""
    queue = sorted(range(len(points)), key=lambda k: -points[k][3])
    skeletons = []
    while queue:
        seed = queue.pop(0)
        kind, x, y, score = points[seed]
        kind = int(kind)
        grouped = [s[kind] for s in skeletons if s[kind][2] > 0 or missing_at_origin]
        if any(math.dist(p[:2], (x, y)) <= 10 for p in grouped):
            continue
        skeleton = [[0.0, 0.0, 0.0] for _ in range(5)]
        skeleton[kind] = [x, y, score]
        for edge, (start, end) in enumerate(EDGES):
            if start != kind:
                continue
            place = x + mids[seed][2 * edge], y + mids[seed][2 * edge + 1]
            near = [
                (math.dist(points[k][1:3], place), i, k)
                for i, k in enumerate(queue)
                if points[k][0] == end
            ]
            near = [entry for entry in near if entry[0] <= 6]
            if near:
                match = min(near)[2]
                skeleton[end] = list(points[match][1:])
                queue.remove(match)
        skeletons.append(skeleton)
    return torch.tensor(skeletons).view(-1, 5, 3)


def crowd(objects, size, seed, spread=2):
    """Keypoints around true ones, some missing, some twice, with offsets that are a little off."""
    rng = np.random.default_rng(seed)
    points, mids = {}, {}
    for _ in range(objects):
        x1, y1 = rng.integers(0, size - 12, 2)
        w, h = rng.integers(8, 24, 2)
        box = torch.tensor([[x1, y1, min(x1 + w, size), min(y1 + h, size)]])
        true = keypoints_of_boxes(box)[0].tolist()
        for kind in range(5):
            for _ in range(rng.integers(0, 3)):
                x, y = (int(v) for v in np.array(true[kind]) + rng.integers(-spread, spread + 1, 2))
                place = (kind, min(max(x, 0), size - 1), min(max(y, 0), size - 1))
                points[place] = float(rng.uniform(0.005, 0.06))
                offsets = np.zeros(40)
                for edge, (start, end) in enumerate(EDGES):
                    if start == kind:
                        noise = rng.normal(0, 2, 2)
                        offsets[2 * edge : 2 * edge + 2] = np.array(true[end]) - place[1:] + noise
                mids[place] = offsets
    places = sorted(points, key=lambda p: (p[0], p[2], p[1]))
    rows = [[*place, points[place]] for place in places]
    return rows, [mids[place] for place in places]


def as_tensors(crowds, size):
    mid = torch.zeros(len(crowds), 40, size, size, dtype=torch.float64)
    fields = []
    for image, (rows, mids) in enumerate(crowds):
        for (kind, x, y, score), offsets in zip(rows, mids, strict=True):
            fields.append((image, kind, x, y, score))
            for edge, (start, _) in enumerate(EDGES):
                if start == kind:
                    part = torch.from_numpy(offsets[2 * edge : 2 * edge + 2])
                    mid[image, 2 * edge : 2 * edge + 2, y, x] = part
    table = torch.tensor(fields, dtype=torch.float64).view(-1, 5)
    return Keypoints(*table[:, :4].long().unbind(1), table[:, 4]), mid


def test_voting_equals_the_loop_over_pixels():
    generator = torch.Generator().manual_seed(0)
    heatmaps = torch.rand(2, 5, 7, 9, generator=generator)
    offsets = 4 * torch.randn(2, 10, 7, 9, generator=generator)  # many leave the map
    torch.testing.assert_close(hough_vote(heatmaps, offsets), vote_by_loop(heatmaps, offsets))


def test_votes_far_outside_are_lost():
    offsets = torch.zeros(1, 10, 3, 4)
    offsets[0, :, 0, 0] = torch.tensor([1e12, -1e12, float('inf'), 0, -1e30] * 2)
    votes = hough_vote(torch.ones(1, 5, 3, 4), offsets) * 25 * math.pi
    assert torch.isfinite(votes[..., 1:]).all()
    torch.testing.assert_close(votes[0, 0, 1:], torch.ones(2, 4))


def test_voting_is_differentiable():
    generator = torch.Generator().manual_seed(0)
    heatmaps = torch.rand(1, 5, 3, 4, generator=generator, dtype=torch.float64)
    offsets = torch.rand(1, 10, 3, 4, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    assert torch.autograd.gradcheck(
        hough_vote, (heatmaps.requires_grad_(), offsets.requires_grad_())
    )


def test_offsets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r'\(1, 10, 3, 4\)'):
        hough_vote(torch.ones(1, 5, 3, 4), torch.ones(1, 5, 3, 4))


@pytest.mark.parametrize('size', [(1, 1), (3, 5), (20, 9), (70, 131), (64, 128)])
def test_smoothing_is_scipys_gaussian_filter(size):
    maps = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = ndimage.gaussian_filter(maps.numpy(), sigma=(0, 0, 2, 2))
    torch.testing.assert_close(smooth_votes(maps), torch.from_numpy(expected))


def test_peaks_equal_scipys_maximum_filter_over_pixel_and_4_neighbours():
    maps = torch.randint(0, 9, (2, 5, 12, 11), generator=torch.Generator().manual_seed(0)) / 1000
    cross = ndimage.generate_binary_structure(2, 1)[None, None]
    peaks = (ndimage.maximum_filter(maps.numpy(), footprint=cross) == maps.numpy()) & (
        maps.numpy() > 0.004
    )
    found = find_keypoints(maps)
    fields = torch.stack([found.batch_index, found.types, found.y, found.x], dim=1)
    assert fields.tolist() == np.argwhere(peaks).tolist()
    assert found.scores.tolist() == maps.numpy()[peaks].tolist()


def test_a_map_of_one_pixel_and_a_map_of_zeros():
    assert len(find_keypoints(torch.full((1, 5, 1, 1), 0.01)).x) == 5
    assert len(find_keypoints(torch.zeros(1, 5, 6, 6)).x) == 0


@pytest.mark.parametrize('missing_at_origin', [False, True])
@pytest.mark.parametrize('seed', range(6))
def test_grouping_in_rounds_equals_one_seed_at_a_time(seed, missing_at_origin):
    crowds = [crowd(objects, 70, seed * 10 + objects, spread=3) for objects in (0, 12, 60)]
    keypoints, mid = as_tensors(crowds, 70)
    found = group_keypoints(keypoints, mid, missing_at_origin=missing_at_origin)
    for image, (rows, mids) in enumerate(crowds):
        expected = group_by_loop(rows, mids, missing_at_origin)
        ours = found.points[found.batch_index == image]
        torch.testing.assert_close(ours, expected.double())


@pytest.mark.parametrize('missing_at_origin', [False, True])
def test_plateaus_equal_one_seed_at_a_time(missing_at_origin):
    types, y, x = (axis.ravel() for axis in np.mgrid[:5, :13, :13])
    generator = torch.Generator().manual_seed(0)
    mids = (3 * torch.randn(len(x), 40, generator=generator)).numpy()
    rows = [(*point, 0.01) for point in zip(types, x, y, strict=True)]
    found = group_keypoints(*as_tensors([(rows, mids)], 13), missing_at_origin=missing_at_origin)
    torch.testing.assert_close(found.points, group_by_loop(rows, mids, missing_at_origin).double())


def test_a_plateau_takes_few_rounds(monkeypatch):
    rounds = []
    wait = torch.Tensor.any
    monkeypatch.setattr(torch.Tensor, 'any', lambda *args: rounds.append(1) or wait(*args))
    group_keypoints(find_keypoints(torch.full((1, 5, 24, 24), 0.01)), torch.zeros(1, 40, 24, 24))
    assert len(rounds) < 30


def test_the_order_of_keypoints_does_not_matter():
    keypoints, mid = as_tensors([crowd(30, 70, 5), crowd(20, 70, 6)], 70)
    shuffle = torch.randperm(len(keypoints.x), generator=torch.Generator().manual_seed(0))
    shuffled = group_keypoints(Keypoints(*(field[shuffle] for field in keypoints)), mid)
    for a, b in zip(shuffled, group_keypoints(keypoints, mid), strict=True):
        assert a.equal(b)


def test_a_worse_group_complete_in_an_earlier_round_does_not_drop_a_better_seed():
    # The seed A (0.05) waits for B (0.06), which also wants C. D (0.01) takes E, near A, at once.
    rows = [
        [0, 30, 30, 0.05],  # A
        [0, 38, 30, 0.004],  # E
        [1, 50, 30, 0.01],  # D
        [3, 60, 60, 0.06],  # B
        [4, 45, 45, 0.02],  # C
    ]
    mids = np.zeros((5, 40))
    for k, end, offset in ((0, 4, (15, 15)), (3, 4, (-15, -15)), (2, 0, (-12, 0))):
        edge = EDGES.index((rows[k][0], end))
        mids[k, 2 * edge : 2 * edge + 2] = offset
    keypoints, mid = as_tensors([(rows, list(mids))], 70)
    points = group_keypoints(keypoints, mid).points
    assert points[:, :, 2].gt(0).sum(1).tolist() == [2, 1, 2]
    assert points[1, 0].tolist() == [30, 30, 0.05]


def test_seeds_near_the_origin_fall_to_a_missing_keypoint_only_as_published():
    rows = [[0, 5, 5, 0.01], [4, 40, 40, 0.05]]
    keypoints, mid = as_tensors([(rows, [np.zeros(40)] * 2)], 50)
    assert len(group_keypoints(keypoints, mid).points) == 2
    assert len(group_keypoints(keypoints, mid, missing_at_origin=True).points) == 1


def test_no_keypoints_give_no_skeletons_and_no_boxes():
    empty = torch.zeros(0, dtype=torch.long)
    found = group_keypoints(Keypoints(*[empty] * 4, torch.zeros(0)), torch.zeros(1, 40, 8, 8))
    assert found.points.shape == (0, 5, 3)
    assert boxes_from_keypoints(found).boxes.shape == (0, 4)


def box_of(found, **options):
    """Box of a skeleton of an object at columns 10..19 and rows 20..39, some points missing."""
    points = torch.zeros(1, 5, 3)
    full = torch.tensor([[10.0, 20], [19, 20], [10, 39], [19, 39], [14.5, 29.5]])
    for kind in found:
        points[0, kind] = torch.tensor([*full[kind].tolist(), 0.01 * (kind + 1)])
    result = boxes_from_keypoints(Skeletons(points, torch.zeros(1, dtype=torch.long)), **options)
    return result.boxes.tolist(), [round(score, 6) for score in result.scores.tolist()]


@pytest.mark.parametrize('subset', range(32))
def test_three_points_or_a_diagonal_pair_give_the_whole_box(subset):
    found = [kind for kind in range(5) if subset >> kind & 1]
    boxes, scores = box_of(found)
    if len(found) >= 3 or found in ([0, 3], [1, 2]):
        assert boxes == [[10, 20, 20, 40]]
        assert scores == [round(sum(0.01 * (k + 1) for k in found) / len(found), 6)]
    else:
        assert boxes == []


def test_published_boxes_end_at_the_index_of_the_last_pixel():
    assert box_of([0, 3], half_open=False, stride=4)[0] == [[40, 80, 76, 156]]
    # Pixel 10 of the map stands for pixel 40, the middle of 38.5 to 42.5.
    assert box_of([0, 3], stride=4)[0] == [[38.5, 78.5, 78.5, 158.5]]


@pytest.mark.parametrize('stride', [2, 4, 8])
def test_boxes_from_reduced_maps_are_right_on_average(stride):
    errors = []
    for start in range(stride):
        for end in range(stride):
            labels = torch.zeros(1, 256, 256, dtype=torch.long)
            labels[:, 50 + start : 240 + end, 50 + start : 240 + end] = 1
            reduced = label_boxes(labels[:, ::stride, ::stride])
            skeleton = torch.cat([keypoints_of_boxes(reduced.boxes), torch.ones(1, 5, 1)], dim=2)
            found = boxes_from_keypoints(Skeletons(skeleton, reduced.batch_index), stride)
            errors.append(found.boxes - label_boxes(labels).boxes)
    errors = torch.cat(errors)
    assert errors.mean(0).tolist() == [0, 0, 0, 0]
    assert errors.abs().max() == (stride - 1) / 2


def test_keypoints_in_column_zero_count_unless_as_published():
    points = torch.zeros(1, 5, 3)
    points[0, 0], points[0, 3] = torch.tensor([0.0, 4, 0.02]), torch.tensor([9.0, 14, 0.02])
    skeletons = Skeletons(points, torch.zeros(1, dtype=torch.long))
    assert boxes_from_keypoints(skeletons).boxes.tolist() == [[0, 4, 10, 15]]
    assert len(boxes_from_keypoints(skeletons, column_zero_is_missing=True).boxes) == 0


def test_a_perfect_disc_scores_what_scores_are_measured_by():
    boxes = torch.tensor([[10, 10, 41, 31]])
    targets = graph_targets(keypoints_of_boxes(boxes), torch.zeros(1).long(), (1, 50, 50))
    votes = smooth_votes(hough_vote(targets.heatmaps, targets.short_offsets))
    for kind in range(5):
        assert float(votes[0, kind].max()) == pytest.approx(perfect_score(), rel=1e-4)


def detect(targets, stride=1):
    scores = smooth_votes(hough_vote(targets.heatmaps, targets.short_offsets))
    return boxes_from_keypoints(
        group_keypoints(find_keypoints(scores), targets.mid_offsets), stride
    )


@pytest.mark.parametrize(
    'boxes',
    [
        [[0, 0, 20, 14], [40, 0, 60, 17], [0, 44, 15, 60], [43, 43, 60, 60]],  # in every corner
        [[0, 0, 60, 60]],  # the whole image
    ],
)
def test_targets_on_the_border_are_detected_as_the_same_boxes(boxes):
    boxes = torch.tensor(boxes)
    zeros = torch.zeros(len(boxes), dtype=torch.long)
    found = detect(graph_targets(keypoints_of_boxes(boxes), zeros, (1, 60, 60)))
    assert sorted(found.boxes.tolist()) == sorted(boxes.float().tolist())


def test_2000_objects_in_one_image_are_detected_as_the_same_boxes():
    steps = torch.arange(0, 45 * 22, 22)
    corner = torch.stack(torch.meshgrid(steps, steps, indexing='xy'), dim=-1).view(-1, 2)[:2000]
    boxes = torch.cat([corner, corner + torch.tensor([19, 17])], dim=1)
    zeros = torch.zeros(2000, dtype=torch.long)
    found = detect(graph_targets(keypoints_of_boxes(boxes), zeros, (1, 992, 992)))
    assert sorted(found.boxes.tolist()) == sorted(boxes.float().tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    boxes = torch.tensor([[0, 0, 20, 14], [40, 0, 60, 17], [0, 44, 15, 60], [43, 43, 60, 60]])
    targets = graph_targets(keypoints_of_boxes(boxes), torch.zeros(4).long(), (1, 60, 60))
    on_gpu = detect(type(targets)(*(tensor.cuda() for tensor in targets)))
    for a, b in zip(on_gpu, detect(targets), strict=True):
        torch.testing.assert_close(a.cpu(), b)
