"""What holds for every writer."""

import gc
import resource
import subprocess
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from mmcell.engine.errors import OutputError
from mmcell.inference.image_source import ArraySource
from mmcell.inference.writers import open_writers
from mmcell.inference.writers.opening import FORMATS
from mmcell.structures import FoundObjects

OPTIONAL = {'rois': 'roifile', 'parquet': 'pyarrow', 'ome-zarr': 'zarr'}


@pytest.fixture(params=list(FORMATS))
def name(request):
    if request.param in OPTIONAL:
        pytest.importorskip(OPTIONAL[request.param])
    return request.param


def files(folder):
    return [path for path in folder.rglob('*') if path.is_file()]


@pytest.fixture
def picture():
    """Random intensities, which no compression shrinks."""
    return np.random.default_rng(0).integers(0, 255, (600, 600, 1), dtype=np.uint8)


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    name, tmp_path, make_source, show, noisy, picture
):
    """A limit on the size of files stands for the disk: the system refuses the write alike."""
    found = FoundObjects.from_label_map(noisy(75, 75))
    writers = open_writers([name], tmp_path, make_source(picture), display_range=show)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OutputError, match='image.*: cannot be written: .*Make room'), writers:
            for start in range(0, 5000, 1000):
                writers.write(found[np.arange(start, start + 1000)], picture, (0, 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB, where this machine lets a test mount one."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f'cannot mount a small disk: {mounted.stderr.strip()}')
    yield disk
    subprocess.run(['umount', '--lazy', str(disk)], check=True)


def test_a_really_full_disk_leaves_what_was_complete(small_disk, make_source, squares):
    pixels = np.zeros((300, 300, 1), np.uint8)
    found = FoundObjects.from_label_map(squares((300, 300), 4, 2))
    with open_writers(['labels'], small_disk, make_source(pixels)) as writers:
        writers.write(found, pixels, (0, 0))
    writers = open_writers(['labels', 'csv', 'geojson'], small_disk, make_source(pixels))
    with pytest.raises(OutputError, match=r'image.*: cannot be written: No space left on device'):
        writers.write(found, pixels, (0, 0))
    assert len(files(small_disk)) == 3
    writers.discard()
    assert [path.name for path in files(small_disk)] == ['image.tif']


def test_memory_does_not_grow_with_the_number_of_objects(
    name, tmp_path, make_source, show, picture
):
    labels = np.arange(1, 226).reshape(15, 15).repeat(2, axis=0).repeat(2, axis=1)
    found = FoundObjects.from_label_map(labels)
    field = picture[:30, :30]
    source = make_source(np.tile(field, (1, 9, 1)))
    writers = open_writers([name], tmp_path, source, display_range=show)
    held = []
    with writers:
        tracemalloc.start()
        for k in range(9):
            batch = replace(found.moved(30 * k, 0), ids=found.ids + 225 * k)
            writers.write(batch, field, (30 * k, 0))
            if k in (4, 8):
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    per_object = (held[1] - held[0]) / (4 * 225)
    # The zip's table of contents is the exception that its writer states. Parquet holds up to
    # 50,000 rows. For the others, pandas keeps one or two kilobytes per batch.
    bound = {'rois': 500, 'parquet': 300}.get(name, 16)
    assert per_object < bound


def test_an_image_without_objects_and_one_of_a_pixel_get_every_file(
    name, tmp_path, make_source, show
):
    for size, found in (
        ((30, 20), FoundObjects.empty()),
        ((1, 1), FoundObjects.from_label_map(np.ones((1, 1), int))),
    ):
        pixels = np.zeros((*size, 5), np.float32)
        out = tmp_path / str(size)
        with open_writers([name], out, make_source(pixels), display_range=show) as writers:
            writers.write(found, pixels, (0, 0))
        (path,) = out.glob('*/*')
        assert path.name == f'image{FORMATS[name].ending}'


def test_a_source_and_nothing_else_is_enough(name, tmp_path, squares):
    """Classes and the display range have defaults; 16 bits, three channels, a pixel size."""
    array = np.random.default_rng(0).integers(0, 50_000, (60, 90, 3), dtype=np.uint16)
    source = ArraySource(array, 'image', mpp=0.5)
    with open_writers([name], tmp_path, source) as writers:
        writers.write(FoundObjects.from_label_map(squares((60, 90), 5, 4)), array, (0, 0))
    (path,) = tmp_path.glob('*/*')
    assert path.name == f'image{FORMATS[name].ending}'
