"""COCO run lengths to and from label maps, without one full-size mask per object.

A COCO RLE counts pixels down the columns: background, object, background, ... Reading and writing
work on these runs, so the cost follows the image size plus the number of runs, for any number of
objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

IntArray = npt.NDArray[np.int64]


class Rle(TypedDict):
    """One mask as COCO stores it.

    Attributes:
        size: height, width in pixels.
        counts: compressed run lengths; a list of plain run lengths is read too.
    """

    size: Sequence[int]
    counts: bytes | str | Sequence[int]


class _Runs(NamedTuple):
    """Object runs of N masks as one flat list, mask after mask, in column-major pixel numbers."""

    owner: IntArray
    start: IntArray
    stop: IntArray


def rle_to_counts(rle: Rle) -> IntArray:
    """Run lengths of one mask: background first, then alternating; they add up to H * W.

    Raises:
        ValueError: If the run lengths are malformed or do not fill the mask.
    """
    counts, _ = _decode([rle])
    return counts


def counts_to_rle(counts: npt.ArrayLike, size: tuple[int, int]) -> Rle:
    """Compress run lengths.

    Args:
        counts: run lengths down the columns, background first.
        size: height, width in pixels.

    Returns:
        A COCO RLE whose ``counts`` are bytes.

    Raises:
        ValueError: If a run is negative or the runs do not add up to H * W.
    """
    runs = np.asarray(counts, dtype=np.int64).ravel()
    height, width = (int(side) for side in size)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(
            f'counts must be >= 0 and add up to {height} * {width} = {height * width} pixels, '
            f'got a sum of {runs.sum()}'
        )
    return coco_mask.frPyObjects({'counts': runs.tolist(), 'size': [height, width]}, height, width)


def label_map_to_rles(label_map: npt.ArrayLike) -> tuple[IntArray, list[Rle]]:
    """Cut a label map into one RLE per object.

    Args:
        label_map: (H, W) integers, 0 = background; ids may have gaps.

    Returns:
        ``ids`` (N,) ascending, and the RLE of each.

    Raises:
        ValueError: If ``label_map`` is not two-dimensional, not integer, or negative somewhere.
    """
    labels = np.asarray(label_map)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f'label_map must be (H, W) integers, got shape {labels.shape}, {labels.dtype}'
        )
    height, width = labels.shape
    flat = labels.ravel(order='F')
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start = np.concatenate([[0], changes])[: flat.size]
    stop = np.concatenate([changes, [flat.size]])[: flat.size]
    value = flat[start]
    if value.size and value.min() < 0:
        raise ValueError(f'label_map must be >= 0 everywhere, got {value.min()}')

    foreground = np.flatnonzero(value)
    order = foreground[np.argsort(value[foreground], kind='stable')]
    start, stop = start[order], stop[order]
    ids, first = np.unique(value[order], return_index=True)
    last = np.append(first[1:], len(order))[: len(first)] - 1
    gap = start - np.concatenate([[0], stop[:-1]])[: len(start)]
    gap[first] = start[first]
    counts = np.stack([gap, stop - start], axis=1)

    rles = []
    for begin, end in zip(first, last, strict=True):
        runs = np.append(counts[begin : end + 1], flat.size - stop[end])
        # COCO's own encoder leaves a last run of zero pixels out.
        rles.append(counts_to_rle(runs if runs[-1] else runs[:-1], (height, width)))
    return ids.astype(np.int64), rles


def rles_to_label_layers(rles: Sequence[Rle], size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Paint masks into label layers; only objects that overlap need a further layer.

    Args:
        rles: N masks, all of ``size``.
        size: height, width in pixels.

    Returns:
        (L, H, W) int32, L >= 1, 0 = background. Object k has the value k + 1 on exactly one layer,
        the first on which it meets no object before it; an object without pixels is on none.

    Raises:
        ValueError: If a mask is malformed or of another size.
    """
    height, width = size
    runs = _object_runs(rles, size)
    edges = np.zeros(height * width + 1, dtype=np.int64)
    np.add.at(edges, runs.start, 1)
    np.add.at(edges, runs.stop, -1)
    shared = np.concatenate([[0], (np.cumsum(edges)[:-1] > 1).cumsum()])
    run_is_shared = shared[runs.stop] > shared[runs.start]
    in_conflict = np.bincount(runs.owner, run_is_shared, minlength=len(rles)) > 0

    # Objects alone on their pixels, nearly all of them, are painted together by one running sum.
    alone = ~in_conflict[runs.owner]
    edges[:] = 0
    np.add.at(edges, runs.start[alone], runs.owner[alone] + 1)
    np.add.at(edges, runs.stop[alone], -runs.owner[alone] - 1)
    layers = [np.cumsum(edges)[:-1].astype(np.int32)]
    bounds = np.searchsorted(runs.owner, np.arange(len(rles) + 1))
    for k in np.flatnonzero(in_conflict):
        mine = slice(bounds[k], bounds[k + 1])
        pixels = run_pixels(runs.start[mine], runs.stop[mine])
        layer = next((layer for layer in layers if not layer[pixels].any()), None)
        if layer is None:
            layer = np.zeros(height * width, dtype=np.int32)
            layers.append(layer)
        layer[pixels] = k + 1
    stacked = np.stack(layers).reshape(len(layers), width, height)
    return np.ascontiguousarray(stacked.transpose(0, 2, 1))


def rles_to_label_map(
    rles: Sequence[Rle],
    size: tuple[int, int],
    scores: npt.ArrayLike | None = None,
    min_visible: float = 0.0,
) -> npt.NDArray[np.int32]:
    """Flatten masks into one label map; a shared pixel goes to the higher score.

    Args:
        rles: N masks, all of ``size``.
        size: height, width in pixels.
        scores: (N,), the order in which masks claim pixels, ties in index order; None = index
            order.
        min_visible: a mask left with less than this fraction of its pixels, in [0, 1], is dropped
            and claims none.

    Returns:
        (H, W) int32, 0 = background, k + 1 = mask k. Masks that vanish leave gaps.

    Raises:
        ValueError: If a mask is malformed or of another size.
    """
    height, width = size
    runs = _object_runs(rles, size)
    bounds = np.searchsorted(runs.owner, np.arange(len(rles) + 1))
    rank = np.zeros(len(rles)) if scores is None else -np.asarray(scores, dtype=np.float64)
    flat = np.zeros(height * width, dtype=np.int32)
    for k in np.argsort(rank, kind='stable'):
        mine = slice(bounds[k], bounds[k + 1])
        pixels = run_pixels(runs.start[mine], runs.stop[mine])
        free = pixels[flat[pixels] == 0]
        if len(free) >= min_visible * len(pixels):
            flat[free] = k + 1
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _object_runs(rles: Sequence[Rle], size: tuple[int, int]) -> _Runs:
    """The object runs of all masks, empty runs left out."""
    for k, rle in enumerate(rles):
        if tuple(rle['size']) != tuple(size):
            raise ValueError(
                f'mask {k} is {tuple(rle["size"])} (height, width), expected {tuple(size)}'
            )
    counts, lengths = _decode(rles)
    owner = np.repeat(np.arange(len(rles)), lengths)
    within = numbers_within(lengths)
    # Every mask fills the image, so the running total restarts at multiples of its size.
    stop = counts.cumsum() - owner * (size[0] * size[1])
    keep = (within % 2 == 1) & (counts > 0)
    return _Runs(owner[keep], (stop - counts)[keep], stop[keep])


def run_pixels(start: IntArray, stop: IntArray) -> IntArray:
    """Numbers of the pixels of runs: ``arange(start, stop)`` of each, one after the other."""
    lengths = stop - start
    offset = start - (lengths.cumsum() - lengths)
    return np.arange(lengths.sum()) + np.repeat(offset, lengths)


def numbers_within(lengths: IntArray) -> IntArray:
    """``arange(n)`` for every n in ``lengths``, one after the other."""
    return run_pixels(np.zeros_like(lengths), lengths)


def _decode(rles: Sequence[Rle]) -> tuple[IntArray, IntArray]:
    """Run lengths of many masks as one flat list, and how many of them each mask has.

    COCO writes a number as characters of 5 bits plus a continuation bit, lowest bits first, sign in
    the last one, all offset by 48; from the fourth number on it is the difference to the last but
    one.
    """
    strings = [_compressed(rle) for rle in rles]
    chars = np.frombuffer(b''.join(strings), dtype=np.uint8).astype(np.int64) - 48
    ends_number = (chars & 0x20) == 0
    number_end = np.flatnonzero(ends_number)
    number_start = np.concatenate([[0], number_end + 1])[: len(number_end)]
    number_chars = number_end - number_start + 1
    position = np.arange(number_chars.sum()) - np.repeat(number_start, number_chars)
    bits = (chars[: len(position)] & 0x1F) << (5 * position)
    values = np.add.reduceat(bits, number_start) if len(number_start) else bits
    values -= np.where(chars[number_end] & 0x10, 1 << (5 * number_chars), 0)

    string_stop = np.cumsum([len(string) for string in strings], dtype=np.int64)
    ended = np.concatenate([[0], ends_number.cumsum()])[string_stop]
    lengths = np.diff(ended, prepend=0)
    first = np.repeat(ended - lengths, lengths)
    within = np.arange(len(values)) - first

    # Undo the differences: a running sum over every other number, less what it held before the
    # mask's own chain began.
    running = np.zeros(len(values) + 1, dtype=np.int64)
    running[1::2] = values[0::2].cumsum()
    running[2::2] = values[1::2].cumsum()
    before_chain = np.where(within % 2 == 1, first, first + 1)
    counts = np.where(within == 0, values, running[1:] - running[before_chain])

    owner = np.repeat(np.arange(len(rles)), lengths)
    total = np.bincount(owner, counts, minlength=len(rles))
    expected = np.array([rle['size'][0] * rle['size'][1] for rle in rles], dtype=np.int64)
    negative = np.bincount(owner, counts < 0, minlength=len(rles)) > 0
    for k in np.flatnonzero((total != expected) | negative):
        raise ValueError(
            f'mask {k}: run lengths must be >= 0 and add up to its {expected[k]} pixels '
            f'(size {tuple(rles[k]["size"])}), got a sum of {total[k]:.0f}'
        )
    return counts, lengths


def _compressed(rle: Rle) -> bytes:
    """The counts of one mask as COCO's compressed bytes."""
    counts = rle['counts']
    if isinstance(counts, bytes):
        return counts
    if isinstance(counts, str):
        return counts.encode('ascii')
    height, width = rle['size']
    return _compressed(counts_to_rle(counts, (height, width)))
