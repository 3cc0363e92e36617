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
