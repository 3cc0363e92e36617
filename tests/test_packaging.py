import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import mmcell

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT)
    for pattern in ('configs/*.py', 'configs/ablations/*.py')
    for path in ROOT.glob(pattern)
)


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A copy of what is packed, so that building leaves no trace in the repository."""
    folder = tmp_path_factory.mktemp('checkout')
    for name in ('mmcell', 'configs', 'tools'):
        ignored = shutil.ignore_patterns('__pycache__', '.mim')
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in [*ROOT.glob('*.*'), ROOT / 'LICENSE']:
        if path.is_file():
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope='module')
def wheel(checkout, tmp_path_factory):
    """The wheel as a zip file."""
    out = tmp_path_factory.mktemp('wheel')
    options = ['--no-build-isolation', '--no-deps', '--no-index', '-w', out]
    command = [sys.executable, '-m', 'pip', 'wheel', *options, checkout]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(next(out.glob('mmcell-*.whl'))) as archive:
        yield archive


def indexed_models():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    files = [yaml.safe_load((ROOT / name).read_text()) for name in index['Import']]
    return [model for file in files for model in file['Models']]


def test_wheel_carries_configs_tools_and_index(wheel):
    names = set(wheel.namelist())
    sources = [p for f in ('configs', 'tools') for p in (ROOT / f).rglob('*') if p.is_file()]
    expected = {f'mmcell/.mim/{p.relative_to(ROOT)}' for p in sources if p.suffix != '.pyc'}
    assert expected | {'mmcell/.mim/model-index.yml'} == {n for n in names if '/.mim/' in n}


def test_wheel_carries_every_module_and_nothing_beside_the_package(wheel):
    names = set(wheel.namelist())
    assert {str(p.relative_to(ROOT)) for p in (ROOT / 'mmcell').rglob('*.py')} <= names
    folders = {name.split('/')[0] for name in names}
    assert folders == {'mmcell', f'mmcell-{mmcell.__version__}.dist-info'}


def test_wheel_carries_what_modules_read_beside_them(wheel):
    data = [p for s in ('*.yaml', '*.jinja') for p in (ROOT / 'mmcell').rglob(s) if p.is_file()]
    paths = {str(p.relative_to(ROOT)) for p in data if '.mim' not in p.parts}
    assert 'mmcell/evaluation/quoted/pffnet_kumar.yaml' in paths
    assert paths <= set(wheel.namelist())


def test_building_leaves_no_build_folder_that_could_go_stale(wheel, checkout):
    assert not (checkout / 'build').exists()


def test_wheel_has_the_command(wheel):
    entry_points = next(name for name in wheel.namelist() if name.endswith('entry_points.txt'))
    assert 'mmcell = mmcell.cli:main' in wheel.read(entry_points).decode()


def test_editable_install_links_configs_by_the_name_that_mim_looks_for(checkout, tmp_path):
    options = ['--no-build-isolation', '--no-deps', '--no-index', '--target', tmp_path]
    command = [sys.executable, '-m', 'pip', 'install', *options, '-e', checkout]
    subprocess.run(command, check=True, capture_output=True)
    for config in CONFIGS:
        # mim takes the one file of this name below the project, and follows links.
        found = [p for p in checkout.rglob(config.stem) if not p.is_dir()]
        assert [p.resolve() for p in found] == [checkout / config]
        assert list(checkout.rglob(config.name)) == [checkout / config]


def test_index_lists_every_config_once():
    assert sorted(Path(model['Config']) for model in indexed_models()) == CONFIGS


@pytest.mark.parametrize('model', indexed_models(), ids=lambda model: model['Name'])
def test_indexed_model_exists_under_its_name(model):
    assert (ROOT / model['Config']).is_file()
    assert Path(model['Config']).stem == model['Name']


def test_index_names_known_collections():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for name in index['Import']:
        file = yaml.safe_load((ROOT / name).read_text())
        known = {collection['Name'] for collection in file['Collections']}
        assert {model['In Collection'] for model in file['Models']} <= known


def test_tested_versions_lie_in_the_declared_ranges():
    tomllib = pytest.importorskip('tomllib', reason='Python 3.11 reads TOML')
    pins = dict(re.findall(r'^([\w.-]+)==(\S+)$', (ROOT / 'requirements.txt').read_text(), re.M))
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    for text in [*project['dependencies'], *project['optional-dependencies']['dev']]:
        requirement = Requirement(text)
        pinned = pins.get(requirement.name) or pins[requirement.name.replace('-', '_')]
        assert requirement.specifier.contains(pinned), text
