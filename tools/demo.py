"""From nothing to pictures: generate cells, train PFFNet on them, test it, predict new images.

    python tools/demo.py [--out work_dirs/demo] [--iters N] [--resume]

Each stage is a command of mmcell, printed as you would type it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import tifffile
from rich.console import Console
from rich.table import Table

from mmcell.datasets.image_io import read_image
from mmcell.datasets.synthetic import generate_cells
from mmcell.evaluation.summary import score_image
from mmcell.functional.overlap import overlap_table
from mmcell.functional.rle import rles_to_label_map
from mmcell.functional.watershed import otsu_watershed
from mmcell.visualization.montage import montage, ranked_overlays
from mmcell.visualization.overlay import write_png

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/pffnet_tiny_synthetic.py'
NUM_STAGES = 5
NUM_IMAGES = 200  # 120 to train, 40 to validate, 40 to test
SEED, NEW_SEED, NUM_NEW = 0, 1, 6  # the new images come from a seed of their own
SCORES = ('aji', 'dice', 'f1', 'dq', 'sq', 'pq')
MARKER = 'demo.json'

console = Console(highlight=False)


def main(argv: list[str] | None = None) -> None:
    """Run all stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs/demo', help='result folder')
    parser.add_argument('--iters', type=int, help="training iterations (default: the config's)")
    parser.add_argument('--resume', action='store_true', help='go on with an interrupted demo')
    args = parser.parse_args(argv)
    start = time.monotonic()
    out = args.out.resolve()
    prepare_folder(out, dict(iters=args.iters), args.resume)

    stage(1, f'Generate {NUM_IMAGES} images of cells, and {NUM_NEW} more that nothing is tuned on')
    data = out / 'data'
    run(
        *('python', 'tools/dataset_converters/synthetic.py', '--out', shown(data)),
        *('--images', NUM_IMAGES, '--seed', SEED, '--overwrite'),
    )
    write_new_images(out / 'new_images')

    stage(2, 'Train PFFNet')
    options = data_options(shown(data))
    iters = [] if args.iters is None else [f'train_cfg.max_iters={args.iters}']
    run(
        *('python', 'tools/train.py', CONFIG, '--work-dir', shown(out / 'train')),
        *(['--resume'] if args.resume else []),
        *('--cfg-options', *options, *iters),
    )
    checkpoint = Path((out / 'train/last_checkpoint').read_text().strip())

    stage(3, 'Test it on images that it has never seen')
    run(
        *('python', 'tools/test.py', CONFIG, shown(checkpoint)),
        *('--work-dir', shown(out / 'test'), '--show-dir', out / 'test/overlays'),
        *('--cfg-options', *options, f'test_evaluator.0.out_dir={shown(out / "test")}'),
    )

    stage(4, 'Predict the new images, PNG and 16-bit TIFF')
    run(
        *('python', '-m', 'mmcell', 'predict', shown(out / 'new_images'), '--model', CONFIG),
        *('--checkpoint', shown(checkpoint), '--out', shown(out / 'predictions')),
    )

    stage(5, 'Compare with a watershed, which learns nothing')
    per_image, overlays = out / 'test/per_image.csv', out / 'test/overlays'
    best, worst = (ranked_overlays(per_image, overlays, 2, best=end) for end in (True, False))
    write_png(out / 'montage.png', montage(best + worst))
    summary = json.loads((out / 'test/summary.json').read_text())
    means = {name: summary['scores'][name]['mean'] for name in SCORES}
    trained = {name: np.nan if mean is None else mean for name, mean in means.items()}
    console.print(score_table(watershed_scores(data), trained))
    for what, path in (
        ('two best and two worst test images', out / 'montage.png'),
        ('ground truth beside prediction', overlays),
        ('scores per image', per_image),
        ('training curves', out / 'train/curves.png'),
        ('label maps and overlays of the new images', out / 'predictions'),
    ):
        console.print(f'{what:42} {shown(path)}', markup=False, soft_wrap=True)
    console.print(f'done in {(time.monotonic() - start) / 60:.1f} minutes')


def prepare_folder(out: Path, options: dict, resume: bool) -> None:
    """Make an empty folder, or on ``resume`` keep the training of a demo with the same options."""
    marker = out / MARKER
    if out.exists() and any(out.iterdir()) and not marker.is_file():
        sys.exit(f'error: {out} holds something that is no demo: choose another --out.')
    if resume and marker.is_file():
        former = json.loads(marker.read_text())
        if former != options:
            sys.exit(f'error: the demo in {out} was started with {former}: leave out --resume.')
        for folder in ('test', 'predictions'):
            shutil.rmtree(out / folder, ignore_errors=True)
        return
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    marker.write_text(json.dumps(options))


def stage(number: int, title: str) -> None:
    """Announce a stage."""
    console.print(f'\n[{number}/{NUM_STAGES}] {title}', style='bold', markup=False)


def run(*command: object) -> None:
    """Print a command line, run it in the project's folder, end the demo if it fails."""
    words = [str(word) for word in command]
    console.print(f'$ {shlex.join(words)}', style='cyan', markup=False, soft_wrap=True)
    if words[0] == 'python':
        words[0] = sys.executable
    status = subprocess.run(words, cwd=ROOT).returncode
    if status != 0:
        sys.exit(f'error: the demo ends here: the command above failed with exit status {status}.')


def shown(path: Path) -> str:
    """A path as one would type it in the project's folder."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def data_options(data: str) -> list[str]:
    """``--cfg-options`` that point the config to a data set."""
    return [
        *(f'{split}_dataloader.dataset.data_root={data}' for split in ('train', 'val', 'test')),
        *(f'{s}_evaluator.1.ann_file={data}/annotations/{s}.json' for s in ('val', 'test')),
    ]


def write_new_images(folder: Path) -> None:
    """Histology-like images as PNG, fluorescence-like ones as a camera does: 12 bits in 16."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(NUM_NEW):
        pixels = generate_cells(NEW_SEED, index).pixels
        if (pixels == pixels[:, :, :1]).all():
            intensities = pixels[:, :, 0].astype(np.uint16) * 15 + 100
            tifffile.imwrite(folder / f'new_{index}.tif', intensities)
        else:
            cv2.imwrite(str(folder / f'new_{index}.png'), pixels[:, :, ::-1])


def watershed_scores(data: Path) -> dict[str, float]:
    """Mean scores of Otsu's threshold and a watershed on the test images."""
    coco = json.loads((data / 'annotations/test.json').read_text())
    rows = []
    for image in coco['images']:
        rles = [a['segmentation'] for a in coco['annotations'] if a['image_id'] == image['id']]
        gt = rles_to_label_map(rles, (image['height'], image['width']))
        pred = otsu_watershed(read_image(data / 'images' / image['file_name']))
        rows.append(score_image(overlap_table(gt, pred)))
    return {name: float(np.nanmean([row[name] for row in rows])) for name in SCORES}


def score_table(watershed: dict[str, float], trained: dict[str, float]) -> Table:
    """Both methods side by side."""
    table = Table('score, mean over test images', 'watershed', 'PFFNet')
    for name in SCORES:
        cells = (f'{scores[name]:.3f}' for scores in (watershed, trained))
        table.add_row(name.upper(), *cells)
    return table


if __name__ == '__main__':
    main()
