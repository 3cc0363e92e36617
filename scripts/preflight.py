"""What can be wrong with a machine that mmcell is set up on: one sentence each, with the remedy."""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 12)

AGAIN = 'then run `make setup` again.'
# Not python3-dev: that is of the system's Python, which need not be the one that was found.
_PYTHON = f'python{sys.version_info[0]}.{sys.version_info[1]}'
NO_HEADERS = (
    "Python's headers are missing: install them (Debian, Ubuntu: "
    f'`sudo apt install {_PYTHON}-dev`), {AGAIN}'
)
NO_NVCC = (
    "NVIDIA's compiler nvcc is missing: install the CUDA toolkit and set CUDA_HOME, or stay on "
    'the CPU with `export CUDA_VISIBLE_DEVICES=`, ' + AGAIN
)
NO_VENV = (
    'Python cannot make virtual environments: install the missing part (Debian, Ubuntu: '
    f'`sudo apt install {_PYTHON}-venv`), {AGAIN}'
)

# What pip or the compiler writes -> what the user can do. The first match counts: with an index
# that cannot be reached, pip also complains of missing versions.
REMEDIES = {
    r'No space left on device': 'The disk is full: free some space, ' + AGAIN,
    r'Failed to establish a new connection|name resolution|timed out|Network is unreachable|'
    r'ProxyError|Connection refused|SSLError': (
        'The package index cannot be reached: check the network, the proxy (HTTPS_PROXY) or the '
        'mirror (PIP_INDEX_URL), ' + AGAIN
    ),
    r'Killed signal|signal 9|out of memory|Cannot allocate memory|MemoryError': (
        'Memory ran out: run `MAX_JOBS=1 make setup`, which compiles one file at a time.'
    ),
    r'Python\.h: No such file': NO_HEADERS,
    r'CUDA_HOME environment variable is not set': NO_NVCC,
    r'cu(blas_v2|solverDn|sparse)\.h: No such file': (
        "NVIDIA's compiler is there without the headers of cuBLAS, cuSOLVER and cuSPARSE: install "
        'the whole CUDA toolkit, ' + AGAIN
    ),
    # The second form is pip's where the version also stands in its constraints.
    r'No matching distribution found for \S+|ResolutionImpossible': (
        'The package index lacks a tested version for this Python: `rm -rf .venv`, then '
        '`PYTHON=python3.11 make setup`, or choose another index with PIP_INDEX_URL.'
    ),
}


class SetupError(Exception):
    """One sentence: what is wrong, and what to type."""


def explain(output: str, command: str) -> str:
    """Turn the end of a failed command's output into one sentence with a remedy."""
    for pattern, remedy in REMEDIES.items():
        if re.search(pattern, output):
            return remedy
    return f'`{command}` failed; its last lines are above, all of them in .setup/setup.log.'


def check_python(version: tuple[int, int]) -> None:
    """Refuse a Python that the stack does not support."""
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            f'Python {version[0]}.{version[1]} cannot run mmcell, which needs 3.10 to 3.12 (tested '
            'with 3.11): run `PYTHON=python3.11 make setup`, after `rm -rf .venv` if that exists.'
        )


def check_compiler(cuda: bool) -> None:
    """Refuse to start compiling mmcv's operators without compilers and Python's headers."""
    compiler = os.environ.get('CXX', 'c++').split()[0]
    if not shutil.which(compiler):
        raise SetupError(
            f"The C++ compiler `{compiler}`, which builds mmcv's operators, is missing: install it "
            '(Debian, Ubuntu: `sudo apt install g++`), ' + AGAIN
        )
    if not Path(sysconfig.get_paths()['include'], 'Python.h').exists():
        raise SetupError(NO_HEADERS)
    nvcc = Path(os.environ.get('CUDA_HOME', '/usr/local/cuda'), 'bin', 'nvcc')
    if cuda and not (nvcc.exists() or shutil.which('nvcc')):
        raise SetupError(NO_NVCC)


def wheels_cuda_headers(venv: Path) -> str:
    """CPATH for compiling: folders of the headers that the CUDA toolkit here lacks.

    nvcc also comes alone, without the libraries whose headers torch's own ask for; the wheels that
    a torch for CUDA brings along have them. Folders that CPATH holds already come first.
    """
    nvcc = shutil.which('nvcc')
    toolkits = [Path(os.environ.get('CUDA_HOME', '/usr/local/cuda'))]
    toolkits += [Path(nvcc).resolve().parents[1]] if nvcc else []
    folders = [os.environ['CPATH']] if os.environ.get('CPATH') else []
    for name in ('cublas_v2.h', 'cusolverDn.h', 'cusparse.h'):
        if not any((toolkit / 'include' / name).exists() for toolkit in toolkits):
            found = venv.glob(f'lib/python3*/site-packages/nvidia/*/include/{name}')
            folders += [str(path.parent) for path in found]
    return os.pathsep.join(dict.fromkeys(folders))


def check_disk(folder: Path, part: str, needed_gib: float) -> None:
    """Refuse to start a stage that the disk cannot hold."""
    free_gib = shutil.disk_usage(folder).free / 2**30
    if free_gib < needed_gib:
        raise SetupError(
            f'{part} needs {needed_gib:g} GiB of disk and {folder} has {free_gib:.1f} GiB free: '
            'free some space, ' + AGAIN
        )
