"""A whole slide through the pipeline: time, memory, and what it costs beside reading.

The slide is a TIFF of 512 x 512 pixel tiles that all hold the same field of separate nuclei, about
400,000 on 20,000 x 20,000 pixels. In place of the network stands a stub that labels dark pixels,
which gives the true masks, cut at the window's border. Each measurement runs in a process of its
own, as ``mmcell predict`` would: the next tile is read by a thread meanwhile. Compared is the time
on the clock; CPU time, which is that of one core, stands beside it. With --workers, tiles are done
by other processes, as by ``mmcell predict --workers``: workers are started before, CPU time is that
of this process, and memory that of the largest one.

Baseline: reading the image piece by piece, without overlap, and the stub, one after the other.

    python benchmarks/large_image.py [--side 20000] [--save labels,geojson,csv] [--workers 1]
        [--dir /tmp]
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from common import MIB, Report
from slides import label_dark, write_slide

from mmcell.engine.memory import keep_freed_memory, spare_what_is_loaded
from mmcell.functional.tiling import TilePlan
from mmcell.inference.distribution import OrderedMap, worker_pool
from mmcell.inference.intensity import DisplayRange
from mmcell.inference.sources import open_sources
from mmcell.inference.tiles import find_objects
from mmcell.inference.writers import open_writers

MAX_PEAK = 2048 * MIB
MAX_RATIO = 4.4
MAX_OVERHEAD = 0.5


class Measurement(NamedTuple):
    """One way through the slide."""

    seconds: float
    cpu_seconds: float  # of this process
    peak: int  # bytes of resident memory
    objects: int


def read_and_stub(ordered_map: OrderedMap, path: Path, tile: int) -> int:
    """Pieces without overlap, and nothing done with what is found."""
    (source,) = open_sources(path)
    show = DisplayRange.of(source)
    plan = TilePlan(source.size, tile=tile)
    with source:
        return sum(
            len(label_dark(show.to_rgb8(source.read(*plan[k].core)))) for k in range(len(plan))
        )


def find(ordered_map: OrderedMap, path: Path, tile: int) -> int:
    """The engine: every object once, nothing written."""
    (source,) = open_sources(path)
    with source:
        batches = find_objects(
            source,
            partial(partial, label_dark),
            TilePlan(source.size, tile=tile),
            display_range=DisplayRange.of(source),
            ordered_map=ordered_map,
        )
        return sum(len(objects) for objects, _, _ in batches)


def find_and_write(ordered_map: OrderedMap, path: Path, tile: int, save: tuple[str, ...]) -> int:
    """The engine and the writers."""
    (source,) = open_sources(path)
    count = 0
    with source, tempfile.TemporaryDirectory(dir=path.parent) as out:
        show = DisplayRange.of(source)
        plan = TilePlan(source.size, tile=tile)
        writers = open_writers(save, out, source, display_range=show)
        factory = partial(partial, label_dark)
        for batch in find_objects(
            source, factory, plan, display_range=show, ordered_map=ordered_map
        ):
            writers.write(*batch)
            count += len(batch[0])
        writers.close()
    return count


def measure(way: Callable[..., int], workers: int, *args: object) -> Measurement:
    """Time and peak memory of a call, in a process of its own."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, context) as pool:  # whose process may start others
        return pool.submit(_measure, way, workers, args).result()


def _measure(way: Callable[..., int], workers: int, args: tuple[object, ...]) -> Measurement:
    keep_freed_memory()  # as mmcell predict
    spare_what_is_loaded()
    with worker_pool(workers) as ordered_map:
        start, cpu_start = time.perf_counter(), time.process_time()
        objects = way(ordered_map, *args)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(who).ru_maxrss for who in whose) * 1024
    return Measurement(seconds, cpu_seconds, peak, objects)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--side', type=int, default=20000, help='pixels (default: 20000)')
    parser.add_argument('--tile', type=int, default=4096, help='side of a tile (default: 4096)')
    parser.add_argument('--save', default='labels,geojson,csv', help='writers of the last row')
    parser.add_argument('--workers', type=int, default=0, help='processes (default: this one)')
    parser.add_argument('--dir', type=Path, help='for the slides and results')
    args = parser.parse_args()
    save = tuple(args.save.split(','))
    report = Report(
        f'{args.side} x {args.side} pixels and half of it, tiles of {args.tile}, '
        f'{args.workers or "no"} workers',
        *('way', 'side', 'objects', 'time', 'over baseline', 'CPU time', 'over baseline'),
        *('peak memory', '4 x area'),
    )
    ways = {
        'read + stub': (read_and_stub,),
        'engine': (find,),
        f'engine + {args.save}': (find_and_write, save),
    }
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        found: dict[tuple[str, int], Measurement] = {}
        for side in (args.side // 2, args.side):
            path = Path(folder) / 'slide.tif'
            expected = write_slide(path, side)
            for name, (way, *options) in ways.items():
                now = found[name, side] = measure(way, args.workers, path, args.tile, *options)
                baseline, half = found['read + stub', side], found.get((name, side // 2))
                report.row(
                    name,
                    str(side),
                    str(now.objects),
                    f'{now.seconds:.1f} s',
                    f'{now.seconds / baseline.seconds - 1:+.0%}',
                    f'{now.cpu_seconds:.1f} s',
                    f'{now.cpu_seconds / baseline.cpu_seconds - 1:+.0%}',
                    f'{now.peak / MIB:.0f} MiB',
                    f'{now.seconds / half.seconds:.2f} x time' if half else '',
                )
                if way is not read_and_stub:
                    report.target(f'{name}, {side}: all {expected}', now.objects == expected)
    for name in list(ways)[1:]:
        now, half = found[name, args.side], found[name, args.side // 2]
        overhead = now.seconds / found['read + stub', args.side].seconds - 1
        report.target(f'{name}: below 2 GiB', now.peak < MAX_PEAK)
        report.target(
            f'{name}: 4 x area in {MAX_RATIO} x time', now.seconds <= MAX_RATIO * half.seconds
        )
        report.target(
            f'{name}: less than {MAX_OVERHEAD:.0%} over baseline', overhead < MAX_OVERHEAD
        )
    report.finish()


if __name__ == '__main__':
    main()
