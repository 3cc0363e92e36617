"""A whole slide through the pipeline: time, memory, and what it costs beside reading.

The slide is a TIFF of 512 x 512 pixel tiles that all hold the same field of separate nuclei, about
400,000 on 20,000 x 20,000 pixels. In place of the network stands a stub that labels dark pixels,
which gives the true masks, cut at the window's border. Each measurement runs in a process of its
own, one thread, and CPU time is compared, which does not depend on who else uses the machine.

Baseline: reading the image piece by piece, without overlap, and the stub.

    python benchmarks/large_image.py [--side 20000] [--save labels,geojson,csv] [--dir /tmp]
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile
from common import MIB, Report
from scipy import ndimage

from mmcell.engine.memory import keep_freed_memory
from mmcell.functional.tiling import TilePlan
from mmcell.inference.intensity import DisplayRange
from mmcell.inference.sources import open_sources
from mmcell.inference.tiles import find_objects
from mmcell.inference.writers import open_writers
from mmcell.structures import FoundObjects

FIELD = 512  # pixels
NUCLEUS = 32  # pixels from one to the next
MAX_PEAK = 2048 * MIB
MAX_RATIO = 4.4
MAX_OVERHEAD = 0.5


class Measurement(NamedTuple):
    """One way through the slide."""

    seconds: float  # of CPU
    peak: int  # bytes of resident memory
    objects: int


def make_field() -> tuple[np.ndarray, np.ndarray]:
    """Ellipses that do not touch, on noise: RGB picture and label map."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:NUCLEUS, :NUCLEUS]
    labels = np.zeros((FIELD, FIELD), dtype=np.int32)
    for k, (row, column) in enumerate(np.ndindex((FIELD // NUCLEUS,) * 2), start=1):
        radii = rng.uniform(6, 12, 2)
        centre = NUCLEUS / 2 + rng.uniform(-3, 3, 2)
        nucleus = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1
        nucleus[[0, -1]] = nucleus[:, [0, -1]] = False
        place = labels[row * NUCLEUS :, column * NUCLEUS :][:NUCLEUS, :NUCLEUS]
        place[nucleus] = k
    rgb = np.where(labels[:, :, None] > 0, (90, 60, 140), (220, 190, 215))
    return (rgb + rng.integers(-8, 9, rgb.shape)).astype(np.uint8), labels


def write_slide(path: Path, side: int) -> int:
    """Write side x side pixels; returns the number of objects in them."""
    rgb, labels = make_field()
    encoded = imagecodecs.zlib_encode(rgb.tobytes(), level=6)
    count = -(-side // FIELD)
    tifffile.imwrite(
        path,
        (encoded for _ in range(count * count)),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(FIELD, FIELD),
        photometric='rgb',
        compression='zlib',
        bigtiff=True,
    )
    whole, rest = divmod(side, FIELD)
    parts = (labels, labels[:, :rest], labels[:rest], labels[:rest, :rest])
    numbers = [np.count_nonzero(np.unique(part)) for part in parts]
    return int(np.dot(numbers, (whole**2, whole, whole, 1)))


def label_dark(rgb: np.ndarray) -> FoundObjects:
    """The stub: connected dark pixels."""
    labels, count = ndimage.label(rgb[:, :, 1] < 125)
    slices = ndimage.find_objects(labels)
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in slices]
    ones, numbers = np.ones(count, np.float32), np.arange(1, count + 1)
    return FoundObjects(
        np.array(boxes, dtype=np.int64).reshape(-1, 4),
        [labels[window] == k for k, window in enumerate(slices, start=1)],
        ones,
        np.zeros(count, np.int64),
        numbers,
        ones,
    )


def read_and_stub(path: Path, tile: int) -> int:
    """Pieces without overlap, and nothing done with what is found."""
    (source,) = open_sources(path)
    show = DisplayRange.of(source)
    plan = TilePlan(source.size, tile=tile)
    with source:
        return sum(
            len(label_dark(show.to_rgb8(source.read(*plan[k].core)))) for k in range(len(plan))
        )


def find(path: Path, tile: int) -> int:
    """The engine: every object once, nothing written."""
    (source,) = open_sources(path)
    with source:
        batches = find_objects(
            source,
            partial(partial, label_dark),
            TilePlan(source.size, tile=tile),
            display_range=DisplayRange.of(source),
        )
        return sum(len(objects) for objects, _, _ in batches)


def find_and_write(path: Path, tile: int, save: tuple[str, ...]) -> int:
    """The engine and the writers."""
    (source,) = open_sources(path)
    count = 0
    with source, tempfile.TemporaryDirectory(dir=path.parent) as out:
        show = DisplayRange.of(source)
        plan = TilePlan(source.size, tile=tile)
        writers = open_writers(save, out, source, display_range=show)
        for batch in find_objects(source, partial(partial, label_dark), plan, display_range=show):
            writers.write(*batch)
            count += len(batch[0])
        writers.close()
    return count


def measure(way: Callable[..., int], *args: object) -> Measurement:
    """CPU time and peak memory of a call, in a process of its own."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_measure, (way, args))


def _measure(way: Callable[..., int], args: tuple[object, ...]) -> Measurement:
    keep_freed_memory()  # as mmcell predict
    start = time.process_time()
    objects = way(*args)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measurement(time.process_time() - start, peak, objects)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--side', type=int, default=20000, help='pixels (default: 20000)')
    parser.add_argument('--tile', type=int, default=4096, help='side of a tile (default: 4096)')
    parser.add_argument('--save', default='labels,geojson,csv', help='writers of the last row')
    parser.add_argument('--dir', type=Path, help='for the slides and results')
    args = parser.parse_args()
    save = tuple(args.save.split(','))
    report = Report(
        f'{args.side} x {args.side} pixels and half of it, tiles of {args.tile}',
        *('way', 'side', 'objects', 'CPU time', 'over baseline', 'peak memory', '4 x area'),
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
                now = found[name, side] = measure(way, path, args.tile, *options)
                baseline, half = found['read + stub', side], found.get((name, side // 2))
                report.row(
                    name,
                    str(side),
                    str(now.objects),
                    f'{now.seconds:.1f} s',
                    f'{now.seconds / baseline.seconds - 1:+.0%}',
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
