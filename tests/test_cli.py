import subprocess
import sys

import pytest
from click.testing import CliRunner

import mmcell
from mmcell import cli, doctor


def test_version_is_that_of_the_package():
    result = CliRunner().invoke(cli.main, ['--version'])
    assert result.output == f'mmcell, version {mmcell.__version__}\n'


def test_help_lists_the_commands():
    assert 'doctor' in CliRunner().invoke(cli.main, ['-h']).output


@pytest.mark.parametrize('code', [0, 1])
def test_doctor_passes_its_exit_code_on(monkeypatch, code):
    monkeypatch.setattr(doctor, 'main', lambda: code)
    assert CliRunner().invoke(cli.main, ['doctor']).exit_code == code


def test_unknown_command_is_refused():
    result = CliRunner().invoke(cli.main, ['docter'])
    assert result.exit_code == 2
    assert "No such command 'docter'" in result.output


def test_python_m_mmcell_is_the_command():
    command = [sys.executable, '-m', 'mmcell', '--version']
    assert mmcell.__version__ in subprocess.check_output(command, text=True)


def test_parsing_alone_imports_no_torch():
    code = "import sys, mmcell.cli; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, '-c', code], text=True).strip() == 'False'
