import subprocess
import sys

import pytest

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
