from types import SimpleNamespace

import numpy as np
import pytest
import shapely

from mmcell.inference.intensity import DisplayRange
from mmcell.inference.writers import open_writers
from mmcell.structures import FoundObjects

ARGUMENTS_OF_SOURCE = ('name', 'channels', 'mpp')


@pytest.fixture(scope='session')
def make_source():
    """``make_source(pixels, name=..., channels=..., mpp=...)``: an image in memory."""

    def make_source(pixels, name='image', channels=None, mpp=None):
        def thumbnail(max_side, channels):
            step = -(-max(pixels.shape[:2]) // max_side)
            return pixels[::step, ::step, list(channels)]

        return SimpleNamespace(
            path=f'/folder/{name}.tif',
            name=name,
            size=pixels.shape[:2],
            channels=channels or [f'channel {k}' for k in range(1, pixels.shape[2] + 1)],
            shown=(0,),
            dtype=pixels.dtype,
            mpp=mpp,
            thumbnail=thumbnail,
        )

    return make_source


@pytest.fixture(scope='session')
def show():
    """The first channel as gray, as it is."""
    return DisplayRange((0,), None)


@pytest.fixture(scope='session')
def save(make_source, show):
    """``save(objects_or_label_map, names, out, ...)`` writes one image in batches of 100 objects.

    Each batch comes with the window that just covers it. Further arguments are those of the source
    and of ``open_writers``.
    """

    def save(found, names, out, *, pixels=None, size=None, batch=100, **options):
        if isinstance(found, np.ndarray):
            found, size = FoundObjects.from_label_map(found), found.shape
        pixels = np.zeros((*size, 1), np.uint8) if pixels is None else pixels
        known = {key: options.pop(key) for key in ARGUMENTS_OF_SOURCE if key in options}
        source = make_source(pixels, **known)
        options.setdefault('display_range', show)
        with open_writers(names, out, source, **options) as writers:
            for start in range(0, len(found), batch):
                some = found[np.arange(start, min(start + batch, len(found)))]
                x1, y1 = some.boxes[:, :2].min(axis=0).tolist()
                x2, y2 = some.boxes[:, 2:].max(axis=0).tolist()
                writers.write(some, pixels[y1:y2, x1:x2], (x1, y1))
        return out

    return save


@pytest.fixture(scope='session')
def squares():
    """``squares(size, side, gap)``: a label map of squares on a grid, ids in reading order."""

    def squares(size, side, gap):
        y, x = np.mgrid[: size[0], : size[1]]
        columns = -(-size[1] // (side + gap))
        number = y // (side + gap) * columns + x // (side + gap) + 1
        return np.where((y % (side + gap) < side) & (x % (side + gap) < side), number, 0)

    return squares


@pytest.fixture(scope='session')
def noisy():
    """``noisy(rows, columns, side)``: a label map of random shapes with pieces and holes."""

    def noisy(rows, columns, side=8):
        rng = np.random.default_rng(0)
        density = rng.uniform(0.3, 0.95, (rows, columns))
        density = np.kron(density, np.ones((side, side)))
        numbers = np.arange(1, rows * columns + 1).reshape(rows, columns)
        full = np.kron(numbers, np.ones((side, side), int))
        return np.where(rng.random(full.shape) < density, full, 0)

    return noisy


@pytest.fixture(scope='session')
def rings_to_mask():
    """``rings_to_mask(rings, size)``: pixels whose centre is in an odd number of rings."""

    def rings_to_mask(rings, size):
        y, x = np.mgrid[: size[0], : size[1]] + 0.5
        inside = [shapely.contains_xy(shapely.Polygon(ring), x, y) for ring in rings]
        return np.logical_xor.reduce(inside)

    return rings_to_mask


@pytest.fixture(scope='session')
def odd_shapes():
    """1: a ring. 2: in its hole. 3: two pieces that meet in a corner. 4: one far pixel."""
    return np.array(
        [
            [1, 1, 1, 1, 1, 0, 0],
            [1, 0, 0, 0, 1, 3, 0],
            [1, 0, 2, 0, 1, 0, 3],
            [1, 0, 0, 0, 1, 0, 3],
            [1, 1, 1, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 4],
        ]
    )
