"""Files of results: processor time of each kind, and memory that does not grow with the objects.

Round objects of some 600 pixels, 1,024 in each window of 1024 x 1024 pixels, three channels. A kind
of file alone pays for what several of them share (outlines, measurements); the last row is what
they cost together. The baseline of the table is ``skimage.measure.regionprops_table`` with the same
properties.

    python benchmarks/writers.py                     # 100,000 objects: some minutes
    python benchmarks/writers.py --objects 400000    # a slide of 20000 x 20000 pixels
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from common import MIB, Report, parse_options, peak_extra_memory
from scipy import ndimage
from skimage.measure import regionprops_table

from mmcell.inference.intensity import DisplayRange
from mmcell.inference.writers import open_writers
from mmcell.inference.writers.opening import FORMATS
from mmcell.structures import FoundObjects

SIDE, PITCH = 1024, 32
PER_WINDOW = (SIDE // PITCH) ** 2
TOGETHER = ['labels', 'geojson', 'csv']
MIN_SPEEDUP = 4.0
MAX_GROWTH = 16 * MIB
PROPERTIES = [
    *('label', 'area', 'bbox', 'centroid', 'perimeter', 'axis_major_length', 'axis_minor_length'),
    *('eccentricity', 'solidity', 'intensity_mean', 'intensity_min', 'intensity_max'),
    'intensity_std',
]


def make_window() -> tuple[np.ndarray, np.ndarray]:
    """A label map of round objects and random pixels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    number = y // PITCH * (SIDE // PITCH) + x // PITCH
    radii = rng.uniform(12, 15.5, (2, PER_WINDOW))
    dy, dx = (y % PITCH - 15.5) / radii[0][number], (x % PITCH - 15.5) / radii[1][number]
    uneven = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 3)
    edge = 1 + 0.1 * uneven / uneven.std()
    labels = np.where(dy**2 + dx**2 < edge, number + 1, 0)
    return labels, rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)


def writing(names: list[str], num_windows: int) -> Callable[[], int]:
    """What writes ``num_windows`` side by side in rows, and returns the bytes written."""
    labels, pixels = make_window()
    found = FoundObjects.from_label_map(labels)
    columns = int(np.ceil(num_windows**0.5))
    side = columns * SIDE
    shrunk = np.zeros((512, 512, 3), np.uint8)
    source = SimpleNamespace(
        path='slide.tif',
        name='slide',
        size=(side, side),
        channels=('red', 'green', 'blue'),
        shown=(0, 1, 2),
        dtype=pixels.dtype,
        mpp=0.25,
        thumbnail=lambda max_side, channels: np.resize(shrunk, (min(side, max_side),) * 2 + (3,)),
    )
    show = DisplayRange((0, 1, 2), None)

    def write() -> int:
        with tempfile.TemporaryDirectory() as folder:
            with open_writers(names, folder, source, display_range=show) as writers:
                for k in range(num_windows):
                    corner = (k % columns * SIDE, k // columns * SIDE)
                    moved = replace(
                        found,
                        boxes=found.boxes + np.array([*corner, *corner]),
                        ids=found.ids + k * PER_WINDOW,
                    )
                    writers.write(moved, pixels, corner)
            return sum(path.stat().st_size for path in Path(folder).rglob('*') if path.is_file())

    return write


def processor_seconds(function: Callable[[], object]) -> tuple[float, object]:
    """CPU time of a call, and what it returns: other work on the machine counts little."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--objects', type=int, default=100_000, help='of the last row')
    args, threads = parse_options(parser)
    report = Report('Writing objects of 600 pixels', 'kind', 'CPU s / 1,000', 'bytes / object')

    labels, pixels = make_window()
    baseline, _ = processor_seconds(
        lambda: regionprops_table(labels, pixels, properties=PROPERTIES)
    )
    report.row('regionprops_table', f'{baseline / PER_WINDOW * 1000:.2f}', '-')
    for name in FORMATS:
        write = writing([name], 4)
        write()
        seconds, size = processor_seconds(write)
        count = 4 * PER_WINDOW
        report.row(name, f'{seconds / count * 1000:.2f}', f'{size / count:.0f}')
        if name == 'csv':
            speedup = baseline * 4 / seconds
    report.target(
        f'csv {speedup:.1f} times as fast as regionprops_table alone (>= {MIN_SPEEDUP:g})',
        speedup >= MIN_SPEEDUP,
    )

    num_windows = -(-args.objects // PER_WINDOW)
    seconds, size = processor_seconds(writing(TOGETHER, num_windows))
    count = num_windows * PER_WINDOW
    name = f'{"+".join(TOGETHER)}, {count:,} objects in {seconds:.0f} s'
    report.row(name, f'{seconds / count * 1000:.2f}', f'{size / count:.0f}')

    few, many = (
        peak_extra_memory(writing, TOGETHER, windows, threads=threads)
        for windows in (num_windows // 4, num_windows)
    )
    report.target(
        f'peak memory {few / MIB:.0f} MiB at a quarter of the objects, {many / MIB:.0f} MiB at all '
        f'(growth <= {MAX_GROWTH / MIB:.0f} MiB)',
        many - few <= MAX_GROWTH,
    )
    report.finish()


if __name__ == '__main__':
    main()
