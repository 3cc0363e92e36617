import json
import math
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from processes import TOOLS, run_tool

from mmcell.engine.run import train

CONFIGS = TOOLS.parent / 'configs'
# SGD at a constant rate: the losses of an iteration show the weights that the last one left.
PLAIN_SGD = {
    'optim_wrapper__optimizer': dict(type='SGD', lr=0.05),
    'optim_wrapper__clip_grad': None,
    'param_scheduler': [],
    'train_dataloader__sampler__shuffle': False,
}


def _log(path: Path, rank: int) -> list[dict]:
    return [json.loads(line) for line in Path(f'{path}.{rank}').read_text().splitlines()]


def test_two_processes_train_like_one_with_twice_the_batch(tiny_config, tmp_path):
    """Losses are means over an image's samples, and both images of a pair have equally many.

    So the loss of the pair is the mean of the two losses, up to the order of float32 sums.
    """

    def config(name, batch_size):
        record = dict(type='RecordHook', path=str(tmp_path / name))
        return tiny_config(
            name, batch_size=batch_size, max_iters=4, custom_hooks=[record], **PLAIN_SGD
        )

    train(config('one', batch_size=2))
    two = config('two', batch_size=1)
    run_tool('dist_train.sh', two, '2')

    one = _log(tmp_path / 'one', 0)
    ranks = [_log(tmp_path / 'two', rank) for rank in (0, 1)]
    assert one[-1]['losses']['loss'] < 0.95 * one[0]['losses']['loss']  # the weights do change
    for pair, first, second in zip(one, *ranks, strict=True):
        assert pair['images'] == first['images'] + second['images']
        assert first['losses']['loss'] != second['losses']['loss']
        for name, value in pair['losses'].items():
            mean = (first['losses'][name] + second['losses'][name]) / 2
            assert mean == pytest.approx(value, rel=1e-4), (pair['iteration'], name)

    weights = [
        torch.load(tmp_path / name / 'iter_4.pth', weights_only=False)['state_dict']
        for name in ('one', 'two')
    ]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)


def test_every_process_validates_the_network_that_is_saved(tiny_config, tmp_path):
    """Also where batch normalisation has met other images in each."""
    config = tiny_config(
        'two',
        batch_size=1,
        max_iters=2,
        train_cfg__val_interval=2,
        model__backbone__norm_eval=False,
        custom_hooks=[dict(type='ValidatedHook', path=str(tmp_path / 'validated'))],
    )
    run_tool('dist_train.sh', config, '2')
    saved = torch.load(tmp_path / 'two' / 'iter_2.pth', weights_only=False)['state_dict']
    # They begin at 0.
    moved = [name for name in saved if name.endswith('running_mean') and saved[name].any()]
    assert len(moved) > 10
    for rank in (0, 1):
        validated = torch.load(f'{tmp_path / "validated"}.{rank}')
        assert all(validated[name].equal(saved[name]) for name in moved)


def test_two_processes_learn_semantics_in_every_second_iteration(tiny_config, shrink, tmp_path):
    """In the others no gradient reaches the semantic heads."""
    model = Config.fromfile(CONFIGS / '_base_' / 'models' / 'pffnet_r18_tiny.py').model
    config = tiny_config(
        'two',
        batch_size=1,
        model=dict(shrink(model), _delete_=True, semantic_interval=2),
        find_unused_parameters=True,
        custom_hooks=[dict(type='RecordHook', path=str(tmp_path / 'two'))],
        train_dataloader__dataset__pipeline=[
            dict(type='LoadCellImage'),
            dict(type='LoadCellAnnotations'),
            dict(type='SemanticFromInstances'),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
        ],
    )
    run_tool('dist_train.sh', config, '2')
    for rank in (0, 1):
        log = _log(tmp_path / 'two', rank)
        assert ['loss_semantic' in line['losses'] for line in log] == [True, False, True, False]
        assert all(math.isfinite(line['losses']['loss']) for line in log)


def test_data_workers_end_with_the_training(tiny_config):
    """They hold the pipes of their parent: where they stay, what reads its output never ends."""
    workers = {'train_dataloader__num_workers': 2, 'train_dataloader__persistent_workers': True}
    config = tiny_config('working', batch_size=1, **workers)
    run_tool('dist_train.sh', config, '2', timeout=120)


def test_two_processes_score_like_one(trained, tmp_path):
    config, checkpoint, score = trained
    output = run_tool('dist_test.sh', config, checkpoint, '2', '--work-dir', tmp_path)
    assert f'cell/aji: {score:.4f}' in output


@pytest.mark.parametrize('tool', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_scripts_without_arguments_say_how_they_are_used(tool):
    run = subprocess.run([TOOLS / tool], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.startswith('usage: ')
