import pickle
import threading
import time

import numpy as np
import pytest

from mmcell.inference.image_source import ArraySource

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (50, 40, 3), dtype=np.uint8)


def test_region_is_that_of_the_array_with_its_channels_last():
    planar = np.ascontiguousarray(np.moveaxis(RGB, -1, 0))
    for array, axes in ((RGB, None), (planar, 'CYX'), (planar, 'syx'), (planar[:, None], 'SZYX')):
        source = ArraySource(array, 'a', axes=axes)
        assert source.size == (50, 40)
        np.testing.assert_array_equal(source.read(3, 4, 10, 20), RGB[4:20, 3:10])
    assert ArraySource(RGB[:, :, 0]).read(0, 0, 1, 1).shape == (1, 1, 1)


def test_alpha_is_dropped():
    source = ArraySource(np.dstack([RGB, RGB[:, :, 0]]))
    assert source.channels == ('red', 'green', 'blue')
    np.testing.assert_array_equal(source.read(0, 0, 40, 50), RGB)


def test_five_channels_are_all_read_and_the_chosen_ones_shown():
    array = RNG.integers(0, 9, (5, 6, 7), dtype=np.uint16)
    source = ArraySource(array, axes='CYX', channels=[5, 'channel 1'])
    assert source.shown == (4, 0)
    np.testing.assert_array_equal(source.read(0, 0, 7, 6), np.moveaxis(array, 0, -1))


def test_copy_in_another_process_reads_the_same():
    source = ArraySource(RGB, 'a', mpp=0.5)
    with pickle.loads(pickle.dumps(source)) as copy:
        assert (copy.name, copy.mpp, copy.axes) == ('a', 0.5, 'YXS')
        np.testing.assert_array_equal(copy.read(0, 0, 40, 50), RGB)


def test_threads_that_share_an_image_wait_for_each_other():
    """OpenSlide, for one, does not survive it if a slide is closed while it is read."""

    class Slow(ArraySource):
        inside = most = 0

        def _read_level(self, *region):
            return self._alone(super()._read_level, *region)

        def _close(self):
            self._alone(super()._close)

        def _alone(self, do, *args):
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.01)
            result = do(*args)
            self.inside -= 1
            return result

    source = Slow(RGB)
    doings = [lambda: source.read(0, 0, 9, 9), source.close, lambda: source.thumbnail(9)] * 3
    threads = [threading.Thread(target=do) for do in doings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (source.most, source.inside) == (1, 0)


@pytest.mark.parametrize('region', [(0, 0, 41, 50), (-1, 0, 5, 5), (3, 3, 3, 9), (0, 0, 5, 51)])
def test_region_outside_the_image_is_refused(region):
    with pytest.raises(ValueError, match='is not inside the image of width 40 and height 50'):
        ArraySource(RGB).read(*region)


def test_one_pixel_is_an_image():
    source = ArraySource(np.array([[7]], np.uint8))
    assert source.read(0, 0, 1, 1).tolist() == [[[7]]]
    assert source.thumbnail(100).tolist() == [[[7]]]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32, np.float32])
def test_thumbnail_averages_the_pixels_it_covers(dtype):
    array = np.arange(24).reshape(4, 6).astype(dtype)
    # Means of 0 1 6 7, 2 3 8 9, ...: half a pixel between two integers rounds to the even one.
    expected = np.array([[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])
    thumbnail = ArraySource(array).thumbnail(3)
    assert thumbnail.dtype == dtype
    expected = expected if dtype == np.float32 else np.rint(expected)
    np.testing.assert_array_equal(thumbnail[:, :, 0], expected)


def test_thumbnail_of_an_odd_size_keeps_the_shape_and_the_mean():
    array = RNG.random((2050, 1033)).astype(np.float32)
    thumbnail = ArraySource(array).thumbnail(100)
    assert thumbnail.shape == (100, 50, 1)  # 1033 * 100 / 2050 = 50.4
    assert thumbnail.mean() == pytest.approx(array.mean(), abs=2e-3)
    # The image's left half is in the thumbnail's left half.
    array[:, :516] += 5
    halves = ArraySource(array).thumbnail(100)
    assert halves[:, :24].min() > 5 and halves[:, 26:].max() < 1


def test_thumbnail_of_some_channels():
    array = RNG.integers(0, 255, (40, 50, 3), dtype=np.uint16)
    source = ArraySource(array, axes='YXC')
    np.testing.assert_array_equal(source.thumbnail(20, [2, 1]), source.thumbnail(20)[..., [2, 1]])


def test_boolean_thumbnail_shows_the_majority():
    array = np.zeros((4, 4), bool)
    array[:2, :2] = array[2, 2] = True
    assert ArraySource(array).thumbnail(2)[:, :, 0].tolist() == [[True, False], [False, False]]


def test_arrays_that_are_no_single_image_are_refused():
    with pytest.raises(ValueError, match=r'holds 4 images along Z, its shape is \(4, 8, 9\)'):
        ArraySource(np.zeros((4, 8, 9)), axes='ZYX')
    with pytest.raises(ValueError, match='pixels are complex128'):
        ArraySource(np.zeros((8, 9), complex))
    with pytest.raises(ValueError, match=r'mpp \(microns per pixel\) is 0'):
        ArraySource(RGB, mpp=0)
