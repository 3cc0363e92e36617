import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, and no time limit for a busy machine to break.
settings.register_profile('mmcell', derandomize=True, deadline=None)
settings.load_profile('mmcell')


@pytest.fixture(scope='session')
def test_data() -> Path:
    """The folder with `golden/` (reference values) and `data/` (real images)."""
    folder = os.environ.get('MMCELL_TEST_DATA')
    if not folder:
        pytest.skip('MMCELL_TEST_DATA is not set: no golden values, no real images')
    if not Path(folder).is_dir():
        pytest.fail(f'MMCELL_TEST_DATA={folder} is not a folder')
    return Path(folder)
