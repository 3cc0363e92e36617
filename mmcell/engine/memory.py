"""Keep freed memory and generated kernels; garbage collection away from what is there to stay."""

from __future__ import annotations

import ctypes
import gc
import os
import sys

# glibc's mallopt parameters (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Let glibc reuse large blocks instead of giving them back to the kernel.

    By default every tensor above 32 MB is mapped afresh and unmapped when freed, and each new page
    costs a page fault: on virtual machines that was five to twenty times the arithmetic of a
    training step on a CPU. The process keeps its peak memory in return, which training reaches in
    every step anyway.

    Returns:
        Whether it took effect: on Linux with glibc; elsewhere nothing happens.
    """
    if not sys.platform.startswith('linux'):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'gnu_get_libc_version'):
        return False
    settings = (
        (_MMAP_MAX, 0),  # large blocks come from the heap, too
        (_TRIM_THRESHOLD, 2**31 - 1),  # and the heap never shrinks
        (_TOP_PAD, 1 << 26),
        (_ARENA_MAX, 1),  # one heap: only the main one can grow without mapping
    )
    return all(libc.mallopt(parameter, value) == 1 for parameter, value in settings)


def keep_generated_kernels() -> None:
    """Let oneDNN keep the kernels that it generates, one for every shape of a layer's input.

    It keeps 1,024. The heads of an R-CNN get another number of RoIs in each step of a training and
    soon have met more shapes: kernels are thrown away and generated again, at a millisecond each,
    about 14 in a step of tiny PFFNet. Its peak memory does not change: 2 GB after 240 steps.

    To be called before the first layer runs. A capacity set in the environment stays.
    """
    os.environ.setdefault('ONEDNN_PRIMITIVE_CACHE_CAPACITY', '16384')


def spare_what_is_loaded() -> None:
    """Let Python's garbage collector pass over all that exists now: modules, classes, a network.

    Whoever makes small objects by the thousand, such as a shape or a row for each nucleus, sets it
    off again and again, and each time it would look through some hundred thousand that stay anyway:
    a quarter of the time that a slide's objects took beside the network.
    """
    gc.collect()
    gc.freeze()
