import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmcell.engine import run
from mmcell.engine.errors import CheckpointError, ConfigError, DataError, NonFiniteLossError
from mmcell.engine.run import train

TOOLS = Path(__file__).parents[2] / 'tools'


def _name(overrides: dict) -> str:
    # MMEngine keeps a runner's logger and visualizer under the config's name and the second.
    return max(overrides).replace('.', '_')


def test_training_ends_with_a_checkpoint_the_best_one_and_curves(tiny_config, tmp_path):
    train(tiny_config('run', max_iters=4, train_cfg__val_interval=4))
    checkpoint = torch.load(tmp_path / 'run' / 'iter_4.pth', weights_only=False)
    assert checkpoint['meta']['iter'] == 4
    assert (tmp_path / 'run' / 'best_cell_aji_iter_4.pth').is_file()
    assert (tmp_path / 'run' / 'curves.png').stat().st_size > 10_000
    assert not list((tmp_path / 'run').glob('*.partial'))


def test_any_default_hook_can_be_switched_off(tiny_config, tmp_path):
    overrides = {f'default_hooks.{name}': None for name in ('curves', 'progress_bar', 'timer')}
    runner = train(tiny_config('bare', max_iters=2), overrides=overrides)
    kinds = {type(hook).__name__ for hook in runner.hooks}
    assert kinds.isdisjoint({'CurvesHook', 'ProgressBarHook', 'IterTimerHook'})
    assert {'FiniteLossHook', 'CheckpointHook'} <= kinds
    assert not (tmp_path / 'bare' / 'curves.png').exists()


@pytest.mark.parametrize('custom_hooks', [[], [dict(type='EMAHook')]], ids=['', 'own_hook'])
def test_infinite_loss_stops_training_and_names_losses_and_images(
    tiny_config, tmp_path, custom_hooks
):
    name = f'diverges{len(custom_hooks)}'
    config = tiny_config(
        name,
        max_iters=9,
        batch_size=4,
        optim_wrapper__optimizer=dict(type='SGD', lr=1e30),
        custom_hooks=custom_hooks,
    )
    with pytest.raises(NonFiniteLossError) as error:
        train(config, overrides={'param_scheduler': [], 'optim_wrapper.clip_grad': None})
    message = str(error.value)
    assert 'iteration 2' in message
    assert 'loss_mask=nan' in message
    assert all(f'images/{index}.png' in message for index in range(4))
    # The update with the bad loss is in no checkpoint.
    assert not list((tmp_path / name).glob('*.pth'))


def test_command_line_says_an_error_in_one_line(tiny_config, capsys):
    main = runpy.run_path(str(TOOLS / 'train.py'))['main']
    with pytest.raises(SystemExit) as stop:
        main([str(tiny_config('typo')), '--cfg-options', 'train_cfg.max_iter=3'])
    assert stop.value.code == (
        "error: --cfg-options train_cfg.max_iter: train_cfg has no key 'max_iter'. "
        "Did you mean 'max_iters' or 'val_interval'?"
    )


@pytest.mark.parametrize(
    ('overrides', 'error', 'message'),
    [
        (
            {'model.roi_head.mask_head.type': 'FCNMaskHed'},
            ConfigError,
            "model.roi_head.mask_head.type = 'FCNMaskHed'.*Did you mean 'FCNMaskHead'",
        ),
        (
            {'model.roi_head.mask_head.num_layers': 4},
            ConfigError,
            "model.roi_head.mask_head: FCNMaskHead has no argument 'num_layers'",
        ),
        (
            {'train_dataloader.dataset.pipeline.1.type': 'LoadAnotations'},
            ConfigError,
            r"train_dataloader.dataset.pipeline.1.type = 'LoadAnotations'.*'LoadAnnotations'",
        ),
        (
            {'train_dataloader.dataset.data_root': 'absent/dsb2018'},
            DataError,
            r'absent/dsb2018 does not exist \(train_dataloader.dataset\).*_converters/dsb2018.py',
        ),
        (
            {'val_dataloader.dataset.ann_file': 'annotations/vall.json'},
            DataError,
            r'annotations/vall.json does not exist \(val_dataloader.dataset\)',
        ),
        (
            {'val_evaluator': [dict(type='CellCocoMetric', ann_file='annotations/other.json')]},
            ConfigError,
            r'val_evaluator.0 scores against annotations/other.json, but val_dataloader reads '
            r'\S+/annotations/val.json: say --cfg-options val_evaluator.0.ann_file=\S+/val.json',
        ),
        (
            {'train_dataloader.dataset.metainfo': dict(classes=('nucleus', 'stroma'))},
            DataError,
            r'train_dataloader has 2 classes, nucleus, stroma, but the model has '
            r'model.roi_head.bbox_head.num_classes=1, .*mask_head.num_classes=1: set num_classes',
        ),
        (
            {
                'train_dataloader.dataset.metainfo': dict(classes=('nucleus', 'stroma')),
                'model.roi_head.bbox_head.num_classes': 2,
            },
            DataError,
            'but the model has model.roi_head.mask_head.num_classes=1: set num_classes',
        ),
        (
            {'model.roi_head.bbox_head.num_classes': 2},
            ConfigError,
            r'bbox_head.num_classes=2, model.roi_head.mask_head.num_classes=1: set .* heads alike',
        ),
        (
            {'val_evaluator.scores': ['pq', 'dice']},
            ConfigError,
            "save_best='cell/aji': .* does not give this score, but cell/dice, cell/pq. Choose",
        ),
        (
            {'val_evaluator.prefix': 'mine'},
            ConfigError,
            "save_best='cell/aji': .* does not give this score, but mine/aji, ",
        ),
        (
            {'train_dataloader.dataset.filter_cfg': dict(min_size=100)},
            DataError,
            r"train_dataloader holds no image of .*train.json: filter_cfg={'min_size': 100} lets",
        ),
        (
            {'train_cfg': dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2)},
            ConfigError,
            'train_cfg goes by epochs, default_hooks.checkpoint by iterations.*set default_hooks',
        ),
    ],
)
def test_what_cannot_be_trained_is_said_before_training(tiny_config, overrides, error, message):
    with pytest.raises(error, match=message):
        train(tiny_config(_name(overrides)), overrides=overrides)


@pytest.mark.skipif(torch.cuda.is_available(), reason='mixed precision works with CUDA')
def test_a_missing_optional_package_is_one_line(tiny_config, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorboardX', None)
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    with pytest.raises(ConfigError, match='install.*tensorboard'):
        train(
            tiny_config('tensorboard'),
            overrides={'visualizer.vis_backends.0.type': 'TensorboardVisBackend'},
        )


def test_mixed_precision_is_refused_where_neither_gpu_nor_processor_has_it(
    tiny_config, monkeypatch
):
    monkeypatch.setattr(run, 'cpu_has_bfloat16', lambda: False)
    with pytest.raises(ConfigError, match='--amp needs a CUDA device or a processor with bfloat16'):
        train(tiny_config('amp'), amp=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason='CUDA trains in float16')
def test_mixed_precision_on_a_processor_is_bfloat16(monkeypatch):
    monkeypatch.setattr(run, 'cpu_has_bfloat16', lambda: True)
    wrapper = dict(type='AmpOptimWrapper', optimizer=dict(type='SGD'), loss_scale='dynamic')
    cfg = Config(dict(optim_wrapper=wrapper, model=dict(type='RetinaNet')))
    run._use_mixed_precision(cfg)
    assert cfg.optim_wrapper == dict(type='BFloat16OptimWrapper', optimizer=dict(type='SGD'))


@pytest.mark.skipif(torch.cuda.is_available(), reason='CUDA compares boxes in any precision')
def test_mixed_precision_on_a_processor_needs_nms_that_has_it(tiny_config, monkeypatch):
    monkeypatch.setattr(run, 'cpu_has_bfloat16', lambda: True)
    with pytest.raises(ConfigError, match="rpn_proposal.nms.type='nms' cannot .* 'dense_nms'"):
        train(tiny_config('amp'), amp=True)


def test_epochs_are_resumed_at_their_end(tiny_config, tmp_path, forget_runs):
    epochs = {
        'train_cfg': dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1, val_interval=1),
        'default_hooks.checkpoint': dict(by_epoch=True, interval=1),
        'log_processor.by_epoch': True,
        'train_dataloader.sampler.type': 'DefaultSampler',
        'param_scheduler': [dict(type='MultiStepLR', milestones=[1], end=1)],
    }
    config = tiny_config('epochs')
    train(config, overrides=epochs)
    forget_runs()
    epochs['train_cfg'] = {**epochs['train_cfg'], 'max_epochs': 2}
    epochs['param_scheduler'] = [dict(type='MultiStepLR', milestones=[1], end=3)]
    runner = train(config, overrides=epochs, resume='auto')
    assert (runner.epoch, runner.iter) == (2, 4)
    (log,) = (tmp_path / 'epochs').glob(f'{runner.timestamp}/*.log')
    assert 'differs from the config: MultiStepLR.end is 1, not 3. To follow' in log.read_text()


def test_learning_rate_cannot_scale_without_its_batch(tiny_config):
    with pytest.raises(ConfigError, match='--auto-scale-lr needs auto_scale_lr = dict'):
        train(tiny_config('unscaled'), overrides={'auto_scale_lr': None}, auto_scale_lr=True)


def test_learning_rate_scales_with_the_batch(tiny_config):
    runner = train(
        tiny_config('scaled', max_iters=1, batch_size=4),
        overrides={'param_scheduler': []},
        auto_scale_lr=True,
    )
    # The schedule is meant for batches of 2.
    assert runner.optim_wrapper.get_lr()['lr'] == [2 * 4e-4]


def test_resuming_from_another_architecture_is_refused(tiny_config, tmp_path):
    train(tiny_config('narrow', max_iters=2))
    wide = tiny_config('wide', model__roi_head__bbox_head__fc_out_channels=64)
    with pytest.raises(CheckpointError, match=r'6 of another shape \(roi_head.bbox_head.fc_cls'):
        train(wide, work_dir=str(tmp_path / 'narrow'), resume='auto')
    # Nothing of the former training is replaced by one that does not begin.
    assert (tmp_path / 'narrow' / 'narrow.py').is_file()
    assert not (tmp_path / 'narrow' / 'wide.py').exists()


def test_resuming_from_weights_alone_is_refused(tiny_config, tmp_path):
    train(tiny_config('whole', max_iters=2, train_cfg__val_interval=2))
    best = tmp_path / 'whole' / 'best_cell_aji_iter_2.pth'
    with pytest.raises(CheckpointError, match=r'--resume needs .* load_from=CHECKPOINT'):
        train(tiny_config('longer', max_iters=4), resume=str(best))


def test_resuming_from_a_missing_checkpoint_is_refused(tiny_config, tmp_path):
    with pytest.raises(CheckpointError, match=r'iter_7.pth does not exist; .* holds no checkpoint'):
        train(tiny_config('run'), resume=str(tmp_path / 'iter_7.pth'))
