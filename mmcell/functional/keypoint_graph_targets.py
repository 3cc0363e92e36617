"""What a keypoint graph head should predict: discs around keypoints and the offsets on them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmcell.functional.keypoint_graph import DISC_RADIUS_PX, EDGES, NUM_TYPES

NUM_SCALES = 4
MIN_SIDE_PX = 13


class LabelBoxes(NamedTuple):
    """Tight boxes of the objects in label maps, by image and ascending id.

    Attributes:
        boxes: (N, 4) int64, x1, y1, x2, y2, half-open.
        batch_index: (N,) int64.
        ids: (N,) labels.
    """

    boxes: Tensor
    batch_index: Tensor
    ids: Tensor


class GraphTargets(NamedTuple):
    """What a keypoint graph head should have predicted on one scale.

    Attributes:
        heatmaps: (B, 5, H, W), 1 on the discs around keypoints.
        short_offsets: (B, 10, H, W), on the discs the way to the nearest keypoint of type t: x in
            channel 2 t, y in channel 2 t + 1. Elsewhere 0.
        mid_offsets: (B, 40, H, W), on the discs of type ``EDGES[e][0]`` the way to the keypoint of
            type ``EDGES[e][1]`` of the same object, in channels 2 e and 2 e + 1. Elsewhere 0.
    """

    heatmaps: Tensor
    short_offsets: Tensor
    mid_offsets: Tensor


def label_boxes(label_maps: Tensor) -> LabelBoxes:
    """Tight boxes of the objects in label maps.

    Args:
        label_maps: (B, H, W) integers, 0 is background; ids need not be contiguous.
    """
    batch, height, width = label_maps.shape
    labels = label_maps.reshape(batch, -1).long()
    span = int(labels.max()) + 1 if labels.numel() else 1
    ids = torch.arange(span, device=labels.device)
    if span > labels.shape[1]:  # few of the ids can be there: number those that are
        ids, labels = labels.unique(return_inverse=True)
    count = len(ids)
    slots = (labels + count * torch.arange(batch, device=labels.device)[:, None]).flatten()
    y, x = (
        torch.arange(n, device=labels.device).view(shape).expand(label_maps.shape).flatten()
        for n, shape in ((height, (-1, 1)), (width, (1, -1)))
    )
    first = labels.new_full((batch * count,), max(height, width))
    last = torch.full_like(first, -1)
    low = [first.scatter_reduce(0, slots, axis, 'amin') for axis in (x, y)]
    high = [last.scatter_reduce(0, slots, axis, 'amax') + 1 for axis in (x, y)]
    boxes, ids = torch.stack(low + high, dim=1), ids.repeat(batch)
    present = torch.nonzero((ids > 0) & (boxes[:, 2] > 0)).flatten()
    return LabelBoxes(boxes[present], present // max(count, 1), ids[present])


def keypoints_of_boxes(boxes: Tensor) -> Tensor:
    """The five keypoints (N, 5, 2), x and y, of half-open boxes (N, 4) of whole pixels."""
    x1, y1, x2, y2 = boxes.float().unbind(1)
    x2, y2 = x2 - 1, y2 - 1
    x = torch.stack([x1, x2, x1, x2, (x1 + x2) / 2], dim=1)
    y = torch.stack([y1, y1, y2, y2, (y1 + y2) / 2], dim=1)
    return torch.stack([x, y], dim=2)


def multi_scale_targets(
    label_maps: Tensor,
    num_scales: int = NUM_SCALES,
    min_side_px: int = MIN_SIDE_PX,
    *,
    stamped: bool = False,
) -> list[GraphTargets]:
    """Targets on label maps reduced by 1, 2, 4, ... (nearest neighbour).

    Args:
        label_maps: (B, H, W) integers, 0 is background.
        num_scales: number of scales.
        min_side_px: on each scale, objects with a side below this are left out; no object is too
            large.
        stamped: see :func:`graph_targets`.
    """
    targets = []
    for scale in range(num_scales):
        reduced = label_maps[:, :: 2**scale, :: 2**scale]
        boxes, batch_index, _ = label_boxes(reduced)
        large = (boxes[:, 2:] - boxes[:, :2] >= min_side_px).all(1)
        keypoints = keypoints_of_boxes(boxes[large])
        size = (reduced.shape[0], reduced.shape[1], reduced.shape[2])
        targets.append(graph_targets(keypoints, batch_index[large], size, stamped=stamped))
    return targets


def graph_targets(
    keypoints: Tensor,
    batch_index: Tensor,
    shape: tuple[int, int, int],
    *,
    stamped: bool = False,
) -> GraphTargets:
    """Discs of radius 5 around keypoints, with the offsets that their pixels should predict.

    A pixel in several discs of a type belongs to the nearest keypoint, of equally near ones to the
    first object.

    Args:
        keypoints: (N, 5, 2), x and y in pixels of the targets.
        batch_index: (N,) int64, image of each object.
        shape: B, H, W of the targets.
        stamped: short offsets as in the authors' program: to the keypoint truncated to a whole
            pixel, and a later object's 11 x 11 square, zero outside the disc, overwrites an
            earlier one's.
    """
    batch, height, width = shape
    size = height * width
    # From here on keypoint k of object n is point 5 n + k, and map t of image b is plane 5 b + t.
    types = torch.arange(NUM_TYPES, device=keypoints.device)
    points = keypoints.float().flatten(0, 1)
    planes = (batch_index[:, None] * NUM_TYPES + types).flatten()
    windows = _windows(points, planes, height, width)
    point, spot = _nearest(windows, batch * NUM_TYPES * size)
    heatmaps = points.new_zeros(batch, NUM_TYPES, height, width)
    heatmaps.view(-1)[spot] = 1

    edges = torch.tensor(EDGES, device=keypoints.device)
    leaving = edges[:, 0].argsort(stable=True).view(NUM_TYPES, -1)
    ends = points.view(-1, NUM_TYPES, 2)[:, edges[leaving, 1]].flatten(0, 1)
    edge_planes = (batch_index[:, None, None] * len(EDGES) + leaving).flatten(0, 1)
    pixel = spot - planes[point] * size
    position = _position(pixel, width)
    mid = points.new_zeros(batch, 2 * len(EDGES), height, width)
    _write_ways(mid, edge_planes[point], pixel[:, None], ends[point] - position[:, None])

    short = points.new_zeros(batch, 2 * NUM_TYPES, height, width)
    if stamped:
        point, spot = _last(windows, batch * NUM_TYPES * size)
        pixel = spot - planes[point] * size
        ways = points.trunc()[point] - _position(pixel, width)
        ways = ways.where(ways.square().sum(1, keepdim=True) <= DISC_RADIUS_PX**2, 0)
    else:
        ways = points[point] - position
    _write_ways(short, planes[point], pixel, ways)
    return GraphTargets(heatmaps, short, mid)


class _Windows(NamedTuple):
    """The 11 x 11 pixels around every point, K in all; those of a point in sequence.

    A "spot" counts pixels through all planes: plane * H * W + y * W + x.
    """

    inside: Tensor  # (K,) bool, on the map
    squared: Tensor  # (K,), squared distance to the point
    spot: Tensor  # (K,) int64
    per_point: int


def _windows(points: Tensor, planes: Tensor, height: int, width: int) -> _Windows:
    """The pixels around every point cut to a whole pixel."""
    reach = int(DISC_RADIUS_PX)
    steps = torch.arange(-reach, reach + 1, device=points.device)
    corners = points.floor().long()
    x, y = corners[:, :1] + steps, corners[:, 1:] + steps
    dx, dy = (x - points[:, :1]).square(), (y - points[:, 1:]).square()
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    squared = dy[:, :, None] + dx[:, None]
    spot = ((planes[:, None] * height + y) * width)[:, :, None] + x[:, None]
    return _Windows(inside.flatten(), squared.flatten(), spot.flatten(), len(steps) ** 2)


def _nearest(windows: _Windows, num_spots: int) -> tuple[Tensor, Tensor]:
    """Spots on discs, and the nearest point of each; of equally near ones the first.

    Args:
        windows: around all points.
        num_spots: on all planes.

    Returns:
        ``point`` and ``spot``, both (K',) int64.
    """
    near = torch.nonzero(windows.inside & (windows.squared <= DISC_RADIUS_PX**2)).flatten()
    point, spot = near // windows.per_point, windows.spot[near]
    # Distance and point in one number: floats >= 0 are ordered like the integers of their bits.
    claims = windows.squared[near].view(torch.int32).long() * 2**32 + point
    best = claims.new_full((num_spots,), torch.iinfo(torch.int64).max)
    best.scatter_reduce_(0, spot, claims, 'amin')
    owned = claims == best[spot]
    return point[owned], spot[owned]


def _last(windows: _Windows, num_spots: int) -> tuple[Tensor, Tensor]:
    """Spots in squares, and the last point of each; as :func:`_nearest`."""
    stamped = torch.nonzero(windows.inside).flatten()
    point, spot = stamped // windows.per_point, windows.spot[stamped]
    last = point.new_full((num_spots,), -1)
    last.scatter_reduce_(0, spot, point, 'amax')
    owned = point == last[spot]
    return point[owned], spot[owned]


def _position(pixel: Tensor, width: int) -> Tensor:
    """Column and row (K, 2) of the pixels of a map."""
    y = pixel // width
    return torch.stack([pixel - y * width, y], dim=1)


def _write_ways(maps: Tensor, plane: Tensor, pixel: Tensor, ways: Tensor) -> None:
    """Write ``ways`` (..., 2) into the pairs of channels that ``plane`` and ``pixel`` name."""
    size = maps.shape[2] * maps.shape[3]
    index = (plane * (2 * size) + pixel).flatten()
    for axis in (0, 1):
        maps.view(-1)[axis * size :].scatter_(0, index, ways[..., axis].flatten())
