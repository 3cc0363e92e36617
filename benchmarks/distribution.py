"""Two dask workers against one, and one against no workers, with a stub in place of the network.

The stub keeps a core busy for a while per tile and returns the objects of a label map, so that what
is measured is the distribution: tiles to the workers, objects back, in order. Every turn measures
the speed of the machine, too: how much more two free-running processes do than one. Where that is
below 1.9, others use the cores, and the target is not decided here.

    python benchmarks/distribution.py [--tiles 60] [--milliseconds 100] [--turns 3]
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from common import Report

from mmcell.inference.distribution import OrderedMap, in_process, worker_pool
from mmcell.structures import FoundObjects

MIN_SPEEDUP = 1.7
FREE_MACHINE = 1.9
TILE, CELL = 512, 32  # as dense as 400,000 objects on 20,000 x 20,000 pixels


@dataclass(frozen=True)
class Stub:
    """Builds a function that computes for a fixed number of rounds and returns the same objects."""

    rounds: int

    def __call__(self) -> 'Detect':
        """The function."""
        return Detect(self.rounds)


class Detect:
    """Some hundred round objects, after arithmetic that stands for a network's."""

    def __init__(self, rounds: int):
        self.rounds = rounds
        y, x = np.mgrid[:TILE, :TILE]
        inside = (y % CELL - CELL // 2) ** 2 + (x % CELL - CELL // 2) ** 2 < (CELL // 3) ** 2
        self.label_map = (y // CELL * (TILE // CELL) + x // CELL + 1) * inside

    def __call__(self, tile: int) -> FoundObjects:
        """The objects of a tile, in the time of a network."""
        spin(self.rounds)
        return FoundObjects.from_label_map(self.label_map)


def spin(rounds: int) -> float:
    """One core at work."""
    values = np.linspace(0, 1, 4096)
    for _ in range(rounds):
        values = np.sqrt(values * values + 1e-9)
    return float(values[0])


def rounds_for(milliseconds: float) -> int:
    """How often :func:`spin` goes round in this time on this machine as it is now."""
    start = time.perf_counter()
    spin(2000)
    return int(2000 * milliseconds / 1000 / (time.perf_counter() - start))


def seconds_of(run: OrderedMap, stub: Stub, tiles: Iterable[int]) -> float:
    start = time.perf_counter()
    count = sum(len(found) for found in run(stub, tiles))
    assert count
    return time.perf_counter() - start


def free_running_speedup(rounds: int) -> Iterator[float]:
    """What two processes do in the time of one, without dask."""
    with multiprocessing.get_context('spawn').Pool(2) as pool:
        pool.map(spin, [1, 1], chunksize=1)
        while True:
            start = time.perf_counter()
            pool.apply(spin, (rounds,))
            one = time.perf_counter() - start
            start = time.perf_counter()
            pool.map(spin, [rounds, rounds], chunksize=1)
            yield 2 * one / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tiles', type=int, default=60)
    parser.add_argument('--milliseconds', type=float, default=100, help='of the stub, per tile')
    parser.add_argument('--turns', type=int, default=3)
    args = parser.parse_args()
    stub = Stub(rounds_for(args.milliseconds))
    tiles = range(args.tiles)
    machine = free_running_speedup(stub.rounds * args.tiles // 4)
    seconds: dict[str, list[float]] = {'no workers': [], '1 worker': [], '2 workers': []}
    speedups = []
    # Both pools stand idle while the other works: starting them is not part of the comparison.
    with worker_pool(1) as one, worker_pool(2) as two:
        maps = dict(zip(seconds, (in_process, one, two), strict=True))
        for run in (one, two):
            seconds_of(run, stub, range(8))
        for _ in range(args.turns):
            speedups.append(next(machine))
            for name, run in maps.items():
                seconds[name].append(seconds_of(run, stub, tiles))
    machine.close()
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    speedup = statistics.median(
        one / two for one, two in zip(seconds['1 worker'], seconds['2 workers'], strict=True)
    )
    free = statistics.median(speedups)
    num_objects = len(Detect(0)(0))
    report = Report(
        f'{args.tiles} tiles of {num_objects} objects, stub of {args.milliseconds:g} ms',
        *('', 'median', 'against 1 worker'),
    )
    for name, median in medians.items():
        report.row(name, f'{median:.2f} s', f'{medians["1 worker"] / median:.2f} x')
    report.row('2 processes without dask', '', f'{free:.2f} x')
    if free < FREE_MACHINE and speedup < MIN_SPEEDUP:
        share = f'{speedup / free:.0%} of what this machine gives now'
        report.row(f'undecided, a free machine gives {FREE_MACHINE} x', share, '')
    else:
        report.target(f'2 workers at least {MIN_SPEEDUP} x as fast as 1', speedup >= MIN_SPEEDUP)
    report.finish()


if __name__ == '__main__':
    main()
