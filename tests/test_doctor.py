import importlib.util
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mmcell import doctor
from mmcell.doctor import Finding, examine, report, satisfies

REQUIREMENTS = ['torch>=2.4', 'onedl-mmcv<3,>=2.3.6', 'click>=8.1', 'ruff; extra == "dev"']


@pytest.fixture(autouse=True)
def short_requirements(monkeypatch):
    """Three requirements, as installed metadata would list them."""
    monkeypatch.setattr(metadata, 'requires', lambda name: REQUIREMENTS)
    version = metadata.version
    monkeypatch.setattr(metadata, 'version', lambda n: '0.1.0' if n == 'mmcell' else version(n))


def declared_dependencies():
    text = (Path(doctor.__file__).parents[1] / 'pyproject.toml').read_text()
    block = re.search(r'^dependencies = \[(.*?)^\]', text, re.M | re.S)[1]
    return re.findall(r"'([\w-]+)", block)


@pytest.mark.parametrize('name', declared_dependencies())
def test_the_module_of_every_dependency_is_known(name):
    assert importlib.util.find_spec(doctor.MODULES.get(name, name))


def by_name(name):
    return next(finding for finding in examine() if finding.name == name)


def problems():
    return {finding.name: finding for finding in examine() if finding.problem}


def hide_package(monkeypatch, name):
    """Let a package look as if it had never been installed."""
    version = metadata.version

    def hidden(asked):
        if asked == name:
            raise metadata.PackageNotFoundError(asked)
        return version(asked)

    monkeypatch.setattr(metadata, 'version', hidden)
    monkeypatch.setitem(sys.modules, doctor.MODULES.get(name, name), None)


@pytest.mark.parametrize(
    ('version', 'wanted', 'expected'),
    [
        ('2.13.0+cpu', '>=2.4', True),  # 13 > 4 as numbers, '13' < '4' as text
        ('2.3.6', '<3,>=2.3.6', True),
        ('3.0', '<3,>=2.3.6', False),
        ('3', '<3.0', False),
        ('2.3.5', '>=2.3.6', False),
        ('1.0', '', True),
        ('1.0rc1', '>=1', True),
    ],
)
def test_version_ranges(version, wanted, expected):
    assert satisfies(version, wanted) is expected


def test_a_complete_installation_has_no_problem_and_exits_zero(capsys):
    assert problems() == {}
    assert doctor.main() == 0
    out = capsys.readouterr().out
    assert 'RoIAlign runs' in out
    assert 'Everything that mmcell needs is here and runs.' in out


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, capsys):
    hide_package(monkeypatch, 'click')
    assert problems()['click'].remedy == f"{sys.executable} -m pip install 'click>=8.1'"
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert 'click: not installed.' in out
    assert out.endswith(' setup\n')  # this is a checkout: make setup does it all


def test_missing_mmcv_comes_with_what_its_build_needs(monkeypatch):
    hide_package(monkeypatch, 'onedl-mmcv')
    tools, build = problems()['onedl-mmcv'].remedy.splitlines()
    assert tools.endswith("pip install 'setuptools<82' wheel packaging ninja psutil")
    assert build.startswith('MMCV_WITH_OPS=1')
    assert '--no-build-isolation' in build
    assert build.endswith("'onedl-mmcv<3,>=2.3.6'")
    assert 'mmcv operators' not in problems()


def test_missing_torch_is_the_one_thing_to_install(monkeypatch):
    hide_package(monkeypatch, 'torch')
    broken = {'torch', 'mmcv', 'mmcv.ops'}
    error = "No module named 'torch'"
    monkeypatch.setattr(doctor, '_import_error', lambda name: error if name in broken else '')
    found = problems()
    assert found['torch'].remedy == f"{sys.executable} -m pip install 'torch>=2.4'"
    others = [finding for name, finding in found.items() if name != 'torch']
    assert all('above first' in finding.remedy for finding in others)


def test_a_version_outside_the_range_is_wrong(monkeypatch):
    version = metadata.version
    monkeypatch.setattr(metadata, 'version', lambda n: '7.0' if n == 'click' else version(n))
    assert problems()['click'].problem == 'version 7.0 does not fit >=8.1.'


def test_operators_that_were_not_compiled_are_reinstalled(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    finding = problems()['mmcv operators']
    assert '--force-reinstall' in finding.remedy
    assert doctor.main() == 1


def test_operators_of_another_mmcv_are_replaced_by_the_tested_one(monkeypatch):
    hide_package(monkeypatch, 'onedl-mmcv')
    monkeypatch.setattr(doctor, '_import_error', lambda name: 'no ops' if 'ops' in name else '')
    assert problems()['mmcv operators'].remedy.endswith(" 'onedl-mmcv'")


def test_operators_that_give_wrong_values_are_wrong(monkeypatch):
    import mmcv.ops

    right = mmcv.ops.roi_align
    monkeypatch.setattr(mmcv.ops, 'roi_align', lambda *arguments: right(*arguments) + 1)
    assert 'wrong values' in problems()['mmcv operators on cpu'].problem


def test_cpu_operators_beside_a_gpu_are_rebuilt_with_cuda(monkeypatch):
    import mmcv.ops
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(mmcv.ops, 'get_compiling_cuda_version', lambda: 'not available')
    assert problems()['mmcv operators on cuda'].remedy.startswith('export FORCE_CUDA=1\n')


def test_what_mmdetection_lacks_itself_is_said(monkeypatch):
    assert by_name('mmcell in MMDetection').problem == ''
    monkeypatch.delitem(sys.modules, 'mmcell.plugin', raising=False)
    monkeypatch.delitem(sys.modules, 'mmcell.datasets.cell_dataset', raising=False)
    monkeypatch.setitem(sys.modules, 'mmdet.datasets', None)
    finding = problems()['mmcell in MMDetection']
    assert 'mmdet.datasets' in finding.problem
    assert finding.remedy.endswith("onedl-mmdetection'")
    assert doctor.main() == 1


def test_an_unused_gpu_is_a_note_that_leaves_the_exit_code_alone(monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.version, 'cuda', None)
    monkeypatch.setattr(doctor.shutil, 'which', lambda name: f'/usr/bin/{name}')
    assert not by_name('GPU').needed
    assert doctor.main() == 0
    assert 'built for the CPU alone' in capsys.readouterr().out


def test_an_unsupported_python_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 13, 0, 'final', 0))
    assert 'PYTHON=python3.11 make setup' in by_name('Python').remedy


def test_a_checkout_that_was_never_installed_says_so(monkeypatch):
    hide_package(monkeypatch, 'mmcell')
    monkeypatch.delitem(sys.modules, 'mmcell')
    assert by_name('mmcell').remedy.endswith('-e .')


def test_report_aligns_its_columns():
    lines = report([Finding('a', '1'), Finding('long', '22', '>=2', 'bad.', 'fix it')]).splitlines()
    assert lines[0].index('ok') == lines[1].index('WRONG')
    assert lines[2:] == ['', 'long: bad.', '    fix it']


def test_the_doctor_needs_the_standard_library_alone():
    root = str(Path(doctor.__file__).parents[1])
    command = [sys.executable, '-S', '-m', 'mmcell', 'doctor']  # -S: without site-packages
    done = subprocess.run(
        command, capture_output=True, text=True, env={'PYTHONPATH': root}, check=False
    )
    assert (done.returncode, done.stderr) == (1, '')
    assert 'not installed' in done.stdout
