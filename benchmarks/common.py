"""Timing, peak memory and reports of the benchmarks; 2 threads unless ``--threads`` says else."""

import argparse
import ctypes
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

MIB = 2**20


def parse_options(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, int]:
    """Parse a benchmark's options together with ``--threads``, and apply the latter.

    Returns:
        All options, and the number of threads, to be handed to :func:`peak_extra_memory`.
    """
    parser.add_argument('--threads', type=int, default=2, help='CPU threads of torch (default: 2)')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args, args.threads


def add_device(parser: argparse.ArgumentParser) -> None:
    """Let the user choose where the tensors are."""
    parser.add_argument('--device', default='cpu', help="such as 'cuda' (default: cpu)")


def where(device: str, threads: int) -> str:
    """What computes, for a table's title."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{threads} threads'


def median_seconds(*functions: Callable[[], Any], repeats: int) -> list[float]:
    """Median wall-clock time of each function, each call after one that is not timed.

    The functions take turns, so that a machine that is busy for a while slows all of them. What one
    leaves to the next, such as gigabytes that the system has to take back, is not the next one's.

    Args:
        *functions: what to time.
        repeats: number of timed calls of each.
    """
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, times in zip(functions, seconds, strict=True):
            for _ in range(2):
                start = time.perf_counter()
                function()
                if torch.cuda.is_initialized():
                    torch.cuda.synchronize()  # what was launched belongs to the call
                last = time.perf_counter() - start
            times.append(last)
    return [statistics.median(times) for times in seconds]


def peak_extra_memory(
    function: Callable[..., Any], *args: Any, threads: int = 2, device: str = 'cpu'
) -> int:
    """Bytes of memory that the call inside ``function`` adds at its peak: resident, or a GPU's.

    Runs in a process of its own, so that nothing else counts and no freed memory is at hand.

    Args:
        function: module-level function; builds its inputs and returns the call to measure.
        *args: its arguments.
        threads: CPU threads of torch.
        device: whose memory counts.
    """
    context = multiprocessing.get_context('spawn')
    with context.Pool(1) as pool:
        return pool.apply(_measure_peak, (function, args, threads, device))


def _measure_peak(function: Callable[..., Any], args: tuple, threads: int, device: str) -> int:
    torch.set_num_threads(threads)
    call = function(*args)
    if torch.device(device).type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    # Memory that building the inputs freed would be used again unseen: hand it back first.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path('/proc/self/clear_refs').write_text('5')  # Linux: reset the peak to the present
    before = _resident_bytes('VmRSS')
    call()
    return max(_resident_bytes('VmHWM') - before, 0)


def _resident_bytes(field: str) -> int:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field + ':'):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'/proc/self/status has no {field}')


class Report:
    """Collects rows and targets, prints them, and ends the process accordingly."""

    def __init__(self, title: str, *columns: str):
        self._table = Table(title=title, title_justify='left')
        for column in columns:
            self._table.add_column(column, justify='left' if column == columns[0] else 'right')
        self._targets: list[tuple[str, bool]] = []

    def row(self, *cells: str) -> None:
        """Add one line to the table."""
        self._table.add_row(*cells)

    def target(self, text: str, met: bool) -> None:
        """Add one claim and whether it holds."""
        self._targets.append((text, bool(met)))

    def finish(self) -> None:
        """Print everything; exit with 1 if a target is missed."""
        console = Console(width=110)
        console.print(self._table)
        for text, met in self._targets:
            console.print(f'{"[green]met   [/]" if met else "[red]MISSED[/]"} {text}')
        sys.exit(0 if all(met for _, met in self._targets) else 1)
