"""``mmcell doctor``: what this installation has, what it lacks, and what to type about it.

Needs nothing but the standard library, so that it also explains an installation without torch.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from mmcell.quiet import quiet_imports

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 12)

# Packages whose module has another name.
MODULES = {
    'onedl-mmcv': 'mmcv',
    'onedl-mmdetection': 'mmdet',
    'onedl-mmengine': 'mmengine',
    'opencv-python-headless': 'cv2',
    'pillow': 'PIL',
    'pyyaml': 'yaml',
    'scikit-image': 'skimage',
}
BROKEN = 'installed, but cannot be imported'
BUILD_TOOLS = "'setuptools<82' wheel packaging ninja psutil"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        found: What is there.
        wanted: What should be there, '' where anything will do.
        problem: What is wrong, '' if nothing is.
        remedy: What to type about the problem.
        needed: Whether mmcell cannot work with this problem.
    """

    name: str
    found: str
    wanted: str = ''
    problem: str = ''
    remedy: str = ''
    needed: bool = True


def examine() -> list[Finding]:
    """Look at everything, in the order in which an installation is made."""
    findings = [_python(), *_packages(), *_operators()]
    if not any(finding.problem for finding in findings):
        findings.append(_plugin())
    return [*findings, *_devices()]


def report(findings: list[Finding]) -> str:
    """Lay out findings as a table, followed by what to type."""
    rows = [
        (f.name, f.found, f.wanted, 'ok' if not f.problem else 'WRONG' if f.needed else 'note')
        for f in findings
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        '  '.join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    for finding in findings:
        if finding.problem:
            lines += ['', f'{finding.name}: {finding.problem}']
            lines += [f'    {line}' for line in finding.remedy.splitlines()]
    if not any(finding.problem for finding in findings):
        lines += ['', 'Everything that mmcell needs is here and runs.']
    return '\n'.join(lines)


def main() -> int:
    """Print the report.

    Returns:
        1 if something needed is missing or does not run, else 0.
    """
    findings = examine()
    print(report(findings))
    failed = any(finding.problem and finding.needed for finding in findings)
    checkout = Path(__file__).resolve().parents[1]
    if failed and (checkout / 'scripts' / 'setup.py').exists():
        print(f'\nOr everything at once, in tested versions, into {checkout}/.venv:')
        print(f'    make -C {shlex.quote(str(checkout))} setup')
    return int(failed)


def _python() -> Finding:
    found, wanted = platform.python_version(), '3.10 to 3.12'
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return Finding('Python', found, wanted)
    problem = 'the packages that mmcell stands on do not support this version.'
    return Finding('Python', found, wanted, problem, 'rm -rf .venv\nPYTHON=python3.11 make setup')


def _packages() -> Iterator[Finding]:
    try:
        yield Finding('mmcell', metadata.version('mmcell'))
        requirements = metadata.requires('mmcell') or []
    except metadata.PackageNotFoundError:
        problem = 'not installed, so that its requirements are not known.'
        remedy = _pip('--no-deps --no-build-isolation -e .')
        yield Finding('mmcell', 'not installed', '', problem, remedy)
        return
    pairs = [re.match(r'([\w.-]+)([^;]*)', r).groups() for r in requirements if 'extra ==' not in r]
    broken = False
    for name, wanted in sorted(pairs, key=_depth):
        finding = _package(name, wanted.strip())
        if finding.problem.startswith(BROKEN) and broken:
            finding = replace(finding, remedy='Repair what is above first, then look again.')
        broken |= bool(finding.problem)
        yield finding


def _depth(pair: tuple[str, str]) -> int:
    """Order packages so that each comes after those it is built on."""
    name = pair[0]
    return -1 if name in ('numpy', 'torch') else 1 if name.startswith('onedl') else 0


def _package(name: str, wanted: str) -> Finding:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, 'not installed', wanted, 'not installed.', _install(name, wanted))
    if not satisfies(found, wanted):
        problem = f'version {found} does not fit {wanted}.'
        return Finding(name, found, wanted, problem, _install(name, wanted))
    error = _import_error(MODULES.get(name, name))
    if not error:
        return Finding(name, found, wanted)
    return Finding(name, found, wanted, f'{BROKEN}: {error}', _reinstall(name))


def satisfies(version: str, wanted: str) -> bool:
    """Say whether a version lies in a range.

    Args:
        version: E.g. '2.13.0+cpu'; what follows the numbers is not looked at.
        wanted: E.g. '>=2.4,<3'. '' takes any version.
    """
    found = _numbers(version)
    for operator, bound in re.findall(r'(>=|<=|==|<|>)\s*([\d.]+)', wanted):
        limit = _numbers(bound)
        width = max(len(found), len(limit))
        left, right = (numbers + (0,) * (width - len(numbers)) for numbers in (found, limit))
        holds = {
            '>=': left >= right,
            '<=': left <= right,
            '==': left == right,
            '<': left < right,
            '>': left > right,
        }
        if not holds[operator]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.match(r'[\d.]*', version)[0].split('.') if number)


def _operators() -> Iterator[Finding]:
    name = 'mmcv operators'
    if _import_error('torch') or _import_error('mmcv'):
        return  # said already
    error = _import_error('mmcv.ops')
    if error:
        problem = f'not compiled, or for another torch: {error}'
        yield Finding(name, 'missing', 'RoIAlign', problem, _reinstall('onedl-mmcv'))
        return
    import torch
    from mmcv.ops import get_compiling_cuda_version

    for device in ('cpu', 'cuda')[: 1 + torch.cuda.is_available()]:
        if device == 'cuda' and get_compiling_cuda_version() == 'not available':
            problem = (
                'compiled for the CPU alone: models do not run on the GPU. After '
                '`export CUDA_VISIBLE_DEVICES=` they run on the CPU.'
            )
            remedy = 'export FORCE_CUDA=1\n' + _reinstall('onedl-mmcv')
            yield Finding(f'{name} on {device}', 'missing', 'RoIAlign', problem, remedy)
            continue
        try:
            wrong = '' if _roi_align_is_right(device) else 'RoIAlign gives wrong values.'
        except (RuntimeError, NotImplementedError) as failure:
            wrong = f'RoIAlign fails: {_first_line(failure)}'
        remedy = _reinstall('onedl-mmcv') if wrong else ''
        found = 'RoIAlign fails' if wrong else 'RoIAlign runs'
        yield Finding(f'{name} on {device}', found, 'RoIAlign', wrong, remedy)


def _roi_align_is_right(device: str) -> bool:
    import torch
    from mmcv.ops import roi_align

    # Pixel centres lie at x + 0.5: two bins over 1 <= x <= 5 average to 2 - 0.5 and 4 - 0.5.
    columns = torch.arange(8.0, device=device).expand(1, 1, 8, 8).contiguous()
    box = torch.tensor([[0.0, 1.0, 1.0, 5.0, 5.0]], device=device)
    pooled = roi_align(columns, box, (2, 2), 1.0, 2, 'avg', True)
    return torch.allclose(pooled[0, 0].cpu(), torch.tensor([[1.5, 3.5], [1.5, 3.5]]))


def _plugin() -> Finding:
    """Whether MMDetection's registries take mmcell: what it imports itself may be missing."""
    name = 'mmcell in MMDetection'
    error = _import_error('mmcell.plugin')
    if not error:
        return Finding(name, 'registered')
    remedy = _install('onedl-mmdetection')  # what it needs itself comes along
    return Finding(name, 'not registered', '', f'{BROKEN}: {error}', remedy)


def _devices() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    memory_gib = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    yield Finding('CPU', f'{cores} cores, {memory_gib:.0f} GiB of memory')
    if _import_error('torch'):
        return
    import torch

    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        yield Finding(f'GPU {index}', f'{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB')
    if torch.cuda.is_available():
        return
    if not shutil.which('nvidia-smi'):
        yield Finding('GPU', 'none')
    elif torch.version.cuda is None:
        problem = 'this machine has an NVIDIA driver, but torch is built for the CPU alone.'
        remedy = _pip(f"--force-reinstall '{_exact('torch')}'")
        yield Finding('GPU', 'unused', '', problem, remedy, needed=False)
    else:
        problem = (
            f'torch (CUDA {torch.version.cuda}) does not see the GPU; see what its driver says.'
        )
        yield Finding('GPU', 'unused', '', problem, 'nvidia-smi', needed=False)


def _import_error(module: str) -> str:
    """Try to import a module, silently; '' if that works."""
    try:
        with quiet_imports():
            importlib.import_module(module)
    except Exception as error:  # broken packages raise anything
        return _first_line(error)
    return ''


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _exact(name: str) -> str:
    return f'{name}=={metadata.version(name).split("+")[0]}'


def _install(name: str, wanted: str = '') -> str:
    return _pip_commands(name, f"'{name}{wanted}'")


def _reinstall(name: str) -> str:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:  # another distribution has the module, such as mmcv-lite
        return _install(name)
    return _pip_commands(name, f"--force-reinstall --no-deps '{_exact(name)}'")


def _pip_commands(name: str, arguments: str) -> str:
    if name == 'onedl-mmcv':
        build = f'MMCV_WITH_OPS=1 {_pip(f"--no-build-isolation --no-cache-dir {arguments}")}'
        return f'{_pip(BUILD_TOOLS)}\n{build}'
    return _pip(f'--no-build-isolation {arguments}' if name == 'onedl-mmdetection' else arguments)


def _pip(arguments: str) -> str:
    return f'{shlex.quote(sys.executable)} -m pip install {arguments}'
