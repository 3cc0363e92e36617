import os
import subprocess
import sys

import pytest
import torch

from mmcell.engine.memory import keep_generated_kernels

# Page faults of a process that allocates and frees 64 MB twenty times, once the heap has grown to
# what the first few times need.
PAGE_FAULTS = """
import resource, sys
import torch
if sys.argv[1] == 'kept':
    from mmcell.engine.memory import keep_freed_memory
    assert keep_freed_memory()
for _ in range(10):
    torch.zeros(1 << 24).add_(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(1 << 24).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='tunes glibc')
def test_freed_memory_is_used_again_without_page_faults():
    faults = {
        mode: int(
            subprocess.check_output([sys.executable, '-W', 'ignore', '-c', PAGE_FAULTS, mode])
        )
        for mode in ('given_back', 'kept')
    }
    assert faults['kept'] < 0.2 * faults['given_back']


# More shapes than oneDNN keeps kernels for by default, twice.
KERNELS = """
import sys
import torch
if sys.argv[1] == 'kept':
    from mmcell.engine.memory import keep_generated_kernels
    keep_generated_kernels()
layer = torch.nn.Conv2d(16, 16, 3)
with torch.no_grad():
    for _ in range(2):
        print('pass', flush=True)
        for n in range(1, 361):
            layer(torch.empty(n, 16, 3, 3))
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='PyTorch without oneDNN')
def test_kernels_are_generated_once():
    environment = {**os.environ, 'ONEDNN_VERBOSE': 'profile_create'}
    environment.pop('ONEDNN_PRIMITIVE_CACHE_CAPACITY', None)
    generated = {}
    for mode in ('thrown_away', 'kept'):
        command = [sys.executable, '-W', 'ignore', '-c', KERNELS, mode]
        log = subprocess.check_output(command, env=environment, text=True)
        generated[mode] = [part.count('create:cache_miss') for part in log.split('pass')[1:]]
    assert generated['thrown_away'][1] > 360
    assert generated['kept'][0] > 360
    assert generated['kept'][1] == 0


@pytest.mark.parametrize(('given', 'expected'), [(None, '16384'), ('5', '5')])
def test_capacity_for_kernels_of_the_user_stays(monkeypatch, given, expected):
    name = 'ONEDNN_PRIMITIVE_CACHE_CAPACITY'
    monkeypatch.setenv(name, given or '')  # remembers what was there before
    if given is None:
        monkeypatch.delenv(name)
    keep_generated_kernels()
    assert os.environ[name] == expected


def test_what_is_loaded_is_spared_and_what_follows_is_still_collected():
    frozen = subprocess.run(
        [
            sys.executable,
            '-c',
            'import gc, weakref; from mmcell.engine.memory import spare_what_is_loaded\n'
            'class Node: pass\n'
            'old = Node(); spare_what_is_loaded(); assert gc.get_freeze_count() > 1000\n'
            'assert not any(each is old for each in gc.get_objects())\n'
            'new = Node(); new.itself = new; gone = weakref.ref(new); del new\n'
            'gc.collect(); assert gone() is None',
        ],
        capture_output=True,
        text=True,
    )
    assert frozen.returncode == 0, frozen.stderr
