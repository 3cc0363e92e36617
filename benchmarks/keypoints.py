"""The keypoint systems' computations: all objects at once against one object at a time.

Each baseline is the computation as one would first write it, in NumPy and SciPy (the segmentation
network: in PyTorch, as the authors run it): a loop over objects, keypoints or boxes. Both sides get
the same input, and their results are compared.

The segmentation network has the channels of a ResNet-50: on a CPU nearly all of its time is inside
convolutions, which batches make only somewhat faster.

    python benchmarks/keypoints.py
"""

import argparse
import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from common import Report, median_seconds, parse_options
from scipy import ndimage
from torch import Tensor, nn

from mmcell.engine.memory import keep_freed_memory
from mmcell.functional.keypoint_graph import (
    DISC_RADIUS_PX,
    DUPLICATE_RADIUS_PX,
    EDGES,
    MATCH_RADIUS_PX,
    PEAK_THRESHOLD,
    SMOOTHING_SIGMA_PX,
    boxes_from_keypoints,
    find_keypoints,
    group_keypoints,
    hough_vote,
    smooth_votes,
)
from mmcell.functional.keypoint_graph_targets import (
    MIN_SIDE_PX,
    NUM_SCALES,
    GraphTargets,
    multi_scale_targets,
)
from mmcell.functional.ragged_rois import (
    PaddedRois,
    RoiLevels,
    crop_samples,
    enlarged_levels,
    masked_conv2d,
    masked_instance_norm,
    resize_rois,
    similar_roi_batches,
    unpad_rois,
)
from mmcell.structures import RoiMasks

SIZE = 512
COLUMNS, ROWS = 12, 13
NUM_OBJECTS = 150
SIDES_PX = (20, 40)
CHANNELS = (64, 64, 256, 512, 1024)  # two convolutions on the image, ResNet-50 conv1 to conv4
MASK_GRID = 28
NMS_IOU = 0.3


def random_cells() -> tuple[Tensor, Tensor]:
    """A label map (SIZE, SIZE) of ellipses in the cells of a grid, and their boxes (N, 4)."""
    rng = np.random.default_rng(0)
    labels = np.zeros((SIZE, SIZE), dtype=np.int64)
    boxes = []
    for cell in rng.permutation(COLUMNS * ROWS)[:NUM_OBJECTS]:
        pitch = np.array([SIZE // COLUMNS, SIZE // ROWS])
        width, height = np.minimum(rng.integers(SIDES_PX[0], SIDES_PX[1] + 1, 2), pitch)
        x, y = np.array([cell % COLUMNS, cell // COLUMNS]) * pitch
        x, y = x + rng.integers(0, pitch[0] - width + 1), y + rng.integers(0, pitch[1] - height + 1)
        row, column = np.ogrid[:height, :width]
        radius = ((row + 0.5) / height - 0.5) ** 2 + ((column + 0.5) / width - 0.5) ** 2
        boxes.append([x, y, x + width, y + height])
        labels[y : y + height, x : x + width][radius <= 0.25] = len(boxes)
    return torch.from_numpy(labels), torch.tensor(boxes, dtype=torch.float32)


# Keypoint graph: targets


def targets_by_loop(labels: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Object by object, on maps of the whole image."""
    scales = []
    for scale in range(NUM_SCALES):
        reduced = labels[:: 2**scale, :: 2**scale]
        height, width = reduced.shape
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        nearest = np.full((5, height, width), np.inf, dtype=np.float32)
        heatmaps = np.zeros((5, height, width), dtype=np.float32)
        short = np.zeros((10, height, width), dtype=np.float32)
        mid = np.zeros((40, height, width), dtype=np.float32)
        for label in np.unique(reduced)[1:]:
            y, x = np.nonzero(reduced == label)
            y1, y2, x1, x2 = y.min(), y.max(), x.min(), x.max()
            if y2 - y1 + 1 < MIN_SIDE_PX or x2 - x1 + 1 < MIN_SIDE_PX:
                continue
            points = [(x1, y1), (x2, y1), (x1, y2), (x2, y2), ((x1 + x2) / 2, (y1 + y2) / 2)]
            for kind, (px, py) in enumerate(points):
                distance = np.sqrt((columns - px) ** 2 + (rows - py) ** 2)
                mine = (distance <= DISC_RADIUS_PX) & (distance < nearest[kind])
                nearest[kind][mine] = distance[mine]
                heatmaps[kind][mine] = 1
                short[2 * kind][mine] = px - columns[mine]
                short[2 * kind + 1][mine] = py - rows[mine]
                for edge, (start, end) in enumerate(EDGES):
                    if start == kind:
                        mid[2 * edge][mine] = points[end][0] - columns[mine]
                        mid[2 * edge + 1][mine] = points[end][1] - rows[mine]
        scales.append((heatmaps, short, mid))
    return scales


# Keypoint graph: from maps to boxes


def noisy(targets: GraphTargets) -> GraphTargets:
    """What a trained head would give: every pixel votes a little, offsets are about right."""
    generator = torch.Generator().manual_seed(0)
    heatmaps = 0.9 * targets.heatmaps + 0.05 * torch.rand(
        targets.heatmaps.shape, generator=generator
    )
    return GraphTargets(
        heatmaps,
        targets.short_offsets + 0.5 * torch.randn(targets.short_offsets.shape, generator=generator),
        targets.mid_offsets + torch.randn(targets.mid_offsets.shape, generator=generator),
    )


def detect(scales: list[GraphTargets]) -> list[tuple[Tensor, Tensor]]:
    """Boxes and scores on every scale, with mmcell."""
    found = []
    for scale, (heatmaps, short, mid) in enumerate(scales):
        keypoints = find_keypoints(smooth_votes(hough_vote(heatmaps, short)))
        boxes = boxes_from_keypoints(group_keypoints(keypoints, mid), stride=2**scale)
        found.append((boxes.boxes, boxes.scores))
    return found


def detect_by_loop(scales: list[tuple[np.ndarray, ...]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Type by type, keypoint by keypoint."""
    found = []
    cross = ndimage.generate_binary_structure(2, 1)
    for scale, (heatmaps, short, mid) in enumerate(scales):
        queue = []
        for kind in range(5):
            votes = vote_in_numpy(heatmaps[kind], short[2 * kind], short[2 * kind + 1])
            smooth = ndimage.gaussian_filter(votes, SMOOTHING_SIGMA_PX)
            peaks = ndimage.maximum_filter(smooth, footprint=cross) == smooth
            for y, x in zip(*np.nonzero(peaks & (smooth > PEAK_THRESHOLD)), strict=True):
                queue.append((kind, x, y, smooth[y, x]))
        queue.sort(key=lambda point: -point[3])
        skeletons = group_by_loop(queue, mid)
        boxes = [box for box in (box_of_skeleton(points) for points in skeletons) if box]
        table = np.array(boxes, dtype=np.float64).reshape(-1, 5)
        shift = (2**scale - 1) / 2
        found.append((table[:, :4] * 2**scale - shift, table[:, 4]))
    return found


def vote_in_numpy(heatmap: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    height, width = heatmap.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + dx, rows + dy
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    votes = np.zeros_like(heatmap)
    for row, row_share in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_share in ((left, 1 - (x - left)), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            share = (heatmap * row_share * column_share).astype(np.float32)
            np.add.at(votes, (row[inside], column[inside]), share[inside])
    return votes / np.float32(math.pi * DISC_RADIUS_PX**2)


def group_by_loop(queue: list[tuple], mid: np.ndarray) -> list[list]:
    skeletons: list[list] = []
    while queue:
        kind, x, y, score = queue.pop(0)
        twins = [s[kind] for s in skeletons if s[kind] is not None]
        if any(np.hypot(p[0] - x, p[1] - y) <= DUPLICATE_RADIUS_PX for p in twins):
            continue
        skeleton: list = [None] * 5
        skeleton[kind] = (x, y, score)
        for edge, (start, end) in enumerate(EDGES):
            if start != kind:
                continue
            place_x, place_y = x + mid[2 * edge, y, x], y + mid[2 * edge + 1, y, x]
            candidates = [
                (np.hypot(point[1] - place_x, point[2] - place_y), index)
                for index, point in enumerate(queue)
                if point[0] == end
            ]
            distance, index = min(candidates, default=(np.inf, -1))
            if distance <= MATCH_RADIUS_PX:
                skeleton[end] = queue.pop(index)[1:]
        skeletons.append(skeleton)
    return skeletons


def box_of_skeleton(points: list) -> list[float] | None:
    """x1, y1, x2, y2, score, or None if there are too few keypoints."""
    found = [kind for kind in range(5) if points[kind] is not None]
    if len(found) < 3 and found not in ([0, 3], [1, 2]):
        return None
    corners = [points[kind] for kind in found if kind < 4]
    ends = []
    for axis, starts in ((0, (0, 2)), (1, (0, 1))):
        low, high = min(p[axis] for p in corners), max(p[axis] for p in corners)
        if not any(kind in found for kind in starts):
            low = 2 * points[4][axis] - high
        elif not any(kind in found for kind in {0, 1, 2, 3} - set(starts)):
            high = 2 * points[4][axis] - low
        ends.append((min(low, high), max(low, high)))
    (x1, x2), (y1, y2) = ends
    return [x1, y1, x2 + 1, y2 + 1, float(np.mean([points[kind][2] for kind in found]))]


# Segmentation of boxes of different size


class Pyramid(NamedTuple):
    """Feature maps (1, C, H, W), where the boxes are on them, and the network."""

    features: list[Tensor]
    levels: RoiLevels
    up: nn.ModuleList
    joined: nn.ModuleList
    head: nn.ModuleList


def random_pyramid(boxes: Tensor) -> Pyramid:
    torch.manual_seed(0)
    features = [torch.randn(1, c, SIZE >> k, SIZE >> k) for k, c in enumerate(CHANNELS)]
    pairs = list(zip(CHANNELS[:-1], CHANNELS[1:], strict=True))
    return Pyramid(
        features,
        enlarged_levels(boxes, len(CHANNELS)),
        nn.ModuleList(nn.Conv2d(below, c, 3, padding=1) for c, below in pairs),
        nn.ModuleList(nn.Conv2d(2 * c, c, 1) for c in CHANNELS[:-1]),
        nn.ModuleList([nn.Conv2d(CHANNELS[0], 64, 3, padding=1), nn.Conv2d(64, 1, 3, padding=1)]),
    )


@torch.no_grad()
def segment_batched(pyramid: Pyramid) -> list[Tensor]:
    """Mask logits of every box, with mmcell."""
    features, levels, up, joined, head = pyramid
    parts = []
    for batch in similar_roi_batches(levels):
        images = torch.zeros_like(batch)
        rois = [
            crop_samples(features[k], levels.boxes[batch, k], levels.sizes[batch, k], images)
            for k in range(int(levels.counts[batch[0]]))
        ]
        below = rois.pop()
        for k in reversed(range(len(rois))):
            coarse = resize_rois(below, rois[k].sizes)
            coarse = masked_instance_norm(masked_conv2d(coarse, up[k].weight, up[k].bias))
            both = torch.cat([rois[k].values, coarse.values.relu_()], dim=1)
            below = masked_conv2d(PaddedRois(both, rois[k].sizes), joined[k].weight, joined[k].bias)
            below = masked_instance_norm(below)
            below.values.relu_()
        below = masked_conv2d(below, head[0].weight, head[0].bias)
        below.values.relu_()
        parts.append((batch, masked_conv2d(below, head[1].weight, head[1].bias)))
    return unpad_rois(parts, len(levels.counts))


@torch.no_grad()
def segment_one_by_one(pyramid: Pyramid) -> list[Tensor]:
    """Box after box."""
    features, levels, up, joined, head = pyramid
    outputs = []
    for box, count in enumerate(levels.counts.tolist()):
        rois = []
        for level in range(count):
            x1, y1, x2, y2 = levels.boxes[box, level].tolist()
            rows, columns = levels.sizes[box, level].tolist()
            last = features[level].shape[2] - 1
            x = torch.linspace(x1, x2, columns) / last * 2 - 1
            y = torch.linspace(y1, y2, rows) / last * 2 - 1
            grid = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)[None]
            rois.append(F.grid_sample(features[level], grid, align_corners=True))
        below = rois.pop()
        for level in reversed(range(count - 1)):
            coarse = F.interpolate(below, rois[level].shape[2:], mode='bilinear')
            coarse = F.instance_norm(up[level](coarse)).relu_()
            below = joined[level](torch.cat([rois[level], coarse], dim=1))
            below = F.instance_norm(below).relu_()
        outputs.append(head[1](head[0](below).relu_())[0])
    return outputs


# Pasting and mask NMS


def random_detections(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two thirds of the cells, half of them found twice: boxes, probabilities and scores."""
    generator = torch.Generator().manual_seed(0)
    num_single = NUM_OBJECTS * 2 // 3
    again = boxes[: NUM_OBJECTS - num_single]
    boxes = torch.cat([boxes[:num_single], again])
    boxes = boxes + 2 * torch.randn(boxes.shape, generator=generator)
    cells = (torch.arange(MASK_GRID) + 0.5) / MASK_GRID * 2 - 1
    radius = (cells[:, None].square() + cells.square()).sqrt()
    noise = torch.randn(len(boxes), MASK_GRID, MASK_GRID, generator=generator)
    probs = torch.sigmoid(12 * (0.9 - radius) + 0.5 * noise)
    return boxes, probs, torch.rand(len(boxes), generator=generator)


def paste_and_suppress(boxes: Tensor, probs: Tensor, scores: Tensor) -> tuple[list[int], Tensor]:
    """Masks that stay and their label map, with mmcell."""
    masks = RoiMasks(boxes, probs, (SIZE, SIZE))
    kept = masks.nms(scores, NMS_IOU)
    return kept.tolist(), masks[kept].to_label_map(scores[kept])


def paste_and_suppress_by_loop(
    boxes: np.ndarray, probs: np.ndarray, scores: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """One full-size mask per object, pair after pair."""
    masks = np.zeros((len(boxes), SIZE, SIZE), dtype=bool)
    for mask, (x1, y1, x2, y2), grid in zip(masks, boxes, probs, strict=True):
        left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
        right, bottom = min(math.ceil(x2), SIZE), min(math.ceil(y2), SIZE)
        x = (np.arange(left, right) + 0.5 - x1) / (x2 - x1) * MASK_GRID - 0.5
        y = (np.arange(top, bottom) + 0.5 - y1) / (y2 - y1) * MASK_GRID - 0.5
        places = np.stack(np.meshgrid(y, x, indexing='ij'))
        values = ndimage.map_coordinates(grid, places, order=1, mode='grid-constant')
        mask[top:bottom, left:right] = values >= 0.5
    kept: list[int] = []
    for k in np.argsort(-scores, kind='stable').tolist():
        ious = [(masks[k] & masks[n]).sum() / (masks[k] | masks[n]).sum() for n in kept]
        if max(ious, default=0) <= NMS_IOU:
            kept.append(k)
    label_map = np.zeros((SIZE, SIZE), dtype=np.int32)
    for number, k in enumerate(kept, start=1):
        label_map[masks[k] & (label_map == 0)] = number
    return kept, label_map


def largest_difference(ours: list, baseline: list) -> float:
    """Largest difference between two lists of arrays; infinite if shapes differ."""
    differences = [0.0]
    for a, b in zip(ours, baseline, strict=True):
        if tuple(a.shape) != tuple(b.shape):
            return math.inf
        if len(a):
            differences.append(float(np.abs(np.asarray(a) - np.asarray(b)).max()))
    return max(differences)


def flatten(scales: list) -> list:
    """The tensors of all scales in one list, without the dimension of the batch."""
    return [part[0] if part.ndim == 4 else part for scale in scales for part in scale]


def main() -> None:
    _, threads = parse_options(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    keep_freed_memory()  # as the tools do; for both sides
    labels, boxes = random_cells()
    clean = multi_scale_targets(labels[None])
    maps = [noisy(targets) for targets in clean]
    numpy_maps = [tuple(part[0].numpy() for part in scale) for scale in maps]
    pyramid = random_pyramid(boxes)
    detections = random_detections(boxes)
    arrays = [tensor.numpy().astype(np.float64) for tensor in detections]
    cases = [
        (
            'graph targets, four scales',
            partial(multi_scale_targets, labels[None]),
            partial(targets_by_loop, labels.numpy()),
            (50.0, 1e-5, flatten, 3),
        ),
        (
            'voting to boxes, four scales',
            partial(detect, maps),
            partial(detect_by_loop, numpy_maps),
            (4.0, 1e-4, flatten, 5),
        ),
        (
            'segmentation of all boxes',
            partial(segment_batched, pyramid),
            partial(segment_one_by_one, pyramid),
            (1.8, 1e-4, list, 3),
        ),
        (
            'pasting and mask NMS',
            partial(paste_and_suppress, *detections),
            partial(paste_and_suppress_by_loop, *arrays),
            (10.0, 0.0, lambda result: [np.array(result[0]), result[1]], 5),
        ),
    ]
    report = Report(
        f'{NUM_OBJECTS} objects of {SIDES_PX[0]}-{SIDES_PX[1]} px on {SIZE} x {SIZE}, '
        f'{threads} threads',
        *('part', 'one at a time', 'mmcell', 'ratio', 'largest difference'),
    )
    for name, ours, baseline, (target, tolerance, as_list, repeats) in cases:
        difference = largest_difference(as_list(ours()), as_list(baseline()))
        baseline_s, our_s = median_seconds(baseline, ours, repeats=repeats)
        ratio = baseline_s / our_s
        times = (f'{baseline_s * 1e3:.0f} ms', f'{our_s * 1e3:.1f} ms')
        report.row(name, *times, f'{ratio:.1f} x', f'{difference:.1e}')
        report.target(f'{name}: at least {target:g} times faster', ratio >= target)
        report.target(f'{name}: equal within {tolerance:g}', difference <= tolerance)
    report.finish()


if __name__ == '__main__':
    main()
