"""Pack configs, tools and the model index beside the code; everything else is in pyproject.toml.

OpenMMLab's tools look for these files in ``<package>/.mim``. A wheel gets copies. An editable
install gets one link per config, named without suffix: mim looks through the whole checkout then,
finds the configs and tools themselves, and would refuse a name that it finds twice.
"""

import shutil
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithMim(build_py):
    """Add ``mmcell/.mim`` to the Python modules."""

    def run(self):
        """Copy the files into the build, or link them into the checkout."""
        super().run()
        if self.editable_mode:
            self.link_configs(ROOT / 'mmcell' / '.mim')
        else:
            self.copy_files(Path(self.build_lib, 'mmcell', '.mim'))

    def link_configs(self, mim):
        """Make ``mim train mmcell pffnet_kumar`` find the config of that name."""
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir()
        for pattern in ('configs/*.py', 'configs/ablations/*.py'):
            for config in sorted(ROOT.glob(pattern)):
                (mim / config.stem).symlink_to(Path('..', '..', config.relative_to(ROOT)))

    def copy_files(self, mim):
        """Copy what a user of the wheel needs."""
        mim.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / 'model-index.yml', mim)
        for folder in ('configs', 'tools'):
            ignored = shutil.ignore_patterns('__pycache__', '*.pyc')
            shutil.copytree(ROOT / folder, mim / folder, ignore=ignored, dirs_exist_ok=True)


# A fresh folder each time: a stale ./build would put removed files into the wheel.
with tempfile.TemporaryDirectory(prefix='mmcell-build-') as folder:
    setup(cmdclass={'build_py': BuildWithMim}, options={'build': {'build_base': folder}})
