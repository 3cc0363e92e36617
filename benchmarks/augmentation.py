"""What test-time augmentation and half precision cost, and what they gain.

Predicts the images of a COCO list as ``mmcell predict`` does, and scores what a user gets: final
objects of score >= 0.5 that share no pixel. AJI and PQ are means over the images, AP (IoU 0.5 to
0.95) pools the objects of all. Time is that of the whole prediction, in turns, against one view in
full precision.

    python benchmarks/augmentation.py --model configs/pffnet_tiny_synthetic.py --checkpoint FILE \
        --coco data/synthetic/annotations/val.json --images data/synthetic/images [--emulate-half]

A processor without bfloat16 can still say what half precision does to the scores: with
--emulate-half, whose time then means nothing.
"""

import argparse
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from common import Report, parse_options
from pycocotools.coco import COCO
from rich.progress import track

import mmcell
from mmcell.engine.bfloat16 import half_dtype
from mmcell.engine.errors import ConfigError
from mmcell.functional.overlap import overlap_table
from mmcell.functional.ranked_precision import average_precision, ranked_matches
from mmcell.functional.scores import aji, panoptic_quality

VARIANTS = {
    'one view': {},
    '4 views': dict(views=4),
    '8 views': dict(views=8),
    'half precision': dict(half=True),
}


class Scores:
    """Of one variant, image by image."""

    def __init__(self) -> None:
        self.seconds, self.aji, self.pq, self.matches, self.count = [], [], [], [], 0

    def add(self, gt: np.ndarray, labels: np.ndarray, scores: np.ndarray, seconds: float) -> None:
        """An image: both label maps, a score per object, the time it took."""
        self.seconds.append(seconds)
        self.aji.append(aji(gt, labels))
        self.pq.append(panoptic_quality(gt, labels).pq)
        self.matches.append(ranked_matches(overlap_table(gt, labels), scores))
        self.count += len(scores)

    def row(self, name: str, baseline: 'Scores') -> tuple[str, ...]:
        """Cells of the table."""
        # Of ratios of neighbours in time, so that a busy machine disturbs both.
        ratio = np.median(np.array(self.seconds) / np.array(baseline.seconds))
        ap = average_precision(self.matches).mean()
        numbers = (np.nanmean(self.aji), np.nanmean(self.pq), ap)
        return (name, f'{ratio:.2f} x', str(self.count), *(f'{100 * n:.2f}' for n in numbers))


def label_map(coco: COCO, image_id: int) -> np.ndarray:
    """Ground truth."""
    info = coco.imgs[image_id]
    labels = np.zeros((info['height'], info['width']), dtype=np.int32)
    for number, annotation in enumerate(coco.imgToAnns[image_id], 1):
        labels[coco.annToMask(annotation) > 0] = number
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', required=True)
    parser.add_argument('--checkpoint', required=True)
    parser.add_argument('--coco', required=True, help='COCO list of the images and their objects')
    parser.add_argument('--images', required=True, type=Path, help='their folder')
    parser.add_argument('--emulate-half', action='store_true')
    args, threads = parse_options(parser)
    model = mmcell.load(args.model, args.checkpoint)
    variants = dict(VARIANTS)
    if args.emulate_half:
        mock.patch('mmcell.inference.detect.half_dtype', return_value=torch.bfloat16).start()
    else:
        try:
            half_dtype(model.network.device)
        except ConfigError as error:
            print(error)
            del variants['half precision']
    coco = COCO(args.coco)
    results = {name: Scores() for name in variants}
    for image_id, info in track(coco.imgs.items(), 'predict'):
        gt = label_map(coco, image_id)
        for name, options in variants.items():
            start = time.perf_counter()
            found = model.predict(args.images / info['file_name'], **options)
            seconds = time.perf_counter() - start
            results[name].add(gt, found.labels, found.scores, seconds)
    num_objects = len(coco.anns)
    report = Report(
        f'{Path(args.model).stem}, {len(coco.imgs)} images with {num_objects} objects, '
        f'{model.network.device}, {threads} threads',
        *('', 'time', 'objects', 'AJI', 'PQ', 'mask AP'),
    )
    baseline = results['one view']
    for name, scores in results.items():
        report.row(*scores.row(name, baseline))
    report.finish()


if __name__ == '__main__':
    main()
