from types import SimpleNamespace

import numpy as np
import pytest

from mmcell.inference.writers import open_writers
from mmcell.structures import FoundObjects


@pytest.fixture(scope='session')
def make_source():
    """``make_source(pixels, name=..., channels=..., mpp=...)``: an image in memory."""

    def make_source(pixels, name='image', channels=None, mpp=None):
        channels = channels or [f'channel {k}' for k in range(1, pixels.shape[2] + 1)]
        size = pixels.shape[:2]
        return SimpleNamespace(name=name, size=size, channels=channels, dtype=pixels.dtype, mpp=mpp)

    return make_source


@pytest.fixture(scope='session')
def save(make_source):
    """``save(objects_or_label_map, names, out, ...)`` writes one image in batches of 100 objects.

    Each batch comes with the window that just covers it. Further arguments are those of the source
    and of ``open_writers``.
    """

    def save(found, names, out, *, pixels=None, size=None, batch=100, **options):
        if isinstance(found, np.ndarray):
            found, size = FoundObjects.from_label_map(found), found.shape
        pixels = np.zeros((*size, 1), np.uint8) if pixels is None else pixels
        known = {key: options.pop(key) for key in ('name', 'channels', 'mpp') if key in options}
        source = make_source(pixels, **known)
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
