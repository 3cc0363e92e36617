"""A Mask R-CNN that trains in a second, as a config file, and hooks that watch and kill it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmcell.engine.run import train
from mmcell.visualization.cell_visualizer import CellVisualizer

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs' / '_base_'

PROBES = '''
import json, os, signal
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class RecordHook(Hook):
    """One JSON line a training iteration and process: losses, learning rate, images."""

    def __init__(self, path):
        self.path = path

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        line = dict(
            iteration=runner.iter + 1,
            lr=runner.optim_wrapper.get_lr()['lr'][0],
            images=[s.img_id for s in data_batch['data_samples']],
            losses={k: v.item() for k, v in outputs.items() if 'loss' in k},
        )
        with open(f'{self.path}.{get_rank()}', 'a') as file:
            file.write(json.dumps(line) + chr(10))


@HOOKS.register_module()
class ValidatedHook(Hook):
    """The network that each process validates, as a file."""

    def __init__(self, path):
        self.path = path

    def before_val_epoch(self, runner):
        torch.save(runner.model.module.state_dict(), f'{self.path}.{get_rank()}')


@HOOKS.register_module()
class KillHook(Hook):
    """The process kills itself the hard way after an iteration."""

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
'''


def _dataloader(root: Path, split: str, batch_size: int, train: bool) -> dict[str, Any]:
    pipeline = [
        dict(type='LoadCellImage'),
        dict(type='Resize', scale_factor=1.0, keep_ratio=True),
        dict(type='LoadCellAnnotations'),
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
        ),
    ]
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type='InfiniteSampler' if train else 'DefaultSampler', shuffle=train),
        dataset=dict(
            type='CellDataset',
            data_root=str(root),
            ann_file=f'annotations/{split}.json',
            data_prefix=dict(img='images/'),
            test_mode=not train,
            pipeline=pipeline,
        ),
    )


def _no_chance_in_sampling(model: dict[str, Any]) -> None:
    # All anchors, all proposals, and only the objects themselves as positives: nothing is drawn.
    train_cfg = model['train_cfg']
    train_cfg['rpn']['sampler']['num'] = 100000
    train_cfg['rpn_proposal'].update(nms_pre=100, max_per_img=20)
    train_cfg['rcnn']['sampler'].update(num=1000, pos_fraction=0.5)
    train_cfg['rcnn']['assigner'].update(
        pos_iou_thr=0.999, neg_iou_thr=0.999, min_pos_iou=0.999, match_low_quality=False
    )


def write_config(
    folder: Path,
    data: Path,
    shrink: Callable[[Any], Any],
    name: str,
    max_iters: int = 4,
    batch_size: int = 2,
    **overrides: Any,
) -> Path:
    """Write ``folder/name.py``: a tiny run, into ``folder/name``, on the runtime that ships.

    Args:
        folder: An existing folder.
        data: The data set of the fixture ``tiny_coco``.
        shrink: The function of the fixture ``shrink``.
        name: Used once within a test: MMEngine keeps loggers under it.
        max_iters: Length of the training.
        batch_size: Of the training, per process.
        overrides: Any other keys of the config, with ``__`` for a dot.
    """
    draft = folder / f'{name}_draft.py'
    bases = [
        'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
        str(CONFIGS / 'default_runtime.py'),
        str(CONFIGS / 'schedules' / 'adamw_tiny.py'),
    ]
    draft.write_text(f'_base_ = {bases!r}\n')
    cfg = Config.fromfile(str(draft))
    draft.unlink()
    shrink(cfg.model)
    _no_chance_in_sampling(cfg.model)
    cfg.custom_imports.imports.append('probes')
    cfg.merge_from_dict(
        {
            'work_dir': str(folder / name),
            'optim_wrapper': dict(
                _delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=4e-4)
            ),
            'model.rpn_head.anchor_generator.scales': [4],  # 16 px, the size of the squares
            'model.roi_head.type': 'RoiMasksRoIHead',
            'train_cfg.max_iters': max_iters,
            'train_cfg.val_interval': 1000,
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint.interval': 2,
            'env_cfg.mp_cfg.opencv_num_threads': 1,
            'val_evaluator': dict(type='CellMetric'),
            'test_evaluator': dict(type='CellMetric'),
            'train_dataloader': _dataloader(data, 'train', batch_size, train=True),
            'val_dataloader': _dataloader(data, 'val', 1, train=False),
            'test_dataloader': _dataloader(data, 'test', 1, train=False),
            **{key.replace('__', '.'): value for key, value in overrides.items()},
        }
    )
    path = folder / f'{name}.py'
    cfg.dump(str(path))
    return path


@pytest.fixture(scope='session', autouse=True)
def probes(tmp_path_factory):
    """The hooks above and mmcell can be imported, in processes that tests start as well."""
    folder = tmp_path_factory.mktemp('probes')
    (folder / 'probes.py').write_text(PROBES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv('PYTHONPATH', os.pathsep.join([str(folder), str(ROOT)]))
        yield


def _forget_runs() -> None:
    """MMEngine names them by the second: another within it would log and draw into the first's."""
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    for kind in (CellVisualizer, MMLogger):
        kind._instance_dict.clear()


@pytest.fixture(autouse=True)
def forget_runs() -> Callable[[], None]:
    """Between runs of one test, ``forget_runs()``."""
    _forget_runs()
    return _forget_runs


@pytest.fixture(scope='session')
def config_in(tiny_coco, shrink) -> Callable[..., Path]:
    """``config_in(folder, name, ...)``: ``write_config`` on the data and models of the tests."""
    return lambda folder, *args, **kwargs: write_config(folder, tiny_coco, shrink, *args, **kwargs)


@pytest.fixture
def tiny_config(tmp_path, config_in) -> Callable[..., Path]:
    """``write_config`` into ``tmp_path``."""
    return partial(config_in, tmp_path)


@pytest.fixture(scope='module')
def trained(tmp_path_factory, tiny_coco, shrink) -> tuple[Path, Path, float]:
    """A config, the checkpoint of a short training and its AJI in the validation at its end."""
    folder = tmp_path_factory.mktemp('trained')
    config = write_config(
        folder,
        tiny_coco,
        shrink,
        'trained',
        max_iters=2,
        train_cfg__val_interval=2,
        model__test_cfg__rcnn__score_thr=0.01,
    )
    aji = train(config).message_hub.get_scalar('val/cell/aji').current()
    assert aji > 0  # else an untested network would be as good
    _forget_runs()
    return config, folder / 'trained' / 'iter_2.pth', aji
