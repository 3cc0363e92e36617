import importlib
import sys
from pathlib import Path

import pytest
import yaml

import mmcell

if sys.version_info < (3, 11):
    pytest.skip('tomllib came with Python 3.11', allow_module_level=True)

import tomllib

FOLDER = Path(mmcell.__file__).parent
MANIFEST = yaml.safe_load((FOLDER / 'napari/napari.yaml').read_text())


def test_the_manifest_is_found_through_the_entry_point():
    pyproject = tomllib.loads((FOLDER.parent / 'pyproject.toml').read_text())
    (entry,) = pyproject['project']['entry-points']['napari.manifest'].items()
    assert entry == (MANIFEST['name'], 'mmcell.napari:napari.yaml')


def test_every_command_names_something_that_exists():
    for command in MANIFEST['contributions']['commands']:
        module, name = command['python_name'].split(':')
        if module.endswith('.widget'):  # imports napari, which is optional
            path = FOLDER.parent / Path(*module.split('.')).with_suffix('.py')
            assert f'def {name}(' in path.read_text()
        else:
            assert callable(getattr(importlib.import_module(module), name))


def test_the_manifest_is_valid_for_napari():
    npe2 = pytest.importorskip('npe2')
    npe2.PluginManifest.from_file(FOLDER / 'napari/napari.yaml')
