import pytest
from mmengine.config import Config

import mmcell.plugin  # noqa: F401  registers what the messages suggest
from mmcell.engine.config import load_config, package_dir, plain_build_errors
from mmcell.engine.errors import ConfigError


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'some.py'
    path.write_text(
        "data_root = 'data/a'\n"
        'max_iters = 5\n'
        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)\n"
        "train_dataloader = dict(dataset=dict(type='CocoDataset', data_root=data_root))\n"
        "pipeline = [dict(type='Resize', scale=1)]\n"
        'scale = 1\n'
        "param_scheduler = [dict(type='LinearLR', end=5), dict(type='MultiStepLR', gamma=0.1)]\n"
        'optim_wrapper = dict(clip_grad=None)\n'
    )
    return path


def test_options_change_values_in_dicts_and_lists(config):
    cfg = load_config(
        config,
        {
            'train_cfg.max_iters': 7,
            'param_scheduler.1.gamma': 0.5,
            'load_from': 'a.pth',
            'model_wrapper_cfg.type': 'MMDistributedDataParallel',
        },
    )
    assert cfg.model_wrapper_cfg == dict(type='MMDistributedDataParallel')
    assert cfg.train_cfg.max_iters == 7
    assert [s.get('gamma') for s in cfg.param_scheduler] == [None, 0.5]
    assert cfg.load_from == 'a.pth'


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('train_cfg.max_iter', "train_cfg has no key 'max_iter'. Did you mean 'max_iters'"),
        ('optim_wraper.clip_grad', "top-level key 'optim_wraper'. Did you mean 'optim_wrapper'"),
        ('schedule.length', "nothing reads a top-level key 'schedule'"),
        ('param_scheduler.2.gamma', "list of 2; '2' is not one of its places 0..1"),
        ('optim_wrapper.clip_grad.max_norm', 'optim_wrapper.clip_grad is None and has no keys'),
        ('param_scheduler.x.gamma', "'x' is not one of its places"),
        # The trap of MMEngine's configs: the variable was used up when the file was read.
        ('max_iters', 'now has no effect. Set train_cfg.max_iters instead'),
        ('data_root', 'now has no effect. Set train_dataloader.dataset.data_root instead'),
    ],
)
def test_option_that_nothing_would_read_is_refused(config, key, message):
    with pytest.raises(ConfigError) as error:
        load_config(config, {key: 1})
    assert message in str(error.value)


def test_variables_of_variables_are_not_suggested(config):
    with pytest.raises(ConfigError, match='changing it now has no effect.$'):
        load_config(config, {'scale': 2})


def test_option_with_a_new_key_is_announced(config, capsys):
    cfg = load_config(config, {'train_cfg.dynamic_intervals': [(1, 2)]})
    assert cfg.train_cfg.dynamic_intervals == [(1, 2)]
    assert "adds the key 'dynamic_intervals'" in capsys.readouterr().out


def test_missing_config_suggests_those_that_ship():
    with pytest.raises(ConfigError, match=r'Did you mean .*pffnet_tiny_dsb2018\.py'):
        load_config('configs/pfnet_tiny_dsb2018.py')


def test_missing_base_names_the_config(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text("_base_ = 'parent.py'")
    with pytest.raises(ConfigError, match=r'child.py builds on a file that is missing.*parent.py'):
        load_config(path)


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        ("custom_imports = dict(imports=['no_such_module'])", 'ImportError: .*no_such_module'),
        ("_base_ = 'some.py'\nparam_scheduler = dict(type='LinearLR')", 'TypeError: .*inherit'),
        ("_base_ = ['some.py', 'same.py']", 'KeyError: .*Duplicate key'),
        ("_base_ = 'some.py'\nlength = _base_.nope", "AttributeError: .*'nope'"),
    ],
)
def test_mistakes_in_a_config_of_ones_own_are_said_in_one_line(config, lines, message):
    (config.parent / 'same.py').write_text(config.read_text())
    child = config.parent / 'child.py'
    child.write_text(lines)
    with pytest.raises(ConfigError, match=f'child.py cannot be read: {message}'):
        load_config(child)


def test_build_errors_that_the_config_does_not_explain_pass():
    cfg = Config(dict(model=dict(type='MaskRCNN')))
    for error in (KeyError('img_path'), TypeError('unsupported operand')):
        with pytest.raises(type(error)) as caught, plain_build_errors(cfg):
            raise error
        assert caught.value is error


def test_argument_of_a_base_class_is_suggested():
    cfg = Config(dict(hooks=[dict(type='CellVisualizationHook', intervall=3)]))
    with (
        pytest.raises(ConfigError, match=r"hooks.0: CellVisualizationHook has .* mean 'interval'"),
        plain_build_errors(cfg),
    ):
        raise TypeError(
            "DetVisualizationHook.__init__() got an unexpected keyword argument 'intervall'"
        )


def test_configs_and_tools_are_found():
    assert (package_dir('configs') / '_base_' / 'default_runtime.py').is_file()
    assert (package_dir('tools') / 'train.py').is_file()
