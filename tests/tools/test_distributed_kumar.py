"""The commands of the documentation on Kumar: converted, trained and tested by two processes."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from conversion import KUMAR_NAMES, aperio, convert, write_tiff
from mmengine.config import Config
from processes import run_tool

from mmcell.datasets.paper_layouts import KUMAR_ORGANS

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs' / 'pffnet_kumar.py'
ITERATIONS = 4
# Sorting boxes takes most of a narrow network's time.
FEW = ['model.test_cfg.rpn.nms_pre=50', 'model.train_cfg.rpn_proposal.nms_pre=50']
SHORT = [
    f'train_cfg.max_iters={ITERATIONS}',
    f'default_hooks.checkpoint.interval={ITERATIONS}',
    'default_hooks.logger.interval=1',
    *(
        f'{part}_dataloader.{option}'
        for part in ('train', 'val', 'test')
        for option in ('num_workers=0', 'persistent_workers=False')
    ),
]


def write_training_set(folder):
    """Kumar's images as MoNuSeg has them: 1000 x 1000, 36 dark nuclei, outlines in Aperio XML."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for number, name in enumerate(KUMAR_NAMES):
        random = np.random.default_rng(number)
        pixels = np.full((1000, 1000, 3), (235, 190, 220), np.uint8)
        outlines = []
        for x, y in np.mgrid[80:1000:168, 80:1000:168].reshape(2, -1).T:
            radii = random.uniform(12, 24, 2)
            centre = random.uniform(-40, 40, 2) + (x, y)
            outlines.append(centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1))
            cv2.fillPoly(pixels, [outlines[-1].round().astype(np.int32)], (90, 40, 130))
        write_tiff(folder / 'Tissue Images' / f'{name}.tif', pixels)
        (folder / 'Annotations').mkdir(exist_ok=True)
        (folder / 'Annotations' / f'{name}.xml').write_text(aperio(*outlines))


def options_of(node, original, path):
    """``--cfg-options`` that turn a part of a config into another."""
    if isinstance(node, dict) and isinstance(original, dict):
        keys = {key: original.get(key) for key in node}
    elif isinstance(node, list) and isinstance(original, list) and isinstance(node[0], dict):
        keys, node = dict(enumerate(original)), dict(enumerate(node))
    else:
        text = str(node).replace(' ', '').replace("'", '')
        return [] if node == original else [f'{path}={text}']
    return [o for key, old in keys.items() for o in options_of(node[key], old, f'{path}.{key}')]


def printed_scores(table):
    """Number of images and mean AJI per subset; its name stands below its scores."""
    images, aji = {}, {}
    for line in table.splitlines():
        if score := re.match(r'\| aji +\| ([\d.]+)', line):
            last = float(score[1])
        elif subset := re.match(r'(\w+): (\d+) images', line):
            images[subset[1]], aji[subset[1]] = int(subset[2]), last
    return images, aji


def test_pffnet_trains_and_is_scored_on_seen_and_unseen_organs(tmp_path, shrink):
    write_training_set(tmp_path / 'MoNuSeg 2018 Training Data')
    converted = convert('kumar', tmp_path / 'MoNuSeg 2018 Training Data', tmp_path / 'data/kumar')
    assert converted.exit_code == 0, converted.output
    assert 'warning' not in converted.output

    shipped = Config.fromfile(CONFIG).model
    narrow = options_of(shrink(Config.fromfile(CONFIG).model), shipped, 'model')
    options = ['--cfg-options', *narrow, *FEW, *SHORT]
    log = run_tool('dist_train.sh', CONFIG, '2', *options, cwd=tmp_path)
    assert f'Iter(train) [{ITERATIONS}/{ITERATIONS}]' in log
    checkpoint = tmp_path / 'work_dirs' / 'pffnet_kumar' / f'iter_{ITERATIONS}.pth'
    table = run_tool('dist_test.sh', CONFIG, checkpoint, '2', *options, cwd=tmp_path)
    assert 'Iter(test) [7/7]' in table  # half of the images each

    images, aji = printed_scores(table)
    assert images == {**dict.fromkeys(KUMAR_ORGANS, 2), 'seen': 8, 'unseen': 6, 'all': 14}
    # Over images, so that both add up to all, each to four digits.
    assert 14 * aji['all'] == pytest.approx(8 * aji['seen'] + 6 * aji['unseen'], abs=0.0014)
