import subprocess
import sys

import pytest
from mmengine.config import Config

import mmcell.engine.config_scope  # noqa: F401


def write_config(folder, text):
    path = folder / 'mine.py'
    path.write_text(text)
    return path


def test_flat_name_is_found_among_mmcells_configs(tmp_path):
    config = write_config(tmp_path, "_base_ = 'mmcell::_base_/default_runtime.py'\nmine = 1\n")
    loaded = Config.fromfile(config)
    assert loaded.mine == 1
    assert 'default_hooks' in loaded


def test_inherited_components_keep_the_default_scope(tmp_path):
    config = write_config(tmp_path, "_base_ = 'mmcell::_base_/default_runtime.py'\n")
    assert '_scope_' not in str(Config.fromfile(config)._cfg_dict)


def test_unknown_name_is_refused_with_the_file_that_names_it(tmp_path):
    config = write_config(tmp_path, "_base_ = 'mmcell::pffnet_kumr.py'\n")
    with pytest.raises(FileNotFoundError, match=r'mine\.py: mmcell has no config pffnet_kumr\.py'):
        Config.fromfile(config)


def test_other_packages_resolve_as_before(tmp_path):
    config = write_config(tmp_path, "_base_ = 'mmdet::_base_/default_runtime.py'\n")
    assert Config.fromfile(config).default_scope == 'mmdet'


def test_a_name_without_scope_stays_relative(tmp_path):
    (tmp_path / 'base.py').write_text('value = 2\n')
    config = write_config(tmp_path, "_base_ = './base.py'\n")
    assert Config.fromfile(config).value == 2


def test_importing_mmcell_alone_stays_light():
    code = (
        "import sys, mmcell; print([m for m in ('torch', 'numpy', 'mmengine') if m in sys.modules])"
    )
    command = [sys.executable, '-c', code]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == '[]'
