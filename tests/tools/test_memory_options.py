"""The options that configs/README.md lists for large images and small memory do what it says."""

import json

import pytest
import torch

from mmcell.engine.run import train

SGD = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))


@pytest.fixture
def run(tiny_config, tmp_path):
    """Train under a name; give the losses of each iteration and the weights."""

    def run(name, **overrides):
        record = dict(type='RecordHook', path=str(tmp_path / name))
        config = tiny_config(name, custom_hooks=[record], optim_wrapper=SGD, **overrides)
        runner = train(config, overrides={'param_scheduler': []})
        lines = [json.loads(line) for line in (tmp_path / f'{name}.0').read_text().splitlines()]
        return [line['losses'] for line in lines], runner.model.state_dict()

    return run


# MMDetection leaves a choice to torch that torch wants made.
@pytest.mark.filterwarnings('ignore:torch.utils.checkpoint')
def test_activation_checkpointing_learns_the_same(run):
    losses, weights = run('plain', max_iters=2)
    other_losses, other_weights = run('with_cp', max_iters=2, model__backbone__with_cp=True)
    assert other_losses[0] == losses[0]
    torch.testing.assert_close(other_weights, weights)


def test_accumulated_batches_learn_as_one_large_batch(run):
    # Both images of a pair hold equally much of everything, so that means of means are means.
    _, whole = run('whole', max_iters=2, batch_size=2)
    _, halves = run('halves', max_iters=4, batch_size=1, optim_wrapper__accumulative_counts=2)
    _, half_way = run('half_way', max_iters=2, batch_size=1)
    torch.testing.assert_close(halves, whole, rtol=1e-4, atol=1e-5)
    name = 'roi_head.bbox_head.fc_cls.bias'
    assert (half_way[name] - whole[name]).abs().max() > 1e-4


def test_deterministic_runs_are_equal_to_the_last_bit(run):
    try:
        first = run('first', max_iters=3, randomness__deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        second = run('second', max_iters=3, randomness__deterministic=True)
    finally:
        torch.use_deterministic_algorithms(False)
    assert first[0] == second[0]
    torch.testing.assert_close(first[1], second[1], rtol=0, atol=0)
