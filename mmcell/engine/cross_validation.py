"""Training and testing on every fold of a cross-validation, and one summary of all."""

from __future__ import annotations

import copy
import csv
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log

from mmcell.evaluation.ranked import RANKED_SCORES
from mmcell.evaluation.summary import (
    DEFAULT_SCORES,
    Row,
    render_text,
    summarize,
    write_summary,
)

from .checkpoints import find_resumable
from .config import cell_metrics, load_config, package_dir, plain_build_errors, walk_config
from .data_checks import require_annotations
from .errors import ConfigError, DataError, UserError

_TEXT_COLUMNS = ('image', 'img_id')
FOLDS_NOTE = (
    "Mean and std (population) over folds, of the mean over a fold's images and of its pooled value"
)


def cross_validate(
    config: str | Path,
    folds: int,
    *,
    work_dir: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    amp: bool = False,
    processes: int = 1,
) -> dict[str, Any]:
    """Train and test a model once per fold.

    Fold k is trained on ``fold<k>_train.json``, which takes the place of the annotation files in
    ``train_dataloader``, and its last checkpoint is tested on ``fold<k>_test.json``; there is no
    validation, since it would choose the checkpoint by the test images. Each fold runs in a process
    of its own and has a folder of its own. What is finished is not done again, and a training that
    was interrupted goes on.

    Args:
        config: a config file with one CellMetric in ``test_evaluator``.
        folds: how many, as the data set was converted with.
        work_dir: where everything goes. Default: ``work_dirs/<name>_cv<folds>``.
        overrides: dotted key -> value, on top of the config.
        amp: train with mixed precision.
        processes: of each training and test, one per GPU.

    Returns:
        The summary of all images, each fold a subset of them, that is also written to ``work_dir``
        (``per_image.csv``, ``summary.json``, ``summary.md``); ``folds``: their number, and mean and
        std over folds of each fold's mean scores and pooled values. Scores that need more than
        numbers per image, such as average precision, are only there.

    Raises:
        UserError: If config or data cannot be used, a folder holds results of another config, or a
            training or test fails.
    """
    with plain_build_errors(Config()):
        cfg = load_config(config, overrides)
    root = Path(work_dir or Path('work_dirs') / f'{Path(config).stem}_cv{folds}')
    configs = [_fold_config(cfg, fold, root / f'fold{fold}') for fold in range(1, folds + 1)]
    _require_folds(configs, folds)
    for fold, fold_cfg in enumerate(configs, start=1):
        _run_fold(fold_cfg, fold, amp, processes)
    summary = pool_folds([root / f'fold{fold}' / 'test' for fold in range(1, folds + 1)], root)
    print_log(render_text(summary))
    print_log(_folds_table(summary))
    return summary


def pool_folds(tested: list[Path], out_dir: Path) -> dict[str, Any]:
    """Summarize the images of all folds and write that to ``out_dir``.

    Args:
        tested: per fold, where its test wrote ``per_image.csv`` and ``summary.json``.
        out_dir: where the summary goes.

    Returns:
        As :func:`cross_validate` does.
    """
    rows, of_folds = [], []
    for fold, folder in enumerate(tested, start=1):
        of_folds.append(json.loads((folder / 'summary.json').read_text(encoding='utf-8')))
        rows += _read_rows(folder / 'per_image.csv', f'fold{fold}')
    scores = list(of_folds[0]['scores'])
    summary = summarize(rows, scores=scores)
    summary['folds'] = {
        'n_folds': len(tested),
        'scores': {
            name: _over_folds([of_fold['scores'][name]['mean'] for of_fold in of_folds])
            for name in scores
        },
        'pooled': {
            name: _over_folds([of_fold['pooled'][name] for of_fold in of_folds])
            for name in of_folds[0]['pooled']
        },
    }
    write_summary(out_dir, rows, summary)
    with open(out_dir / 'summary.md', 'a', encoding='utf-8') as file:
        file.write(f'\n## Over folds\n\n{_folds_table(summary)}\n')
    return summary


def _over_folds(values: list[float | None]) -> dict[str, float]:
    """Mean and std; None, as JSON has NaN, makes both NaN."""
    numbers = np.array(values, dtype=np.float64)
    return {'mean': float(numbers.mean()), 'std': float(numbers.std())}


def _fold_config(cfg: Config, fold: int, folder: Path) -> Config:
    """``cfg`` with the annotation files of a fold, tested into ``folder/test``."""
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(folder)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    for key, part in (
        ('train_dataloader', 'train'),
        ('test_dataloader', 'test'),
        ('test_evaluator', 'test'),
    ):
        for _, node in walk_config(cfg.get(key) or {}, key):
            if node.get('ann_file'):
                node['ann_file'] = str(Path(node['ann_file']).with_name(f'fold{fold}_{part}.json'))
    metrics = cell_metrics(cfg)
    if len(metrics) != 1:
        raise ConfigError(
            f'test_evaluator has {len(metrics)} CellMetrics; a cross-validation needs one, to read '
            'the scores of each image from it.'
        )
    scores = metrics[0].get('scores', DEFAULT_SCORES)
    if set([scores] if isinstance(scores, str) else scores) <= set(RANKED_SCORES):
        raise ConfigError(
            'the CellMetric of test_evaluator has no score of single images; a cross-validation '
            "pools the images of all folds: add one to its scores, such as 'f1'."
        )
    metrics[0]['out_dir'] = str(folder / 'test')
    return cfg


def _require_folds(configs: list[Config], folds: int) -> None:
    for cfg in configs:
        try:
            require_annotations(cfg, 'train', 'test')
        except DataError as error:
            raise DataError(f'{error} Folds are written with --folds {folds}.') from error
    for _, node in walk_config(configs[0].test_dataloader, 'test_dataloader'):
        if node.get('ann_file'):
            file = Path(node.get('data_root') or '', node['ann_file'])
            further = file.with_name(f'fold{folds + 1}_test.json')
            if further.is_file():
                raise DataError(
                    f'{further} exists: the data set was converted with more than {folds} folds, '
                    'and some images would never be tested. Say how many with --folds.'
                )


def _run_fold(cfg: Config, fold: int, amp: bool, processes: int) -> None:
    folder = Path(cfg.work_dir)
    # Beside the folder: MMEngine writes its own copy of the config into it.
    finished, file = folder / 'finished', folder.with_name(f'{folder.name}.py')
    text = _with_check_sums(cfg)
    if file.is_file() and file.read_text(encoding='utf-8') != text:
        raise ConfigError(
            f'{folder} holds results of another config, or of folds drawn otherwise ({file}); '
            'delete it, or give another --work-dir.'
        )
    if finished.is_file():
        print_log(f'fold {fold}: finished already, in {folder}')
        return
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding='utf-8')
    print_log(f'fold {fold}: training, in {folder}')
    _run('train', [str(file), '--resume', *(['--amp'] if amp else [])], fold, processes)
    checkpoint = find_resumable(folder)
    if checkpoint is None:
        raise UserError(f'the training of fold {fold} has left no checkpoint in {folder}.')
    print_log(f'fold {fold}: testing {checkpoint}')
    _run('test', [str(file), str(checkpoint)], fold, processes)
    finished.touch()


def _with_check_sums(cfg: Config) -> str:
    """The config, and a line about each annotation file: folds drawn anew are other folds."""
    files = {
        Path(node.get('data_root') or '', node['ann_file'])
        for loader in ('train_dataloader', 'test_dataloader')
        for _, node in walk_config(cfg[loader], loader)
        if node.get('ann_file')
    }
    sums = [f'# {file}: CRC-32 {zlib.crc32(file.read_bytes()):08x}\n' for file in sorted(files)]
    return ''.join([cfg.pretty_text, '\n', *sums])


def _status(command: list[str]) -> int:
    sys.stdout.flush()  # what is said here comes before what the process says
    # dist_*.sh start several: with this Python, too.
    return subprocess.run(
        command, check=False, env={**os.environ, 'PYTHON': sys.executable}
    ).returncode


def _run(tool: str, arguments: list[str], fold: int, processes: int) -> None:
    tools = package_dir('tools')
    command = [sys.executable, str(tools / f'{tool}.py'), *arguments]
    if processes > 1:
        launcher = ['bash', str(tools / f'dist_{tool}.sh')]
        # CONFIG PROCESSES for a training, CONFIG CHECKPOINT PROCESSES for a test.
        n_files = {'train': 1, 'test': 2}[tool]
        command = [*launcher, *arguments[:n_files], str(processes), *arguments[n_files:]]
    status = _status(command)
    if status:
        what = {'train': 'training', 'test': 'test'}[tool]
        raise UserError(
            f'the {what} of fold {fold} ended with status {status}; the messages above say why. '
            'The same command goes on from there.'
        )


def _read_rows(file: Path, fold: str) -> list[Row]:
    """Rows of ``per_image.csv``, with the fold as a subset."""
    rows = []
    with open(file, newline='', encoding='utf-8') as lines:
        for line in csv.DictReader(lines):
            subset = [name for name in line.pop('subset', '').split(';') if name]
            texts = {name: line.pop(name) for name in _TEXT_COLUMNS}
            rows.append({**texts, 'subset': [*subset, fold], **_numbers(line)})
    return rows


def _numbers(line: dict[str, str]) -> dict[str, float]:
    return {name: int(text) if text.isdigit() else float(text) for name, text in line.items()}


def _folds_table(summary: dict[str, Any]) -> str:
    folds = summary['folds']
    lines = [
        f'{FOLDS_NOTE}; {folds["n_folds"]} folds.\n',
        '| score | mean | std | pooled | std |',
        '|---|---:|---:|---:|---:|',
    ]
    for name in dict.fromkeys([*folds['scores'], *folds['pooled']]):
        values = [
            f'{part[name][key]:.4f}' if name in part else ''
            for part in (folds['scores'], folds['pooled'])
            for key in ('mean', 'std')
        ]
        lines.append(f'| {" | ".join([name, *values])} |')
    return '\n'.join(lines)
