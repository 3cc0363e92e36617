"""Can a method learn a few images by heart? Trains on them as they are and scores the same images.

What cannot reach an AJI of 0.8 here has a fault in its targets, losses or decoding, not too little
data. Tiny models, batches of one image.

    python benchmarks/overfit.py coco.json images/ --methods pffnet mask_rcnn
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.mask import encode
from rich.console import Console
from rich.table import Table

from mmcell.datasets.coco_writer import CellImage, write_dataset
from mmcell.engine.run import train

CONFIGS = Path(__file__).parents[1] / 'configs'
METHODS = (
    'mask_rcnn',
    'point_rend',
    'ms_rcnn',
    'panoptic_fpn',
    'cell_rcnn',
    'cell_rcnn_v2',
    'pffnet',
)
MIN_AJI = 0.80


def write_crops(annotations: Path, images: Path, out: Path, num_images: int, side: int) -> None:
    """Convert the upper left ``side`` x ``side`` pixels of the first images, in order of names."""
    coco = COCO(annotations)
    chosen = sorted(coco.imgs.values(), key=lambda image: image['file_name'])[:num_images]

    def load(image: dict[str, Any]) -> CellImage:
        pixels = cv2.imread(str(images / image['file_name']))[:side, :side, ::-1]
        bitmaps = [coco.annToMask(ann)[:side, :side] for ann in coco.imgToAnns[image['id']]]
        return CellImage(pixels, [encode(np.asfortranarray(b)) for b in bitmaps if b.any()])

    entries = {Path(image['file_name']).stem: partial(load, image) for image in chosen}
    write_dataset(entries, {'train': list(entries)}, out, strict=True, progress=False)


def overrides(data_root: Path, iterations: int, rate: float) -> dict[str, Any]:
    """What makes a config train on images as they are, and validate on the same."""
    changes: dict[str, Any] = {
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': iterations,
        'optim_wrapper.optimizer.lr': rate,
        'default_hooks.checkpoint.interval': iterations,
        'train_dataloader.batch_size': 1,
        'train_dataloader.dataset.pipeline': [
            dict(type='LoadCellImage'),
            dict(type='LoadCellAnnotations'),
            dict(type='SemanticFromInstances'),
            dict(type='PackDetInputs'),
        ],
        'val_dataloader.dataset.ann_file': 'annotations/train.json',
        'val_dataloader.dataset.pipeline.1.scale_factor': 1.0,
        'val_evaluator': [dict(type='CellMetric')],
    }
    for loader in ('train_dataloader', 'val_dataloader'):
        changes[f'{loader}.num_workers'] = 0
        changes[f'{loader}.persistent_workers'] = False
        changes[f'{loader}.dataset.data_root'] = str(data_root)
    return changes


def main() -> None:
    """Train each method, print a table, and fail if one stays below the threshold."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('annotations', type=Path, help='COCO json with masks')
    parser.add_argument('images', type=Path, help='folder of its images')
    parser.add_argument('--methods', nargs='+', default=METHODS, help='of <method>_tiny_dsb2018.py')
    parser.add_argument('--num-images', type=int, default=4)
    parser.add_argument('--side', type=int, default=256, help='pixels that images are cut to')
    parser.add_argument('--iterations', type=int, default=600)
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    table = Table('method', 'AJI', 'PQ', 'Dice', 'minutes')
    reached = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, 'data')
        write_crops(args.annotations, args.images, data, args.num_images, args.side)
        for method in args.methods:
            start = time.perf_counter()
            runner = train(
                CONFIGS / f'{method}_tiny_dsb2018.py',
                work_dir=str(Path(folder, method)),
                overrides=overrides(data, args.iterations, args.lr),
            )
            minutes = (time.perf_counter() - start) / 60
            scores = [
                runner.message_hub.get_scalar(f'val/cell/{name}').current()
                for name in ('aji', 'pq', 'dice')
            ]
            table.add_row(method, *(f'{score:.3f}' for score in scores), f'{minutes:.1f}')
            reached.append(scores[0] >= MIN_AJI)
    Console().print(table)
    if not all(reached):
        sys.exit(f'an AJI of {MIN_AJI} was not reached')


if __name__ == '__main__':
    main()
