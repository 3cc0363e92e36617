import tracemalloc

import numpy as np
import tifffile

from mmcell.inference import tiff_array
from mmcell.inference.sources import open_sources


def write_large(path, **options):
    """8192 x 8192, 128 MiB of pixels in a file of a few."""
    rows, columns = options['tile']
    tile = np.add.outer(np.arange(rows), np.arange(columns)).astype(np.uint16)
    count = (8192 // rows) * (8192 // columns)
    tifffile.imwrite(
        path, (tile for _ in range(count)), shape=(8192, 8192), dtype=np.uint16, **options
    )


def test_memory_is_that_of_the_region_not_of_the_image(tmp_path, monkeypatch):
    write_large(tmp_path / 'a.tif', tile=(256, 256), compression='zlib')
    monkeypatch.setattr(tiff_array.SegmentCache.__init__, '__defaults__', (4 * 2**20,))
    tracemalloc.start()
    try:
        (source,) = open_sources(tmp_path / 'a.tif')
        with source:
            region = source.read(5000, 6000, 5512, 6512)
            peak = tracemalloc.get_traced_memory()[1]
            # Half a MiB as stored, 9 tiles of 1/8 MiB around it, a copy.
            assert peak < 4 * 2**20
            # 5000 and 6000 are 136 and 112 beyond a tile's corner.
            assert region[0, 0, 0] == 136 + 112
            assert source.thumbnail(512).shape == (512, 512, 1)
            # Windows of 1024 x 1024 in float64, twice, and the result.
            assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_strips_are_decoded_once_for_regions_side_by_side(tmp_path, monkeypatch):
    image = np.zeros((200, 170), np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', image, compression='zlib', rowsperstrip=10)
    decoded = []
    put = tiff_array.SegmentCache.put
    monkeypatch.setattr(
        tiff_array.SegmentCache,
        'put',
        lambda self, offset, segment: decoded.append(offset) or put(self, offset, segment),
    )
    (source,) = open_sources(tmp_path / 'a.tif')
    with source:
        for x in range(0, 170, 34):
            source.read(x, 0, x + 34, 100)
    assert len(decoded) == len(set(decoded)) == 10


def test_cache_drops_what_was_not_used_for_longest_but_never_the_last():
    cache = tiff_array.SegmentCache(max_bytes=25)
    for offset in (1, 2):
        cache.put(offset, np.zeros(10, np.uint8))
    assert cache.get(1) is not None
    cache.put(3, np.zeros(10, np.uint8))
    assert [cache.get(offset) is not None for offset in (1, 2, 3)] == [True, False, True]
    cache.put(4, np.zeros(26, np.uint8))
    assert [cache.get(offset) is not None for offset in (1, 3, 4)] == [False, False, True]
