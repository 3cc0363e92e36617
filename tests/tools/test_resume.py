import json
import signal
import subprocess
import sys
from pathlib import Path

import torch

from mmcell.engine.curves import read_curves
from mmcell.engine.run import train

TOOLS = Path(__file__).parents[2] / 'tools'
ITERATIONS, CHECKPOINT_EVERY, KILLED_AT = 12, 4, 7


def _log(path: Path) -> list[dict]:
    return [json.loads(line) for line in Path(f'{path}.0').read_text().splitlines()]


def test_killed_and_resumed_training_ends_as_if_it_had_not_been_killed(tiny_config, tmp_path):
    def config(name, *hooks):
        record = dict(type='RecordHook', path=str(tmp_path / name))
        return tiny_config(
            name,
            max_iters=ITERATIONS,
            default_hooks__checkpoint__interval=CHECKPOINT_EVERY,
            work_dir=str(tmp_path / name.removesuffix('_rest')),
            custom_hooks=[record, dict(type='CurvesHook'), *hooks],
        )

    train(config('whole'))
    killed = subprocess.run(
        [sys.executable, TOOLS / 'train.py', config('killed', dict(type='KillHook', at=KILLED_AT))],
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    train(config('killed_rest'), resume='auto')

    whole, rest = _log(tmp_path / 'whole'), _log(tmp_path / 'killed_rest')
    assert _log(tmp_path / 'killed') == whole[:KILLED_AT]
    # Iterations 5 to 12: the same images in the same order, the same learning rates and losses.
    assert [line['iteration'] for line in rest] == list(range(CHECKPOINT_EVERY + 1, ITERATIONS + 1))
    assert rest == whole[CHECKPOINT_EVERY:]

    final = [
        torch.load(tmp_path / run / f'iter_{ITERATIONS}.pth', weights_only=False)
        for run in ('whole', 'killed')
    ]
    for part in (lambda c: c['state_dict'], lambda c: c['optimizer']['state']):
        torch.testing.assert_close(part(final[1]), part(final[0]), rtol=0, atol=0)
    assert final[1]['optimizer']['param_groups'] == final[0]['optimizer']['param_groups']
    assert final[1]['param_schedulers'] == final[0]['param_schedulers']
    assert final[1]['message_hub']['runtime_info']['iter'] == ITERATIONS - 1

    # One curve, every iteration once, though the iterations 5 to 7 were logged twice.
    curves = read_curves(tmp_path / 'killed')
    assert curves.train['loss'] == read_curves(tmp_path / 'whole').train['loss']
    assert len(curves.train['loss']) == ITERATIONS


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
