"""Mask fusion, forward and backward: one ragged pass against a loop over boxes.

Baseline: Algorithm 1 of the PFFNet paper as it reads, one ``F.interpolate`` per box, written into
one copy of the semantic map.

    python benchmarks/fusion.py [--device cuda]
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from common import Report, add_device, median_seconds, parse_options, where
from torch import Tensor

from mmcell.functional.fusion import fuse_instance_masks

NUM_CHANNELS, GRID = 2, 28  # the papers' 2 x 28 x 28 masks
BOX_SIDES_PX = (16.0, 40.0)
MAX_RELATIVE_DIFFERENCE = 1e-5


def fuse_by_loop(semantic_logits: Tensor, masks: Tensor, boxes: Tensor) -> Tensor:
    """Residual attention, one box after the other."""
    height, width = semantic_logits.shape[-2:]
    corners = torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], dim=1).int().tolist()
    fused = semantic_logits.clone()
    for mask, (x1, y1, x2, y2) in zip(masks, corners, strict=True):
        top, left, bottom, right = max(y1, 0), max(x1, 0), min(y2, height), min(x2, width)
        if top >= bottom or left >= right:
            continue
        probs = F.interpolate(mask.sigmoid()[None], (y2 - y1, x2 - x1), mode='bilinear')[0]
        probs = probs[:, top - y1 : bottom - y1, left - x1 : right - x1]
        # Autograd needs the former values of what is written over: a copy of the box, not the map.
        fused[:, top:bottom, left:right] = fused[:, top:bottom, left:right].clone() * (1 + probs)
    return fused


def random_inputs(num_boxes: int, size: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Semantic logits, mask logits (both with gradient) and boxes, some across the border."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(num_boxes, 2, generator=generator) * size
    low, high = BOX_SIDES_PX
    half_sides = (torch.rand(num_boxes, 2, generator=generator) * (high - low) + low) / 2
    boxes = torch.cat([centres - half_sides, centres + half_sides], dim=1)
    logits = torch.randn(NUM_CHANNELS, size, size, generator=generator)
    masks = torch.randn(num_boxes, NUM_CHANNELS, GRID, GRID, generator=generator)
    logits, masks, boxes = (tensor.to(device) for tensor in (logits, masks, boxes))
    return logits.requires_grad_(), masks.requires_grad_(), boxes


def forward_backward(
    fuse: Callable[[Tensor, Tensor, Tensor], Tensor], inputs: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The fused map and the gradients of its mean square to logits and masks."""
    logits, masks, boxes = inputs
    fused = fuse(logits, masks, boxes)
    return fused.detach(), *torch.autograd.grad(fused.square().mean(), [logits, masks])


def relative_difference(results: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Largest difference between two lists of tensors, relative to each tensor's largest value."""
    return max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(results, expected, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_device(parser)
    args, threads = parse_options(parser)
    report = Report(
        f'Mask fusion, forward + backward, residual attention, {where(args.device, threads)}',
        *('case', 'loop over boxes', 'mmcell', 'ratio', 'relative difference'),
    )
    for num_boxes, size, repeats, target in ((1000, 1000, 7, 10.0), (128, 256, 25, 1.0)):
        inputs = random_inputs(num_boxes, size, args.device)
        difference = relative_difference(
            forward_backward(fuse_instance_masks, inputs), forward_backward(fuse_by_loop, inputs)
        )
        loop_s, ragged_s = median_seconds(
            partial(forward_backward, fuse_by_loop, inputs),
            partial(forward_backward, fuse_instance_masks, inputs),
            repeats=repeats,
        )
        ratio = loop_s / ragged_s
        case = f'{num_boxes} boxes on {size} x {size}'
        report.row(
            case,
            f'{loop_s * 1e3:.1f} ms',
            f'{ragged_s * 1e3:.1f} ms',
            f'{ratio:.1f} x',
            f'{difference:.1e}',
        )
        report.target(f'{case}: at least {target:g} times as fast as the loop', ratio >= target)
        report.target(
            f'{case}: equal within {MAX_RELATIVE_DIFFERENCE:g} relative, gradients included',
            difference <= MAX_RELATIVE_DIFFERENCE,
        )
    report.finish()


if __name__ == '__main__':
    main()
