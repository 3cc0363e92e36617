import inspect
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import settings

from mmcell.engine.memory import keep_freed_memory

# The same examples in every run, and no time limit for a busy machine to break.
settings.register_profile('mmcell', derandomize=True, deadline=None)
settings.load_profile('mmcell')

# Several test processes share the cores, as do the tools that they start.
_processes = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
if _processes > 1:
    _threads = max((os.cpu_count() or 1) // _processes, 1)
    os.environ.setdefault('OMP_NUM_THREADS', str(_threads))
    torch.set_num_threads(_threads)
    cv2.setNumThreads(_threads)

# Training steps on a CPU otherwise wait for page faults, as the tools would.
keep_freed_memory()


@pytest.fixture(autouse=True)
def seeds() -> None:
    """The same random numbers for a test whatever ran before it: transforms draw from all three."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def test_data() -> Path:
    """The folder with `golden/` (reference values) and `data/` (real images)."""
    folder = os.environ.get('MMCELL_TEST_DATA')
    if not folder:
        pytest.skip('MMCELL_TEST_DATA is not set: no golden values, no real images')
    if not Path(folder).is_dir():
        pytest.fail(f'MMCELL_TEST_DATA={folder} is not a folder')
    return Path(folder)


@pytest.fixture(scope='session')
def tiny_coco(tmp_path_factory) -> Path:
    """Four 64 x 64 images of three bright squares each, as COCO train, val and test lists.

    Images 1 and 3 are images 0 and 2 mirrored: they differ, but hold equally many of everything.
    """
    root = tmp_path_factory.mktemp('tiny_coco')
    (root / 'images').mkdir()
    (root / 'annotations').mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(4):
        corners = [(4, 6), (36, 10), (20 + 4 * (index // 2), 40)]
        if index % 2 == 0:
            picture = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            for x, y in corners:
                picture[y : y + 16, x : x + 16] += 150
        else:
            picture = picture[:, ::-1]
            corners = [(64 - 16 - x, y) for x, y in corners]
        cv2.imwrite(str(root / 'images' / f'{index}.png'), picture)
        images.append(dict(id=index, file_name=f'{index}.png', width=64, height=64))
        for x, y in corners:
            ring = [x, y, x + 16, y, x + 16, y + 16, x, y + 16]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index,
                    category_id=1,
                    bbox=[x, y, 16, 16],
                    area=256,
                    iscrowd=0,
                    segmentation=[ring],
                )
            )
    coco = dict(images=images, annotations=annotations, categories=[dict(id=1, name='nucleus')])
    for split in ('train', 'val', 'test'):
        (root / 'annotations' / f'{split}.json').write_text(json.dumps(coco))
    return root


RESNET_CHANNELS = ([256, 512, 1024, 2048], [64, 128, 256, 512])
# The first of them are also those of a decoder.
FULL_RESOLUTION_CHANNELS = ([64, 64, 256, 512, 1024, 2048], [16, 32, 32, 64, 128, 256])
FEW = {
    'num_groups': 4,
    'init_cfg': None,
    'max_per_img': 40,
    'score_thr': 0.05,
    'corner_topk': 40,
    'peak_threshold': 0.0,
}


def _default_channels(kind: Any) -> dict[str, int]:
    """Channels that a registered module has where its config names none."""
    from mmdet.registry import MODELS  # not for tests that run without MMDetection

    module = MODELS.get(kind) if isinstance(kind, str) else None
    classes = module.__mro__ if inspect.isclass(module) else ()
    parameters = [p for c in reversed(classes) for p in inspect.signature(c).parameters.values()]
    return {p.name: p.default for p in parameters if _is_wide(p.name, p.default)}


def _is_wide(key: str, value: Any) -> bool:
    return key.endswith('channels') and isinstance(value, int) and value >= 64


def _shrink(node: Any, num_classes: int = 1) -> Any:
    """Make any ResNet + FPN detector tiny: depth 18, 16 channels, 24 RoIs, no download."""
    if isinstance(node, (list, tuple)):
        if list(node) in RESNET_CHANNELS:
            return [8, 16, 32, 64]
        if node and any(list(node) == wide[: len(node)] for wide in FULL_RESOLUTION_CHANNELS):
            return [16, 8, 8, 16, 32, 64][: len(node)]
        return [_shrink(n, num_classes) for n in node]
    if not isinstance(node, dict):
        return node
    for key, value in {**_default_channels(node.get('type')), **node}.items():
        if _is_wide(key, value):
            node[key] = 32 if key.startswith('fc_') else 16
        elif key == 'num_classes':
            node[key] = num_classes
        else:
            node[key] = FEW[key] if key in FEW else _shrink(value, num_classes)
    if node.get('type') == 'CenterKeypointHead':
        node['in_channels'] = 8
    if node.get('type') in ('ResNet', 'FullResolutionResNet'):
        node.update(depth=18, base_channels=8, frozen_stages=-1)
    if node.get('type') == 'HourglassNet':
        node.update(
            downsample_times=2, stage_channels=[16] * 3, stage_blocks=[1] * 3, feat_channel=16
        )
    if 'sampler' in node.get('rcnn', {}):
        node['rcnn']['sampler']['num'] = 24
    return node


@pytest.fixture(scope='session')
def shrink() -> Callable[..., Any]:
    """``shrink(cfg, num_classes=1)`` makes a model config tiny, in place, and returns it."""
    return _shrink
