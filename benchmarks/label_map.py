"""From the mask head's logits to one label map: masks in their boxes against full-size masks.

Baselines, both on MMDetection's own paste (one full-size mask per object), one mask at a time by
descending score:

* ``kept``: overlap removal as the PFFNet authors' inference does it: masks of which more than 0.7
  is taken are dropped, the others stay full-size and are summed into the label map at the end.
  The targets are measured against this one; mmcell applies the same rule (``min_visible=0.3``).
* ``lean``: the shortest such loop we could think of, writing straight into the label map, no mask
  dropped. Printed beside it, so that nobody has to take the first for the best possible.

    python benchmarks/label_map.py [--device cuda]
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from common import (
    MIB,
    Report,
    add_device,
    median_seconds,
    parse_options,
    peak_extra_memory,
    where,
)
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmengine.config import ConfigDict
from torch import Tensor

from mmcell.structures import RoiMasks

GRID = 28
MIN_SPEEDUP = 100.0
MIN_SAVING = 50.0
MIN_VISIBLE = 0.3
MAX_DIFFERING_FRACTION = 1e-3  # of the mask pixels
LARGE_LIMIT = 1024 * MIB


def random_nuclei(num_objects: int, size: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Ellipses, many of them touching or overlapping, as a detector would return them.

    Returns:
        Boxes (N, 4), mask logits (N, 1, 28, 28) and scores (N,) in descending order.
    """
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(num_objects, 2, generator=generator) * size
    half_sides = 8 + 8 * torch.rand(num_objects, 2, generator=generator)
    boxes = torch.cat([centres - half_sides, centres + half_sides], dim=1).clamp(0, size)
    cells = (torch.arange(GRID) + 0.5) / GRID * 2 - 1
    radius = (cells[:, None].square() + cells.square()).sqrt()
    noise = torch.randn(num_objects, 1, GRID, GRID, generator=generator)
    logits = 12 * (0.9 - radius) + 0.5 * noise
    scores = torch.rand(num_objects, generator=generator).sort(descending=True).values
    return boxes.to(device), logits.to(device), scores.to(device)


def flatten_in_boxes(boxes: Tensor, logits: Tensor, scores: Tensor, size: int) -> Tensor:
    """mmcell, every mask kept."""
    return RoiMasks(boxes, logits.sigmoid()[:, 0], (size, size)).to_label_map(scores)


def flatten_in_boxes_dropping(boxes: Tensor, logits: Tensor, scores: Tensor, size: int) -> Tensor:
    """mmcell, masks that are mostly covered dropped."""
    masks = RoiMasks(boxes, logits.sigmoid()[:, 0], (size, size))
    return masks.to_label_map(scores, min_visible=MIN_VISIBLE)


def paste_full_size(boxes: Tensor, logits: Tensor, size: int) -> Tensor:
    """MMDetection's paste: (N, size, size) bool."""
    head = FCNMaskHead(num_convs=0, num_classes=1, class_agnostic=True)
    return head._predict_by_feat_single(
        logits,
        boxes,
        torch.zeros(len(boxes), dtype=torch.long, device=boxes.device),
        img_meta=dict(scale_factor=(1.0, 1.0), ori_shape=(size, size)),
        rcnn_test_cfg=ConfigDict(mask_thr_binary=0.5),
    )


def flatten_lean(boxes: Tensor, logits: Tensor, scores: Tensor, size: int) -> Tensor:
    """Paste, then write the masks one by one where nothing is yet."""
    masks = paste_full_size(boxes, logits, size)
    label_map = torch.zeros(size, size, dtype=torch.int32, device=boxes.device)
    for k in scores.argsort(descending=True).tolist():
        label_map[masks[k] & (label_map == 0)] = k + 1
    return label_map


def flatten_kept(boxes: Tensor, logits: Tensor, scores: Tensor, size: int) -> Tensor:
    """Paste, then remove overlaps with all masks kept at full size."""
    masks = paste_full_size(boxes, logits, size).cpu().numpy().astype(np.uint8)
    taken = np.zeros((size, size), dtype=np.uint16)
    visible_masks, numbers = [], []
    for k in scores.argsort(descending=True).tolist():
        shared = taken * masks[k]
        area = masks[k].sum()
        if area == 0 or shared.sum() > (1 - MIN_VISIBLE) * area:
            continue
        visible_masks.append(masks[k] - shared)
        numbers.append(k + 1)
        taken |= visible_masks[-1]
    label_map = np.zeros((size, size), dtype=np.int32)
    for number, visible in zip(numbers, np.stack(visible_masks), strict=True):
        label_map += visible * np.int32(number)
    return torch.from_numpy(label_map)


def prepare(
    flatten: Callable[..., Tensor], num_objects: int, size: int, device: str
) -> Callable[[], Tensor]:
    """The call whose memory is measured, in the measuring process."""
    boxes, logits, scores = random_nuclei(num_objects, size, device)
    warm_up = random_nuclei(4, 64, device)
    flatten(*warm_up, 64)  # so that lazily loaded libraries do not count
    return lambda: flatten(boxes, logits, scores, size)


class Measurement(NamedTuple):
    """One way on one set of masks."""

    label_map: Tensor
    seconds: float
    extra_bytes: int

    def cells(self) -> tuple[str, str]:
        """Time and memory, to be read."""
        return f'{self.seconds * 1e3:.1f} ms', f'{self.extra_bytes / MIB:.1f} MiB'


def measure(
    flattens: Sequence[Callable[..., Tensor]],
    num_objects: int,
    size: int,
    threads: int,
    device: str,
) -> list[Measurement]:
    """Result, median time and peak extra memory of several ways, timed in turns."""
    nuclei = random_nuclei(num_objects, size, device)
    seconds = median_seconds(*(partial(way, *nuclei, size) for way in flattens), repeats=3)
    return [
        Measurement(
            way(*nuclei, size).cpu(),
            way_seconds,
            peak_extra_memory(
                *(prepare, way, num_objects, size, device), threads=threads, device=device
            ),
        )
        for way, way_seconds in zip(flattens, seconds, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_device(parser)
    args, threads = parse_options(parser)
    report = Report(
        f'Mask logits to label map, {where(args.device, threads)}',
        *('objects', 'way', 'time', 'peak memory', 'faster', 'less memory', 'pixels that differ'),
    )
    case = '1000 on 1000 x 1000'
    for name, baseline_way, our_way in (
        ('kept', flatten_kept, flatten_in_boxes_dropping),
        ('lean', flatten_lean, flatten_in_boxes),
    ):
        baseline, ours = measure([baseline_way, our_way], 1000, 1000, threads, args.device)
        differing = float((ours.label_map != baseline.label_map).sum())
        differing /= float((baseline.label_map > 0).sum())
        speedup = baseline.seconds / ours.seconds
        saving = baseline.extra_bytes / ours.extra_bytes
        report.row(case, f'paste + {name}', *baseline.cells(), '', '', '')
        ratios = (f'{speedup:.0f} x', f'{saving:.0f} x', f'{differing:.4%}')
        report.row('', 'mmcell', *ours.cells(), *ratios)
        report.target(
            f'{name}: at most {MAX_DIFFERING_FRACTION:.1%} of the mask pixels differ',
            differing <= MAX_DIFFERING_FRACTION,
        )
        if name == 'kept':
            report.target(f'{name}: at least {MIN_SPEEDUP:g} times faster', speedup >= MIN_SPEEDUP)
            report.target(f'{name}: 1/{MIN_SAVING:g} of the peak memory', saving >= MIN_SAVING)
    (large,) = measure([flatten_in_boxes], 5000, 2000, threads, args.device)
    report.row('5000 on 2000 x 2000', 'mmcell', *large.cells(), '', '', '')
    report.target('5000 on 2000 x 2000: below 1 GiB', large.extra_bytes < LARGE_LIMIT)
    report.finish()


if __name__ == '__main__':
    main()
