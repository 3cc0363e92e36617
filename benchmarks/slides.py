"""A generated slide, and what finds its objects in place of a network."""

from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from scipy import ndimage

from mmcell.structures import FoundObjects

FIELD = 512  # pixels
NUCLEUS = 32  # pixels from one to the next


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
