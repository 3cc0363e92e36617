import io
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub, MMLogger
from mmengine.structures import BaseDataElement

from mmcell.engine.errors import NonFiniteLossError
from mmcell.engine.hooks import FiniteLossHook, OwnBestCheckpointHook, ProgressBarHook


@pytest.fixture
def runner(request):
    """As much of a Runner as the hooks ask for."""
    name = request.node.name
    return SimpleNamespace(
        iter=6,
        max_iters=10,
        val_dataloader=range(4),
        message_hub=MessageHub.get_instance(name),
        logger=MMLogger.get_instance(name),
    )


def _after_iter(hook, runner, **losses):
    for name, value in losses.items():  # as RuntimeInfoHook does before other hooks run
        runner.message_hub.update_scalar(f'train/{name}', value)
    samples = [BaseDataElement(metainfo=dict(img_path=f'{name}.png')) for name in 'ab']
    hook.after_train_iter(
        runner, 6, data_batch=dict(data_samples=samples), outputs={k: None for k in losses}
    )


def test_finite_losses_pass_whatever_else_is_logged(runner):
    _after_iter(FiniteLossHook(), runner, loss=torch.tensor(1.0), loss_mask=0.5, acc=float('nan'))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_loss_that_is_not_finite_stops_training(runner, value):
    with pytest.raises(NonFiniteLossError) as error:
        _after_iter(FiniteLossHook(), runner, loss=torch.tensor(value), loss_mask=0.5)
    message = str(error.value)
    assert message.startswith(f'iteration 7: a loss is not finite (loss={value}, loss_mask=0.5)')
    assert 'a.png, b.png' in message


def test_weights_that_are_not_finite_are_not_saved(runner):
    weights = torch.nn.Linear(2, 1)
    hook, checkpoint = FiniteLossHook(), {'state_dict': weights.state_dict(), 'meta': {}}
    hook.before_save_checkpoint(runner, checkpoint)
    weights.bias.data.fill_(float('nan'))
    with pytest.raises(NonFiniteLossError, match='bias holds NaN, so the checkpoint'):
        hook.before_save_checkpoint(runner, checkpoint)


@pytest.mark.parametrize(
    ('stored', 'there', 'expected'),
    [
        ('first', False, {}),
        ('first', True, {'best_ckpt': 'second/best.pth', 'best_score': 0.5}),
        ('second', False, {'best_ckpt': 'second/best.pth', 'best_score': 0.5}),
    ],
)
def test_the_best_checkpoint_of_another_folder_is_left_alone(tmp_path, stored, there, expected):
    (tmp_path / 'second').mkdir()
    if there:
        (tmp_path / 'second' / 'best.pth').touch()
    known = {'best_ckpt': str(tmp_path / stored / 'best.pth'), 'best_score': 0.5, 'iter': 3}
    runner = SimpleNamespace(work_dir=str(tmp_path / 'second'), hooks=[CheckpointHook()])
    OwnBestCheckpointHook().after_load_checkpoint(runner, {'message_hub': {'runtime_info': known}})
    if 'best_ckpt' in expected:
        expected = {**expected, 'best_ckpt': str(tmp_path / expected['best_ckpt'])}
    assert known == {**expected, 'iter': 3}


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _run_bars(runner):
    hook = ProgressBarHook()
    hook.before_train(runner)
    runner.message_hub.update_scalar('train/loss', 1.25)
    hook.after_train_iter(runner, 6)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 2)
    runner.logger.info('a line of the log')
    bars = hook._progress
    if bars is not None:
        bars.refresh()
    hook.after_val_epoch(runner)
    hook.after_train(runner)
    return hook


def test_bars_show_iterations_and_loss_on_a_terminal(runner, monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '120')
    hook = _run_bars(runner)
    assert '7/10' in terminal.getvalue()
    assert '3/4' in terminal.getvalue()
    assert 'loss 1.250' in terminal.getvalue()
    assert hook._progress is None


def test_nothing_is_drawn_into_a_file(runner, monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, 'stderr', file)
    _run_bars(runner)
    assert file.getvalue() == ''
