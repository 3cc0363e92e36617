import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
REQUIREMENTS = """\
# == torch: why
torch==2.13.0

# == mmcv
onedl-mmcv==2.3.6

# == libraries
Pre_Commit==4.7.0
"""


@pytest.fixture
def scripts(monkeypatch):
    """The modules of scripts/, importable as the script imports them."""
    monkeypatch.syspath_prepend(str(ROOT / 'scripts'))
    import preflight

    import setup

    return setup, preflight


@pytest.fixture
def project(tmp_path, scripts, monkeypatch):
    """An empty project whose virtual environment counts as made; what pip is told is kept.

    `installation.calls` holds pip's arguments. The fake pip leaves a dist-info folder for every
    `name==version` and for `-e .`, as the real one does.
    """
    setup, _ = scripts
    for name in ('pyproject.toml', 'setup.py', 'mmcell/__init__.py'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('')
    (tmp_path / 'requirements.txt').write_text(REQUIREMENTS)
    (tmp_path / '.setup').mkdir()
    site = tmp_path / '.venv/lib/python3.11/site-packages'
    (site / 'pip').mkdir(parents=True)
    (tmp_path / '.venv/bin').mkdir()
    (tmp_path / '.venv/bin/python').touch()
    monkeypatch.setattr(setup.Setup, 'build_mmcv', lambda self, v: f'onedl_mmcv=={v}')
    monkeypatch.setattr(setup.Setup, 'torch_variant', lambda self, pins: 'torch')
    monkeypatch.setattr(setup, 'CHECKS', {})
    monkeypatch.setattr(setup.sys, 'version_info', (3, 11, 7))

    def run(installation, *command, **environment):
        installation.calls.append([str(word) for word in command[3:]])
        for word in installation.calls[-1]:
            name, _, version = (
                'mmcell==0.1.0'.partition('==') if word == '-e' else word.partition('==')
            )
            if version:
                (site / f'{name.replace("-", "_")}-{version}.dist-info').mkdir(exist_ok=True)
            if name == 'mmcell':
                (tmp_path / 'mmcell/.mim').mkdir(exist_ok=True)

    def new_installation():
        installation = setup.Setup(tmp_path)
        installation.calls = []
        return installation

    monkeypatch.setattr(setup.Setup, 'run', run)
    new_installation.site = site
    return new_installation


def installed_by(calls):
    return [word for call in calls for word in call if '==' in word or word == '-e']


def test_sections_come_in_order_with_names_as_indexes_compare_them(scripts, tmp_path):
    setup, _ = scripts
    (tmp_path / 'requirements.txt').write_text(REQUIREMENTS)
    assert setup.read_sections(tmp_path / 'requirements.txt') == {
        'torch': {'torch': '2.13.0'},
        'mmcv': {'onedl-mmcv': '2.3.6'},
        'libraries': {'pre-commit': '4.7.0'},
    }


def test_the_real_requirements_name_every_stage_that_has_a_check(scripts):
    setup, _ = scripts
    sections = setup.read_sections(ROOT / 'requirements.txt')
    assert list(sections)[:5] == ['torch', 'build', 'opencv', 'mmcv', 'openmmlab']
    assert set(setup.CHECKS) <= set(sections)
    assert list(sections['opencv'])[-1] == 'opencv-python-headless'
    assert list(sections['mmcv']) == ['onedl-mmcv']


def test_stages_run_in_order_then_never_again(project):
    first = project()
    first.main()
    assert installed_by(first.calls) == [
        'torch==2.13.0', 'onedl_mmcv==2.3.6', 'onedl_mmcv==2.3.6', 'pre-commit==4.7.0', '-e',
    ]  # fmt: skip
    second = project()
    second.main()
    assert second.calls == []


def test_a_failed_stage_is_where_the_next_call_goes_on(project, scripts, monkeypatch):
    _, preflight = scripts

    def fail(self, version):
        raise preflight.SetupError('stopped')

    with monkeypatch.context() as patch:
        patch.setattr(type(project()), 'build_mmcv', fail)
        with pytest.raises(preflight.SetupError, match='stopped'):
            project().main()
    again = project()
    again.main()
    assert 'torch==2.13.0' not in installed_by(again.calls)
    assert 'onedl_mmcv==2.3.6' in installed_by(again.calls)


def test_a_changed_pin_runs_its_stage_alone(project):
    installation = project()
    installation.main()
    changed = REQUIREMENTS.replace('4.7.0', '4.8.0')
    installation.requirements.write_text(changed)
    again = project()
    again.main()
    assert installed_by(again.calls) == ['pre-commit==4.8.0']


def test_an_uninstalled_package_runs_its_stage_again(project):
    project().main()
    (project.site / 'pre_commit-4.7.0.dist-info').rmdir()
    again = project()
    again.main()
    assert installed_by(again.calls) == ['pre-commit==4.7.0']


@pytest.mark.parametrize('lost', ['package', 'configs'])
def test_mmcell_is_installed_again_where_a_part_of_it_is_missing(project, lost):
    project().main()
    if lost == 'package':
        (project.site / 'mmcell-0.1.0.dist-info').rmdir()
    else:
        (project.site.parents[3] / 'mmcell/.mim').rmdir()
    again = project()
    again.main()
    assert installed_by(again.calls) == ['-e']


def test_packages_installed_by_hand_are_accepted(project):
    for name in ('torch-2.13.0+cpu', 'onedl_mmcv-2.3.6', 'pre_commit-4.7.0'):
        (project.site / f'{name}.dist-info').mkdir()
    installation = project()
    installation.main()
    assert installed_by(installation.calls) == ['-e']


def test_packages_installed_by_hand_that_do_not_run_are_replaced(project, monkeypatch):
    (project.site / 'torch-2.13.0.dist-info').mkdir()
    installation = project()
    results = iter([False, True, True, True, True])
    monkeypatch.setattr(installation, 'works', lambda stage: next(results))
    installation.main()
    assert installed_by(installation.calls)[0] == 'torch==2.13.0'


def test_what_is_installed_but_does_not_run_is_said(project, scripts, monkeypatch):
    installation = project()
    monkeypatch.setattr(installation, 'works', lambda stage: False)
    with pytest.raises(scripts[1].SetupError, match='stage `torch` are installed but do not run'):
        installation.main()


def test_another_torch_asks_for_another_mmcv(project):
    installation = project()
    installation.main()
    before = installation.fingerprint('mmcv')
    (project.site / 'torch-2.13.0.dist-info').rename(project.site / 'torch-2.14.0.dist-info')
    assert installation.fingerprint('mmcv') != before


@pytest.mark.parametrize('name', ['nvcc', 'nvidia-smi'])
def test_a_driver_or_compiler_that_came_later_has_mmcv_looked_at_again(
    project, scripts, monkeypatch, name
):
    installation = project()
    installation.main()
    before = {stage: installation.fingerprint(stage) for stage in ('torch', 'mmcv')}
    monkeypatch.setattr(scripts[0].shutil, 'which', lambda asked: asked if asked == name else None)
    assert installation.fingerprint('mmcv') != before['mmcv']
    assert installation.fingerprint('torch') == before['torch']


def test_torch_for_cuda_asks_for_another_mmcv(project):
    (project.site / 'torch-2.13.0+cpu.dist-info').mkdir()
    installation = project()
    before = installation.fingerprint('mmcv')
    (project.site / 'torch-2.13.0+cpu.dist-info').rename(project.site / 'torch-2.13.0.dist-info')
    assert installation.fingerprint('mmcv') != before


@pytest.mark.parametrize(
    ('packages', 'variant'),
    [
        ('sympy-1.14 torch-2.13.0+cpu', 'torch'),
        ('nvidia-cublas-13.1 torch-2.13.0', 'torch with CUDA'),
    ],
)
def test_the_disk_has_to_hold_the_torch_that_pip_would_install(
    scripts, tmp_path, packages, variant
):
    (tmp_path / 'requirements.txt').write_text('')
    installation = scripts[0].Setup(tmp_path)
    installation.python = tmp_path / 'python'
    installation.python.write_text(f'#!/bin/sh\necho "$@" > asked\necho Would install {packages}')
    installation.python.chmod(0o755)
    assert installation.torch_variant(['torch==2.13.0']) == variant
    assert (tmp_path / 'asked').read_text() == '-m pip install --dry-run torch==2.13.0\n'


@pytest.mark.parametrize('line', ['version = 3.10.12', 'version_info = 3.10.12'])
def test_a_virtual_environment_of_another_python_is_not_mixed(project, scripts, line):
    installation = project()
    (installation.venv / 'pyvenv.cfg').write_text(f'home = /usr/bin\n{line}\n')
    with pytest.raises(scripts[1].SetupError, match=r'is of Python 3.10 and this is Python 3.11'):
        installation.main()
    assert installation.calls == []


def test_make_goes_on_with_the_python_of_the_virtual_environment(tmp_path):
    shutil.copy(ROOT / 'Makefile', tmp_path)
    outer = ('PYTHON', 'MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')  # tests are run by make
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    command = ['make', '--dry-run', 'setup']

    def interpreter():
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return run.stdout.splitlines()[-1].split()[0]

    assert interpreter() != '.venv/bin/python'
    (tmp_path / '.venv/bin').mkdir(parents=True)
    (tmp_path / '.venv/bin/python').symlink_to(sys.executable)
    assert interpreter() == '.venv/bin/python'


def test_python_3_10_takes_libraries_from_the_ranges(project, scripts, monkeypatch):
    monkeypatch.setattr(scripts[0].sys, 'version_info', (3, 10, 0))
    installation = project()
    installation.sections = {name: {} for name in ('torch', 'build', 'opencv', 'openmmlab')}
    installation.sections['opencv'] = {'opencv-python-headless': '4.12'}
    installation.sections['mmcv'] = {'onedl-mmcv': '2.3.6'}
    installation.main()
    assert installation.calls[-1] == ['install', '--no-build-isolation', '-e', '.[dev]']
    assert not any('-c' in call for call in installation.calls)


MMCV_SETUP_PY = """
import os, pathlib, sys
from setuptools import setup

assert os.environ['MMCV_WITH_OPS'] == '1'
compiled = pathlib.Path('compiled.o')
if 'bdist_wheel' in sys.argv:
    sources = pathlib.Path('mmcv/ops/csrc/pytorch')
    assert sorted(path.name for path in sources.glob('*.cpp')) == ['dispatchers.cpp', 'pybind.cpp']
    includes = '#include "ball_query.inc"\\n#include "nms.inc"\\n'
    assert (sources / 'dispatchers.cpp').read_text() == includes
    assert (sources / 'nms.inc').read_text() == 'nms'
    if not compiled.exists():
        compiled.touch()
        sys.exit('c++: fatal error: Killed signal terminated program cc1plus')
setup(name='onedl-mmcv', version='2.3.6')
"""


def test_mmcv_is_built_from_where_it_stopped_into_a_wheel_that_is_kept(
    scripts, tmp_path, monkeypatch
):
    setup, preflight = scripts
    index = tmp_path / 'index'
    index.mkdir()
    with tarfile.open(index / 'onedl_mmcv-2.3.6.tar.gz', 'w:gz') as archive:
        files = {'setup.py': MMCV_SETUP_PY, 'PKG-INFO': 'Name: onedl-mmcv\n'}
        for name in ('pybind', 'nms', 'ball_query'):
            files[f'mmcv/ops/csrc/pytorch/{name}.cpp'] = name
        for name, text in files.items():
            info = tarfile.TarInfo(f'onedl_mmcv-2.3.6/{name}')
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(index))
    monkeypatch.setenv('MMCV_WITH_OPS', '1')  # the first look at the package asks for it too
    (tmp_path / 'requirements.txt').write_text('')
    (tmp_path / '.setup').mkdir()
    installation = setup.Setup(tmp_path)
    installation.python = sys.executable

    with pytest.raises(preflight.SetupError, match='MAX_JOBS=1 make setup'):
        installation.build_mmcv('2.3.6')
    shutil.rmtree(index)  # what was fetched is not fetched again
    wheel = installation.build_mmcv('2.3.6')
    assert wheel.is_file()
    assert torch.__version__ in wheel.parent.name
    assert not (wheel.parent / 'onedl_mmcv-2.3.6').exists()  # its object files are large
    monkeypatch.setattr(setup.Setup, 'run', None)
    assert installation.build_mmcv('2.3.6') == wheel


@pytest.mark.parametrize('version', [(3, 9), (3, 13), (2, 7)])
def test_an_unsupported_python_is_refused(scripts, version):
    with pytest.raises(scripts[1].SetupError, match='PYTHON=python3.11 make setup'):
        scripts[1].check_python(version)


@pytest.mark.parametrize('version', [(3, 10), (3, 11), (3, 12)])
def test_a_supported_python_passes(scripts, version):
    scripts[1].check_python(version)


def test_a_missing_compiler_is_said_before_anything_is_downloaded(project, scripts, monkeypatch):
    monkeypatch.setenv('PATH', '')
    monkeypatch.delenv('CXX', raising=False)
    installation = project()
    with pytest.raises(scripts[1].SetupError, match=r'compiler `c\+\+`.*apt install g\+\+'):
        installation.main()
    assert installation.calls == []


def test_a_missing_cuda_compiler_is_said(scripts, monkeypatch, tmp_path):
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    which = scripts[1].shutil.which
    monkeypatch.setattr(scripts[1].shutil, 'which', lambda n: None if n == 'nvcc' else which(n))
    with pytest.raises(scripts[1].SetupError, match='`export CUDA_VISIBLE_DEVICES=`, then run'):
        scripts[1].check_compiler(cuda=True)


def test_headers_that_the_cuda_toolkit_lacks_are_taken_from_wheels(scripts, monkeypatch, tmp_path):
    toolkit, venv = tmp_path / 'toolkit', tmp_path / '.venv'
    site = venv / 'lib/python3.11/site-packages'
    monkeypatch.setenv('CUDA_HOME', str(toolkit))
    monkeypatch.setattr(scripts[1].shutil, 'which', lambda name: None)
    (toolkit / 'include').mkdir(parents=True)
    (toolkit / 'include/cublas_v2.h').touch()
    assert scripts[1].wheels_cuda_headers(venv) == ''
    for package, name in [
        ('cublas', 'cublas_v2.h'),
        ('cu13', 'cusolverDn.h'),
        ('cu13', 'cusparse.h'),
    ]:
        (site / 'nvidia' / package / 'include').mkdir(parents=True, exist_ok=True)
        (site / 'nvidia' / package / 'include' / name).touch()
    wheels = str(site / 'nvidia/cu13/include')
    assert scripts[1].wheels_cuda_headers(venv) == wheels
    monkeypatch.setenv('CPATH', '/mine')
    assert scripts[1].wheels_cuda_headers(venv) == f'/mine:{wheels}'
    for name in ('cusolverDn.h', 'cusparse.h'):
        (toolkit / 'include' / name).touch()
    monkeypatch.delenv('CPATH')
    assert scripts[1].wheels_cuda_headers(venv) == ''


def test_too_small_a_disk_is_said_with_both_figures(scripts, tmp_path):
    with pytest.raises(
        scripts[1].SetupError, match=r'torch needs 1e\+09 GiB.* has \d+\.\d GiB free'
    ):
        scripts[1].check_disk(tmp_path, 'torch', 1e9)
    scripts[1].check_disk(tmp_path, 'torch', 0)


@pytest.mark.parametrize(
    ('output', 'remedy'),
    [
        ('OSError: [Errno 28] No space left on device', 'disk is full'),
        (
            "Retrying ... NewConnectionError('Failed to establish a new connection')\n"
            'ERROR: No matching distribution found for torch==2.13.0',
            'cannot be reached',
        ),
        ('ERROR: No matching distribution found for torch==2.13.0', 'lacks a tested version'),
        ('ERROR: ResolutionImpossible: for help visit', 'lacks a tested version'),
        ('c++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1 make setup'),
        ('fatal error: Python.h: No such file or directory', r'apt install python3\.1\d-dev'),
        ('fatal error: cusparse.h: No such file or directory', 'whole CUDA toolkit'),
        ('something else', r'`pip install` failed.*setup\.log'),
    ],
)
def test_failures_end_in_a_remedy(scripts, output, remedy):
    assert re.search(remedy, scripts[1].explain(output, 'pip install'))


def test_progress_shows_counts_and_large_downloads(scripts, tmp_path, capsys):
    setup, _ = scripts
    (tmp_path / 'requirements.txt').write_text('')
    (tmp_path / '.setup').mkdir()
    lines = ['Downloading big.whl (12.3 MB)', 'Downloading small.whl (9 kB)', '  [78/78] c++ -c x']
    code = f'print({chr(10).join(lines)!r})'
    setup.Setup(tmp_path).run(sys.executable, '-c', code)
    shown = [line.split(' s  ')[1] for line in capsys.readouterr().out.splitlines()]
    assert shown == ['Downloading big.whl (12.3 MB)', 'compiled 78 of 78 files']
    assert (tmp_path / '.setup/setup.log').read_text().splitlines() == lines


def test_a_failing_command_shows_its_end_and_keeps_all_in_the_log(scripts, tmp_path, capsys):
    setup, preflight = scripts
    (tmp_path / 'requirements.txt').write_text('')
    (tmp_path / '.setup').mkdir()
    code = "print('cause: No space left on device'); raise SystemExit(3)"
    with pytest.raises(preflight.SetupError, match='The disk is full'):
        setup.Setup(tmp_path).run(sys.executable, '-c', code)
    assert 'cause:' in capsys.readouterr().err


def test_the_script_ends_in_one_sentence_and_an_error_code(tmp_path):
    shutil.copytree(ROOT / 'scripts', tmp_path / 'scripts')
    shutil.copy(ROOT / 'requirements.txt', tmp_path)
    checks = tmp_path / 'scripts' / 'preflight.py'
    checks.write_text(
        checks.read_text().replace('OLDEST, NEWEST = (3, 10)', 'OLDEST, NEWEST = (4, 0)')
    )
    command = [sys.executable, tmp_path / 'scripts' / 'setup.py']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith('setup: Python 3.')
    assert done.stderr.count('\n') == 1
    assert not (tmp_path / '.venv').exists()
