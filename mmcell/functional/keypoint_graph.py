"""From the maps of a keypoint graph head to boxes: Hough voting, peaks, grouping.

Keypoint types are 0 top left, 1 top right, 2 bottom left, 3 bottom right, 4 center. Keypoints are
pixel indices (x, y): those of a box's first and last pixels, and the mean of both.

Source: Yi et al., Multi-scale Cell Instance Segmentation with Keypoint Graph Based Bounding Boxes,
MICCAI 2019. docs/keypoints.md lists where the authors' program does something else, and the options
that do the same.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mmcell.functional.ragged import ragged_arange

NUM_TYPES = 5
# Group offsets: every pair of types, then the same pairs the other way round.
_PAIRS = [(a, b) for a in range(NUM_TYPES) for b in range(a + 1, NUM_TYPES)]
EDGES = tuple(_PAIRS + [(b, a) for a, b in _PAIRS])
DISC_RADIUS_PX = 5.0
SMOOTHING_SIGMA_PX = 2.0
PEAK_THRESHOLD = 0.004
MATCH_RADIUS_PX = 6.0
DUPLICATE_RADIUS_PX = 10.0
_SMOOTHING_BLOCK = 64


class Keypoints(NamedTuple):
    """Keypoints of a batch.

    Attributes:
        batch_index, types, x, y: (M,) int64.
        scores: (M,).
    """

    batch_index: Tensor
    types: Tensor
    x: Tensor
    y: Tensor
    scores: Tensor


class Skeletons(NamedTuple):
    """Keypoints grouped to objects: by image, the best seed first.

    Attributes:
        points: (S, 5, 3), x, y and score of each type; all 0 where a keypoint is missing.
        batch_index: (S,) int64.
    """

    points: Tensor
    batch_index: Tensor


def perfect_score() -> float:
    """The highest score that smoothed votes give around a single keypoint, about 0.041.

    Every whole pixel of its disc votes for the keypoint with probability 1.
    """
    reach = int(DISC_RADIUS_PX)
    steps = range(-reach, reach + 1)
    voters = sum(x**2 + y**2 <= DISC_RADIUS_PX**2 for x in steps for y in steps)
    reach = int(4 * SMOOTHING_SIGMA_PX + 0.5)
    weights = [math.exp(-(k**2) / (2 * SMOOTHING_SIGMA_PX**2)) for k in range(-reach, reach + 1)]
    return voters / (math.pi * DISC_RADIUS_PX**2) / sum(weights) ** 2


def hough_vote(heatmaps: Tensor, short_offsets: Tensor) -> Tensor:
    """Every pixel votes, with its probability, for the place that its offset points at.

    A vote is shared between the four pixels around that place; votes outside the map are lost.
    Half precision is summed in float32.

    Args:
        heatmaps: (B, 5, H, W) probabilities.
        short_offsets: (B, 10, H, W), x of type t in channel 2 t, y in channel 2 t + 1.

    Returns:
        (B, 5, H, W), sums of votes over the area of a disc, eq. 2.
    """
    batch, types, height, width = heatmaps.shape
    if short_offsets.shape != (batch, 2 * types, height, width):
        raise ValueError(
            f'short_offsets must be {(batch, 2 * types, height, width)} to fit the heatmaps, '
            f'got {tuple(short_offsets.shape)}'
        )
    dtype = torch.promote_types(heatmaps.dtype, torch.float32)
    heatmaps, offsets = heatmaps.to(dtype), short_offsets.to(dtype).unflatten(1, (types, 2))
    device = heatmaps.device
    x = offsets[:, :, 0] + torch.arange(width, device=device)
    y = offsets[:, :, 1] + torch.arange(height, device=device)[:, None]
    # Far away is as good as just outside, and fits an integer.
    left, top = x.floor().clamp(-2, width), y.floor().clamp(-2, height)
    right_share, lower_share = x - left, y - top
    planes = torch.arange(batch * types, device=device).view(batch, types, 1, 1)
    # A frame around the map takes the votes that are lost.
    frame_height, frame_width = height + 4, width + 4
    corner = ((planes * frame_height + 2 + top.long()) * frame_width + 2 + left.long()).flatten()
    votes = heatmaps.new_zeros(batch * types * frame_height * frame_width)
    lower = heatmaps * lower_share
    for down, share in ((0, heatmaps - lower), (frame_width, lower)):
        right = share * right_share
        votes[down:].index_add_(0, corner, (share - right).flatten())
        votes[down + 1 :].index_add_(0, corner, right.flatten())
    votes = votes.view(batch, types, frame_height, frame_width)[:, :, 2:-2, 2:-2]
    return votes / (math.pi * DISC_RADIUS_PX**2)


def smooth_votes(votes: Tensor, sigma: float = SMOOTHING_SIGMA_PX) -> Tensor:
    """Gaussian smoothing of (..., H, W) maps, cut off at 4 sigma, mirrored at the borders.

    The map is continued by its own border pixels in reverse (``d c b a | a b c d | d c b a``).

    Source: not in the paper; the authors' program smooths between voting and finding peaks.
    """
    height, width = votes.shape[-2:]
    along_x, along_y = (_smoothing_matrix(n, sigma, votes) for n in (width, height))
    reach = int(4 * sigma + 0.5)
    rows = votes.reshape(-1, width)
    smooth = torch.cat(
        [rows[:, near] @ along_x[part, near].t() for part, near in _blocks(width, reach)], dim=1
    ).view(-1, height, width)
    parts = [
        torch.bmm(along_y[part, near].expand(len(smooth), -1, -1), smooth[:, near])
        for part, near in _blocks(height, reach)
    ]
    return torch.cat(parts, dim=1).view(votes.shape)


def _smoothing_matrix(length: int, sigma: float, like: Tensor) -> Tensor:
    """(length, length) matrix that smooths a column of values."""
    reach = int(4 * sigma + 0.5)
    steps = torch.arange(-reach, reach + 1, device=like.device)
    weights = torch.exp(-steps.square() / (2 * sigma**2)).to(like.dtype)
    target = torch.arange(length, device=like.device)[:, None]
    # Mirrored without end: period 2 * length, its second half backwards.
    source = (target + steps) % (2 * length)
    source = torch.minimum(source, 2 * length - 1 - source)
    matrix = like.new_zeros(length, length)
    matrix.index_put_((target.expand_as(source), source), weights / weights.sum(), accumulate=True)
    return matrix


def _blocks(length: int, reach: int) -> list[tuple[slice, slice]]:
    """Parts of an axis, and what smoothing needs for each: the matrices are zero elsewhere."""
    return [
        (slice(start, start + _SMOOTHING_BLOCK), slice(max(start - reach, 0), end + reach))
        for start in range(0, length, _SMOOTHING_BLOCK)
        for end in [min(start + _SMOOTHING_BLOCK, length)]
    ]


def find_keypoints(score_maps: Tensor, threshold: float = PEAK_THRESHOLD) -> Keypoints:
    """Pixels that are not exceeded by any of their 4 neighbours.

    Args:
        score_maps: (B, 5, H, W), smoothed votes.
        threshold: keep peaks > this.

    Returns:
        Keypoints by image, type, row and column.
    """
    image, kind, y, x = torch.nonzero(score_maps > threshold).unbind(1)
    scores = score_maps[image, kind, y, x]
    height, width = score_maps.shape[2:]
    highest = torch.ones_like(scores, dtype=torch.bool)
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        # Beyond the border the pixel is its own neighbour.
        row, column = (y + dy).clamp(0, height - 1), (x + dx).clamp(0, width - 1)
        highest &= scores >= score_maps[image, kind, row, column]
    return Keypoints(*(field[highest] for field in (image, kind, x, y, scores)))


def group_keypoints(
    keypoints: Keypoints,
    mid_offsets: Tensor,
    match_radius: float = MATCH_RADIUS_PX,
    duplicate_radius: float = DUPLICATE_RADIUS_PX,
    *,
    missing_at_origin: bool = False,
) -> Skeletons:
    """Group keypoints to objects, greedily from the best one on.

    The best keypoint left is a seed. For every other type the group offset at the seed names a
    place; the nearest keypoint left within ``match_radius`` of it joins the group. A seed within
    ``duplicate_radius`` of a keypoint of its type that is already in a group is dropped.

    Seeds that cannot influence each other are handled in the same round, which gives what one at
    a time gives; a seed waits only for better ones that share a candidate with it.

    Args:
        keypoints: in any order; of equal scores the earlier one is the better.
        mid_offsets: (B, 40, H, W).
        match_radius: in pixels, inclusive.
        duplicate_radius: in pixels, inclusive.
        missing_at_origin: as in the authors' program, a type that a group lacks counts as a
            keypoint at (0, 0) when duplicates are looked for.
    """
    device, num_points = mid_offsets.device, len(keypoints.x)
    rank = torch.empty(num_points, dtype=torch.int64, device=device)
    order = torch.argsort(keypoints.scores, descending=True, stable=True)
    rank[order] = torch.arange(num_points, device=device)
    matches = _possible_matches(keypoints, rank, mid_offsets, match_radius)
    precise = torch.promote_types(mid_offsets.dtype, torch.float32)
    at_point = torch.stack([keypoints.x, keypoints.y], dim=1).to(precise)
    everyone = torch.arange(num_points, device=device)
    duplicates = _pairs_within(keypoints, everyone, keypoints.types, at_point, duplicate_radius)
    at_origin = None
    if missing_at_origin:
        at_origin = at_point.square().sum(1) <= duplicate_radius**2
    members = _grow_groups(keypoints, rank, matches, duplicates, at_origin)
    seeds = torch.nonzero((members >= 0).any(1)).flatten()
    seeds = seeds[rank[seeds].argsort()]
    seeds = seeds[keypoints.batch_index[seeds].argsort(stable=True)]
    points = torch.cat([at_point, keypoints.scores[:, None].to(at_point.dtype)], dim=1)
    points = torch.cat([points, points.new_zeros(1, 3)])  # the last one stands for "missing"
    return Skeletons(points[members[seeds]], keypoints.batch_index[seeds])


class _Pairs(NamedTuple):
    """Pairs of keypoints, each a seed and another keypoint that matters to it."""

    seed: Tensor  # (P,) int64
    other: Tensor  # (P,) int64
    distance: Tensor  # (P,), squared, in pixels


def _possible_matches(
    keypoints: Keypoints, rank: Tensor, mid_offsets: Tensor, radius: float
) -> _Pairs:
    """Which worse keypoints a seed may take, by seed and type, the nearest first."""
    image, kind, x, y, _ = keypoints
    device = mid_offsets.device
    edges = torch.tensor(EDGES, device=device)
    leaving = edges[:, 0].argsort(stable=True).view(NUM_TYPES, -1)
    offsets = mid_offsets.unflatten(1, (len(EDGES), 2))[
        image[:, None], leaving[kind], :, y[:, None], x[:, None]
    ]
    offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
    places = torch.stack([x, y], dim=1)[:, None] + offsets
    seeds = torch.arange(len(x), device=device).repeat_interleave(leaving.shape[1])
    ends = edges[leaving[kind], 1].flatten()
    pairs = _pairs_within(keypoints, seeds, ends, places.flatten(0, 1), radius)
    pairs = _Pairs(*(field[rank[pairs.other] > rank[pairs.seed]] for field in pairs))
    order = rank[pairs.other].argsort()
    order = order[pairs.distance[order].argsort(stable=True)]
    slots = pairs.seed * NUM_TYPES + kind[pairs.other]
    order = order[slots[order].argsort(stable=True)]
    return _Pairs(*(field[order] for field in pairs))


def _pairs_within(
    keypoints: Keypoints, seeds: Tensor, kinds: Tensor, places: Tensor, radius: float
) -> _Pairs:
    """Keypoints of the given kinds within ``radius`` of places in the images of the seeds."""
    num_rows = int(keypoints.y.max()) + 1 if len(keypoints.y) else 1
    # Keypoints row by row: those near a place lie in one stretch of this list.
    rows = (keypoints.batch_index * NUM_TYPES + keypoints.types) * num_rows + keypoints.y
    rows, by_row = rows.sort(stable=True)
    first_row = (keypoints.batch_index[seeds] * NUM_TYPES + kinds) * num_rows
    reach = places[:, 1] - radius, places[:, 1] + radius
    low = torch.searchsorted(rows, first_row + reach[0].ceil().clamp(0, num_rows).long())
    high = torch.searchsorted(rows, first_row + reach[1].floor().clamp(-1, num_rows - 1).long() + 1)
    query, position = ragged_arange((high - low).clamp(min=0))
    other = by_row[low[query] + position]
    points = torch.stack([keypoints.x, keypoints.y], dim=1)
    distance = (points[other] - places[query]).square().sum(1)
    near = distance <= radius**2
    return _Pairs(seeds[query[near]], other[near], distance[near])


def _grow_groups(
    keypoints: Keypoints,
    rank: Tensor,
    matches: _Pairs,
    duplicates: _Pairs,
    at_origin: Tensor | None,
) -> Tensor:
    """(M, 5) int64, for each seed the keypoints of its group; -1 is none, rows of -1 are no seed.

    Args:
        keypoints: M keypoints.
        rank: (M,), 0 is the best.
        matches: sorted by seed and type, the nearest first.
        duplicates: keypoints of the same type that are close to each other.
        at_origin: (M,) bool, keypoints that are duplicates of a missing one; None if none are.
    """
    image, kind = keypoints.batch_index, keypoints.types
    num_points = len(rank)
    members = rank.new_full((num_points, NUM_TYPES), -1)
    left = torch.ones_like(rank, dtype=torch.bool)
    never = num_points
    # Rank of the seed whose group a keypoint is in: worse groups may be complete before better
    # ones, and must not count against them.
    group_rank = torch.full_like(rank, never)
    slots = matches.seed * NUM_TYPES + kind[matches.other]
    positions = torch.arange(len(slots), device=rank.device)
    num_images = int(image.max()) + 1 if num_points else 0
    lacking = rank.new_full((num_images * NUM_TYPES,), never)
    while left.any():
        twin = torch.full_like(rank, never)
        twin = twin.scatter_reduce(0, duplicates.seed, group_rank[duplicates.other], 'amin')
        if at_origin is not None:
            twin = torch.minimum(twin, lacking[image * NUM_TYPES + kind].where(at_origin, never))
        # Near a keypoint of a better group: may be taken by better seeds, will be no seed.
        doomed = twin < rank
        # The best seed that may take a keypoint, itself included.
        open_match = left[matches.seed] & left[matches.other] & ~doomed[matches.seed]
        claims = rank[matches.seed].where(open_match, never)
        claim = rank.where(~doomed, never)
        claim = claim.scatter_reduce(0, matches.other, claims, 'amin').where(left, never)
        # A seed is ready if no better one can touch it, its candidates or its duplicates.
        first = claim.scatter_reduce(0, matches.seed, claim[matches.other], 'amin')
        first = first.scatter_reduce(0, duplicates.seed, claim[duplicates.other], 'amin')
        if at_origin is not None:
            # Any better group of the image may lack the type.
            best = rank.new_full((num_images,), never)
            best = best.scatter_reduce(0, image, rank.where(left, never), 'amin')
            first = torch.minimum(first, best[image].where(at_origin, never))
        ready = left & (first.where(~doomed, claim) >= rank)
        seeds = ready & ~doomed
        usable = positions.where(open_match & seeds[matches.seed], len(slots))
        nearest = rank.new_full((members.numel(),), len(slots))
        nearest = nearest.scatter_reduce(0, slots, usable, 'amin')
        chosen = nearest[nearest < len(slots)]
        new = torch.nonzero(seeds).flatten()
        members[new, kind[new]] = new
        members.view(-1)[slots[chosen]] = matches.other[chosen]
        group_rank[new] = rank[new]
        group_rank[matches.other[chosen]] = rank[matches.seed[chosen]]
        left &= ~ready & (group_rank == never)
        row, missing = torch.nonzero(members[new] < 0).unbind(1)
        slot = image[new[row]] * NUM_TYPES + missing
        lacking = lacking.scatter_reduce(0, slot, rank[new[row]], 'amin')
    return members


class GraphBoxes(NamedTuple):
    """Boxes of skeletons, in their order.

    Attributes:
        boxes: (K, 4), x1, y1, x2, y2 in image pixels; not clipped.
        scores: (K,), means over the keypoints found.
        batch_index: (K,) int64.
        skeleton_index: (K,) int64, which skeleton each box is from.
    """

    boxes: Tensor
    scores: Tensor
    batch_index: Tensor
    skeleton_index: Tensor


def boxes_from_keypoints(
    skeletons: Skeletons,
    stride: int = 1,
    *,
    half_open: bool = True,
    column_zero_is_missing: bool = False,
) -> GraphBoxes:
    """Boxes of the skeletons with at least three keypoints, or two on a diagonal.

    A side with corners lies at the outermost of them; one without is the opposite side mirrored at
    the center.

    Args:
        skeletons: a keypoint with score 0 is missing.
        stride: image pixels per pixel of the map that keypoints were found on.
        half_open: let boxes end behind their last pixel, as boxes do everywhere in mmcell, and
            center a pixel of the map on the image pixel that it stands for (``stride`` times its
            index), so that boxes are right on average; else boxes go from index to index, as in
            the authors' program, ``stride`` pixels too small.
        column_zero_is_missing: as in the authors' program, keypoints at x = 0 do not count.
    """
    x, y, scores = skeletons.points.unbind(2)
    found = scores > 0
    if column_zero_is_missing:
        found = found & (x > 0)
    top_left, top_right, bottom_left, bottom_right, _ = found.unbind(1)
    diagonal = (top_left & bottom_right) | (top_right & bottom_left)
    kept = torch.nonzero((found.sum(1) >= 3) | diagonal).flatten()
    x, y, scores, found = x[kept], y[kept], scores[kept], found[kept]
    corners = found[:, :4]
    x1, x2 = _extent(x, corners, corners[:, 0::2].any(1), corners[:, 1::2].any(1))
    y1, y2 = _extent(y, corners, corners[:, :2].any(1), corners[:, 2:].any(1))
    boxes = torch.stack([x1, y1, x2, y2], dim=1)
    if half_open:
        boxes[:, 2:] += 1
        boxes = boxes - (stride - 1) / (2 * stride)
    boxes = boxes * stride
    means = scores.where(found, 0).sum(1) / found.sum(1)
    return GraphBoxes(boxes, means, skeletons.batch_index[kept], kept)


def _extent(
    values: Tensor, corners: Tensor, has_start: Tensor, has_end: Tensor
) -> tuple[Tensor, Tensor]:
    """Start and end of boxes along one axis.

    Args:
        values: (K, 5), coordinates of the keypoints.
        corners: (K, 4) bool, which corners were found.
        has_start: (K,) bool, whether a corner at the start was found.
        has_end: (K,) bool, whether a corner at the end was found.
    """
    low = values[:, :4].where(corners, math.inf).amin(1)
    high = values[:, :4].where(corners, -math.inf).amax(1)
    mirrored = 2 * values[:, 4]
    start, end = low.where(has_start, mirrored - high), high.where(has_end, mirrored - low)
    return torch.minimum(start, end), torch.maximum(start, end)
