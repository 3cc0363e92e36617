"""NMS of boxes that compares those that meet, against mmcv's, which compares all pairs on a CPU.

Boxes lie side by side, as with random weights, or eight around each object, as with trained ones.

    python benchmarks/nms.py [--threads 2]
"""

import argparse

import torch
from common import Report, median_seconds, parse_options, where
from mmcv.ops import nms
from torch import Tensor

from mmcell.models.dense_nms import dense_nms

NUM_BOXES = 8000  # of a level of the pyramid, at most, in the tiny configs
IMAGE_SIDE = 1000
IOU_THRESHOLD = 0.7
MIN_SPEEDUP = 2


def boxes_of(side: float, per_object: int) -> Tensor:
    """(N, 4) boxes at random places, ``per_object`` of them around each."""
    centers = torch.rand(NUM_BOXES // per_object, 2).repeat(per_object, 1) * IMAGE_SIDE
    centers += torch.randn(NUM_BOXES, 2) * side / 10 * (per_object > 1)
    sides = side * torch.exp(torch.randn(NUM_BOXES, 2) / 10)
    return torch.cat([centers - sides / 2, centers + sides / 2], dim=1)


@torch.inference_mode()
def main() -> None:
    _, threads = parse_options(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    torch.manual_seed(0)
    report = Report(
        f'{NUM_BOXES} boxes on {IMAGE_SIDE} x {IMAGE_SIDE}, {where("cpu", threads)}',
        *('boxes', 'left', 'mmcv', 'mmcell', 'speed-up'),
    )
    scores = torch.randperm(NUM_BOXES) / NUM_BOXES
    slowest, equal = float('inf'), True
    for side, per_object in ((8, 1), (16, 1), (32, 1), (25, 8)):
        boxes = boxes_of(side, per_object)
        kept = dense_nms(boxes, scores, IOU_THRESHOLD)[1]
        equal &= kept.equal(nms(boxes, scores, IOU_THRESHOLD)[1])
        theirs, ours = median_seconds(
            lambda boxes=boxes: nms(boxes, scores, IOU_THRESHOLD),
            lambda boxes=boxes: dense_nms(boxes, scores, IOU_THRESHOLD),
            repeats=7,
        )
        slowest = min(slowest, theirs / ours)
        report.row(
            f'{side} px, {per_object} at each place',
            str(len(kept)),
            f'{theirs * 1000:.0f} ms',
            f'{ours * 1000:.0f} ms',
            f'{theirs / ours:.1f} x',
        )
    report.target('the same boxes, best first', equal)
    report.target(f'at least {MIN_SPEEDUP} times faster', slowest >= MIN_SPEEDUP)
    report.finish()


if __name__ == '__main__':
    main()
