import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from mmcell.engine.curves import read_curves
from mmcell.engine.run import train

TOOLS = Path(__file__).parents[2] / 'tools'
ITERATIONS, CHECKPOINT_EVERY, KILLED_AT = 12, 4, 7


def _log(path: Path) -> list[dict]:
    return [json.loads(line) for line in Path(f'{path}.0').read_text().splitlines()]


def _config(config_in, folder: Path, name: str, *hooks: dict) -> Path:
    """A run ``name``, or ``name_part`` that goes on with it, with its own record of iterations."""
    return config_in(
        folder,
        name,
        max_iters=ITERATIONS,
        default_hooks__checkpoint__interval=CHECKPOINT_EVERY,
        work_dir=str(folder / name.split('_')[0]),
        custom_hooks=[dict(type='RecordHook', path=str(folder / name)), *hooks],
    )


def _start(config: Path, *options: str, output: int = subprocess.DEVNULL) -> subprocess.Popen:
    """Train in a process of its own, with one thread: sums are taken in the same order in each."""
    return subprocess.Popen(
        [sys.executable, TOOLS / 'train.py', config, *options],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _train(config: Path, *options: str, status: int = 0) -> None:
    process = _start(config, *options, output=subprocess.PIPE)
    output, _ = process.communicate()
    assert process.returncode == status, output


@pytest.fixture(scope='module')
def whole(tmp_path_factory, config_in) -> Path:
    """The work directory of a training that is not killed; its record is beside it."""
    folder = tmp_path_factory.mktemp('whole')
    _train(_config(config_in, folder, 'whole'))
    return folder / 'whole'


def _assert_same_end(killed: Path, whole: Path) -> None:
    """Weights, optimizer, schedule and curves of two work directories are the same."""
    final = [
        torch.load(run / f'iter_{ITERATIONS}.pth', weights_only=False) for run in (whole, killed)
    ]
    for part in (lambda c: c['state_dict'], lambda c: c['optimizer']['state']):
        torch.testing.assert_close(part(final[1]), part(final[0]), rtol=0, atol=0)
    assert final[1]['optimizer']['param_groups'] == final[0]['optimizer']['param_groups']
    assert final[1]['param_schedulers'] == final[0]['param_schedulers']
    assert final[1]['message_hub']['runtime_info']['iter'] == ITERATIONS - 1
    # One curve, every iteration once, though some were logged twice.
    losses = read_curves(killed).train['loss']
    assert losses == read_curves(whole).train['loss']
    assert len(losses) == ITERATIONS


def test_killed_and_resumed_training_ends_as_if_it_had_not_been_killed(whole, config_in, tmp_path):
    config = partial(_config, config_in, tmp_path)
    _train(config('killed', dict(type='KillHook', at=KILLED_AT)), status=-signal.SIGKILL)
    _train(config('killed_rest'), '--resume')

    expected, rest = _log(whole), _log(tmp_path / 'killed_rest')
    assert _log(tmp_path / 'killed') == expected[:KILLED_AT]
    # Iterations 5 to 12: the same images in the same order, the same learning rates and losses.
    assert [line['iteration'] for line in rest] == list(range(CHECKPOINT_EVERY + 1, ITERATIONS + 1))
    assert rest == expected[CHECKPOINT_EVERY:]
    _assert_same_end(tmp_path / 'killed', whole)


def test_moment_of_the_kill_does_not_matter(whole, config_in, tmp_path):
    """Killed from outside: in an iteration, between two, or while a checkpoint is written."""
    config = partial(_config, config_in, tmp_path)
    seed = time.time_ns()  # another moment in every run: none may fail
    moments = random.Random(seed)
    process = _start(config('killed'))
    # With some iterations to go, lest the training ends before it is killed.
    _wait_for_lines(process, Path(f'{tmp_path / "killed"}.0'), moments.randint(1, ITERATIONS - 4))
    time.sleep(moments.uniform(0, 0.1))
    process.kill()
    assert process.wait() == -signal.SIGKILL, f'seed {seed}'
    _train(config('killed_rest'), '--resume')

    records = [*_log(tmp_path / 'killed'), *_log(tmp_path / 'killed_rest')]
    expected = _log(whole)
    assert all(line == expected[line['iteration'] - 1] for line in records), f'seed {seed}'
    seen = {line['iteration'] for line in records}
    assert seen == set(range(1, ITERATIONS + 1)), f'seed {seed}'
    _assert_same_end(tmp_path / 'killed', whole)


def _wait_for_lines(process: subprocess.Popen, log: Path, lines: int) -> None:
    while not log.exists() or log.read_bytes().count(b'\n') < lines:
        assert process.poll() is None, 'the training ended early'
        time.sleep(0.01)


def test_half_written_checkpoint_does_not_stop_a_resume(tiny_config, tmp_path):
    train(tiny_config('run', max_iters=4))
    work_dir = tmp_path / 'run'
    last = work_dir / 'iter_4.pth'
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    runner = train(tiny_config('rest', max_iters=4, work_dir=str(work_dir)), resume='auto')
    assert Path(runner._load_from).name == 'iter_2.pth'
    assert torch.load(last, weights_only=False)['meta']['iter'] == 4  # written anew


def test_resume_without_a_checkpoint_starts_from_the_beginning(tiny_config, tmp_path):
    runner = train(tiny_config('run', max_iters=1), resume='auto')
    assert runner.iter == 1
