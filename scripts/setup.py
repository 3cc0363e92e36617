"""Make ``.venv`` in the project and install mmcell's tested stack into it, in the order it needs.

Run by ``make setup`` with the system's Python; uses the standard library alone. Every stage leaves
a stamp with a hash of its inputs, so that a second call takes a moment and an interrupted one goes
on where it stopped, within mmcv's compilation too. Packages that are already there are accepted.
"""

from __future__ import annotations

import collections
import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from preflight import (
    NO_VENV,
    SetupError,
    check_compiler,
    check_disk,
    check_python,
    explain,
    wheels_cuda_headers,
)

PINNED_FROM = (3, 11)  # several tested versions have no wheel for older Pythons
DISK_GIB = {'torch': 4, 'torch with CUDA': 14, 'mmcv': 1}  # measured, rounded up
COMPILE_GIB = 2  # memory that compiling one file of mmcv may take

# What must run in the virtual environment before a stage counts as done.
CHECKS = {
    'torch': 'import torch; torch.ones(1)',
    'build': 'import ninja, packaging, psutil, setuptools, wheel',
    'opencv': 'import cv2',
    'mmcv': """
import os, torch
from mmcv.ops import get_compiling_cuda_version
cuda_wanted = os.environ.get('FORCE_CUDA') == '1' or torch.cuda.is_available()
raise SystemExit(cuda_wanted and get_compiling_cuda_version() == 'not available')""",
    'openmmlab': 'import mmengine, mmdet',
    'libraries': 'import scipy.stats, skimage, shapely, pycocotools.mask, tifffile, pandas',
    'extras': 'import distributed, openslide, pyarrow, zarr',
    'development': 'import hypothesis, ome_zarr, pytest, roifile',
}


def read_sections(requirements: Path) -> dict[str, dict[str, str]]:
    """Read {section: {package: version}} from requirements.txt, in order."""
    sections: dict[str, dict[str, str]] = {}
    pins: dict[str, str] = {}
    for line in requirements.read_text().splitlines():
        if line.startswith('# =='):
            pins = sections.setdefault(line[4:].split(':')[0].strip(), {})
        elif '==' in line and not line.startswith('#'):
            name, version = line.split('==')
            pins[canonical(name)] = version.strip()
    return sections


def canonical(name: str) -> str:
    """Write a package's name the way package indexes compare them."""
    return re.sub(r'[-_.]+', '-', name.strip()).lower()


def join_dispatchers(folder: Path) -> None:
    """Have mmcv's dispatchers, dozens of files of a page each, compiled as one file.

    A file of them takes a compiler half a minute, nearly all of it for torch's headers.
    """
    included = []
    for path in sorted(folder.glob('*.cpp')):
        if path.name != 'pybind.cpp':  # long by itself: compiled beside the others
            included.append(path.rename(path.with_suffix('.inc')).name)
    (folder / 'dispatchers.cpp').write_text(''.join(f'#include "{name}"\n' for name in included))


class Setup:
    """The stages of one installation, in ``root``/.venv."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / '.venv'
        self.python = self.venv / 'bin' / 'python'
        self.work = root / '.setup'
        self.requirements = root / 'requirements.txt'
        self.sections = read_sections(self.requirements)
        self.pinned = sys.version_info[:2] >= PINNED_FROM
        self.started = time.monotonic()

    def installed(self) -> dict[str, str]:
        """List {package: version without its local part} of the virtual environment."""
        folders = self.venv.glob('lib/python3*/site-packages/*.dist-info')
        names = (folder.name[: -len('.dist-info')].rsplit('-', 1) for folder in folders)
        return {canonical(name): version.split('+')[0] for name, version in names}

    def torch_build(self) -> str:
        """The version of torch in the virtual environment, with its local part; '' without."""
        folders = self.venv.glob('lib/python3*/site-packages/torch-*.dist-info')
        return ' '.join(folder.name for folder in folders)

    def fingerprint(self, stage: str) -> str:
        """Hash everything that should make a stage run again when it changes."""
        inputs = [stage, sys.version, str(self.sections.get(stage))]
        if stage == 'mmcv':
            # A driver or compiler that came later may ask for operators on the GPU.
            inputs += [self.torch_build(), os.environ.get('FORCE_CUDA', '')]
            inputs += [str(shutil.which(name)) for name in ('nvcc', 'nvidia-smi')]
        if stage == 'mmcell':
            files = ('pyproject.toml', 'setup.py', 'mmcell/__init__.py')
            inputs += [str(self.root)] + [(self.root / name).read_text() for name in files]
            inputs += sorted(path.name for path in (self.root / 'configs').rglob('*.py'))
        return hashlib.sha256('\0'.join(inputs).encode()).hexdigest()

    def is_done(self, stage: str) -> bool:
        """Say whether a stage can be skipped; what somebody else installed is tried once."""
        is_there = self.sections.get(stage, {}).items() <= self.installed().items()
        if stage == 'mmcell':
            is_there = 'mmcell' in self.installed() and (self.root / 'mmcell/.mim').is_dir()
        if not is_there:
            return False
        stamp = self.venv / '.setup' / stage
        if stamp.exists() and stamp.read_text() == self.fingerprint(stage):
            return True
        return stage != 'mmcell' and self.works(stage)

    def works(self, stage: str) -> bool:
        """Try a stage's packages in the virtual environment; leave the stamp if they run."""
        if stage in CHECKS:
            command = [str(self.python), '-W', 'ignore', '-c', CHECKS[stage]]
            if subprocess.run(command, capture_output=True, cwd=self.venv).returncode:
                return False
        stamp = self.venv / '.setup' / stage
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(self.fingerprint(stage))
        return True

    def run(self, *command: object, **environment: str) -> None:
        """Run a command, log all of its output, show the lines that tell progress."""
        words = [str(word) for word in command]
        tail: collections.deque[str] = collections.deque(maxlen=200)
        shown = self.started
        output = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'errors': 'replace'}
        environment = {**os.environ, **environment}
        process = subprocess.Popen(words, cwd=self.root, env=environment, **output)
        with process, (self.work / 'setup.log').open('a') as log:
            for line in process.stdout or ():
                log.write(line)
                tail.append(line)
                ninja = re.match(r'\s*\[(\d+)/(\d+)\]', line)
                if ninja and (time.monotonic() - shown > 5 or ninja[1] == ninja[2]):
                    shown = time.monotonic()
                    self.say(f'compiled {ninja[1]} of {ninja[2]} files')
                elif re.match(r'\s*(Downloading .*[MG]B\)|Building wheel for .*started)', line):
                    self.say(line.strip())
        if process.returncode:
            print(''.join(list(tail)[-15:]), file=sys.stderr)
            raise SetupError(explain(''.join(tail), ' '.join(words[:6])))

    def say(self, text: str) -> None:
        """Print one line of progress with the time since the start."""
        print(f'  {time.monotonic() - self.started:5.0f} s  {text}', flush=True)

    def pip_install(self, *arguments: object) -> None:
        """Install into the virtual environment; indirect packages come in tested versions."""
        constraints = ('-c', self.requirements) if self.pinned else ()
        self.run(self.python, '-m', 'pip', 'install', *constraints, *arguments)

    def torch_variant(self, pins: list[str]) -> str:
        """Ask pip which build it would install: that for CUDA brings NVIDIA's libraries along."""
        command = [str(self.python), '-m', 'pip', 'install', '--dry-run', *pins]
        answer = subprocess.run(command, capture_output=True, text=True, cwd=self.root)
        brings = re.search(r'^Would install.* (nvidia|cuda)-', answer.stdout, re.MULTILINE)
        return 'torch with CUDA' if brings else 'torch'

    def make_venv(self) -> None:
        """Create the virtual environment, or finish one that was cut short."""
        if self.python.exists() and list(self.venv.glob('lib/python3*/site-packages/pip')):
            return
        try:
            self.run(sys.executable, '-m', 'venv', self.venv)
        except SetupError:
            raise SetupError(NO_VENV) from None

    def build_mmcv(self, version: str) -> Path:
        """Compile mmcv's operators into a wheel, kept per torch; goes on with what is compiled."""
        query = (
            'import sys, torch; print(sys.implementation.cache_tag, torch.__version__, '
            'int(torch.cuda.is_available()))'
        )
        answer = subprocess.check_output([str(self.python), '-c', query], text=True).split()
        cuda = answer[2] == '1' or os.environ.get('FORCE_CUDA') == '1'
        kind = ['cuda', *os.environ.get('TORCH_CUDA_ARCH_LIST', '').split()] if cuda else ['cpu']
        home = self.work / 'wheels' / re.sub(r'[^\w.+-]', '-', '-'.join([*answer[:2], *kind]))
        wheels = list(home.glob(f'onedl_mmcv-{version}-*.whl'))
        if wheels:
            return wheels[0]
        check_compiler(cuda)
        check_disk(self.root, "Compiling mmcv's operators", DISK_GIB['mmcv'])
        source = home / f'onedl_mmcv-{version}'
        pip = (self.python, '-m', 'pip')
        apart = ('--no-deps', '--no-build-isolation')
        if not source.exists():
            requirement = f'onedl-mmcv=={version}'
            self.run(*pip, 'download', *apart, '--no-binary', ':all:', '-d', home, requirement)
            archive, unpacking = next(home.glob(f'onedl?mmcv-{version}.tar.gz')), home / 'unpacking'
            # Python 3.12 warns without a filter; 3.10.11, 3.11.3 and older know none.
            safe = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}
            shutil.unpack_archive(str(archive), str(unpacking), **safe)
            join_dispatchers(unpacking / source.name / 'mmcv/ops/csrc/pytorch')
            (unpacking / source.name).rename(source)
        # Built in its own folder, where the object files stay for the next attempt.
        memory_gib = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
        jobs = max(1, min(os.cpu_count() or 1, int(memory_gib / COMPILE_GIB)))
        options = {'MMCV_WITH_OPS': '1', 'MAX_JOBS': os.environ.get('MAX_JOBS', str(jobs))}
        if cuda and (headers := wheels_cuda_headers(self.venv)):
            options['CPATH'] = headers
        self.run(*pip, 'wheel', '-v', *apart, '-w', home / 'new', source, **options)
        built = next((home / 'new').glob('*.whl'))
        shutil.rmtree(source)
        return built.rename(home / built.name)

    def install(self, stage: str) -> None:
        """Run one stage."""
        pins = [f'{name}=={version}' for name, version in self.sections.get(stage, {}).items()]
        if stage == 'torch':
            variant = self.torch_variant(pins)
            check_disk(self.root, f'The installation ({variant})', DISK_GIB[variant])
            self.pip_install(*pins)
        elif stage == 'opencv':
            # Both packages write the folder cv2: the headless one has to come last.
            self.pip_install(*pins)
            self.pip_install('--force-reinstall', '--no-deps', pins[-1])
        elif stage == 'mmcv':
            wheel = self.build_mmcv(self.sections[stage]['onedl-mmcv'])
            # An installed mmcv of the same version that does not run has to give way.
            self.pip_install('--force-reinstall', '--no-deps', wheel)
            self.pip_install(wheel)
        elif stage == 'mmcell':
            target = ('--no-deps', '-e', '.') if self.pinned else ('-e', '.[dev]')
            self.pip_install('--no-build-isolation', *target)
        else:
            self.pip_install('--no-build-isolation', *pins)

    def check_same_python(self) -> None:
        """Refuse to go on in a virtual environment of another Python."""
        config = self.venv / 'pyvenv.cfg'
        text = config.read_text() if config.exists() else ''
        theirs = re.search(r'^version(?:_info)? *= *(\d+\.\d+)', text, re.MULTILINE)
        ours = '.'.join(map(str, sys.version_info[:2]))
        if theirs and theirs[1] != ours:
            raise SetupError(
                f'.venv is of Python {theirs[1]} and this is Python {ours}: leave PYTHON out, or '
                '`rm -rf .venv` for a new one.'
            )

    def main(self) -> None:
        """Bring the virtual environment up to date."""
        check_python(sys.version_info[:2])
        self.check_same_python()
        (self.work / 'setup.log').write_text('')
        stages = [*self.sections, 'mmcell']
        if not self.pinned:  # pip chooses the rest, within the ranges of pyproject.toml
            stages = ['torch', 'build', 'opencv', 'mmcv', 'openmmlab', 'mmcell']
        if 'onedl-mmcv' not in self.installed() and not list(self.work.glob('wheels/*/*.whl')):
            check_compiler(cuda=False)  # now, not after the downloads
        self.make_venv()
        for number, stage in enumerate(stages, 1):
            if self.is_done(stage):
                continue
            print(f'[{number}/{len(stages)}] {stage}', flush=True)
            self.install(stage)
            if not self.works(stage):
                raise SetupError(
                    f'The packages of stage `{stage}` are installed but do not run: see '
                    '`.venv/bin/python -m mmcell doctor`, or start afresh with `rm -rf .venv`.'
                )
        self.say('mmcell is set up in .venv')


def main() -> int:
    """Set up the project that this file belongs to; one caller at a time."""
    root = Path(__file__).resolve().parents[1]
    (root / '.setup').mkdir(exist_ok=True)
    with (root / '.setup' / 'lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            Setup(root).main()
        except SetupError as error:
            print(f'setup: {error}', file=sys.stderr)
            return 1
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            print(f'setup: {explain(str(error), "setup")}', file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print('setup: interrupted; `make setup` goes on where it stopped.', file=sys.stderr)
            return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
