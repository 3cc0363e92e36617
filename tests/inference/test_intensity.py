import pickle

import numpy as np
import pytest
import tifffile

from mmcell.datasets.image_io import read_image
from mmcell.functional.intensity import sample_windows
from mmcell.inference import intensity
from mmcell.inference.image_source import ArraySource
from mmcell.inference.intensity import DisplayRange, sample_pixels
from mmcell.inference.sources import open_sources

RNG = np.random.default_rng(0)


def show(source, **options):
    height, width = source.size
    with source:
        return DisplayRange.of(source, **options).to_rgb8(source.read(0, 0, width, height))


@pytest.mark.parametrize('shape', [(60, 70), (60, 70, 3), (60, 70, 4)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_network_sees_the_same_in_training_and_in_prediction(tmp_path, shape, dtype):
    # Skewed, as fluorescence is, 12 bits in 16.
    image = np.minimum(RNG.exponential(300, shape), 4095).astype(dtype)
    colour = dict(photometric='rgb', extrasamples=['unassalpha'] * (shape[-1] == 4))
    tifffile.imwrite(tmp_path / 'a.tif', image, **(colour if len(shape) == 3 else {}))
    (source,) = open_sources(tmp_path / 'a.tif')
    np.testing.assert_array_equal(show(source), read_image(tmp_path / 'a.tif'))


def test_samples_of_large_images_are_the_same_in_training_and_in_prediction(tmp_path, monkeypatch):
    image = RNG.exponential(300, (600, 700)).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', image)
    (source,) = open_sources(tmp_path / 'a.tif')
    whole = read_image(tmp_path / 'a.tif')
    monkeypatch.setattr(sample_windows, '__defaults__', (4096,))
    monkeypatch.setattr(sample_pixels, '__defaults__', (4096,))
    sampled = read_image(tmp_path / 'a.tif')
    assert (sampled != whole).any()
    np.testing.assert_array_equal(show(source), sampled)


def test_limits_are_those_of_the_whole_image_not_of_the_part_that_is_shown():
    image = np.zeros((100, 100), np.uint16)
    image[:50] = 1000
    display = DisplayRange.of(ArraySource(image))
    assert (display.to_rgb8(image[60:70, :10, None]) == 0).all()
    assert (display.to_rgb8(image[:10, :10, None]) == 255).all()  # alone it would be black


def test_eight_bits_stay_and_boolean_is_black_and_white():
    image = RNG.integers(50, 60, (9, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(show(ArraySource(image)), image)
    np.testing.assert_array_equal(show(ArraySource(image[:, :, 0])), image[:, :, [0, 0, 0]])
    mask = image > 55
    np.testing.assert_array_equal(show(ArraySource(mask)), np.where(mask, 255, 0))


def test_colours_share_limits_and_channels_have_their_own():
    image = np.zeros((100, 100, 3), np.uint16)
    image[:, 50:] = 1000, 2000, 4000
    assert show(ArraySource(image))[0, 99].tolist() == [64, 128, 255]
    assert show(ArraySource(image, axes='YXC'))[0, 99].tolist() == [255, 255, 255]


def test_chosen_channels_become_gray_or_red_and_green_and_blue():
    image = np.zeros((5, 100, 100), np.uint16)
    image[:, :, 50:] = np.arange(5)[:, None, None] + 1
    image[4, :, 50:] = 0  # an empty channel

    def colours(channels):
        return show(ArraySource(image, axes='CYX', channels=channels))[0, [0, 99]].tolist()

    assert colours([2]) == [[0, 0, 0], [255, 255, 255]]
    assert colours([5, 1]) == [[0, 0, 0], [0, 255, 0]]
    assert colours([1, 5, 2]) == [[0, 0, 0], [255, 0, 255]]


def test_negative_and_missing_floats():
    image = np.linspace(-1, 1, 10201).reshape(101, 101).astype(np.float32)
    shown = show(ArraySource(image))[:, :, 0]
    assert (shown[0, 0], shown[100, 100]) == (0, 255) and shown[50, 50] in (127, 128)  # 127.5
    image[50, 50] = np.nan
    image[0, 0] = -np.inf
    with_gaps = show(ArraySource(image))[:, :, 0]
    assert with_gaps[50, 50] == 0
    assert np.abs(with_gaps.astype(int) - shown)[51:].max() <= 1
    assert (show(ArraySource(np.full((3, 3), np.nan))) == 0).all()


def test_percentiles_can_be_chosen_and_are_checked_before_anything_is_read():
    image = np.arange(101, dtype=np.int32).reshape(1, 101)
    shown = show(ArraySource(image), percentiles=(10, 90))[0, :, 0]
    assert (shown[:11] == 0).all() and (shown[90:] == 255).all() and 0 < shown[11] < shown[89]
    with pytest.raises(ValueError, match='percentiles must be two ascending numbers'):
        DisplayRange.of(ArraySource(image.astype(np.uint8)), percentiles=(90, 10))


def test_range_travels_to_workers():
    display_range = DisplayRange.of(ArraySource(np.arange(9, dtype=np.uint16).reshape(3, 3)))
    assert pickle.loads(pickle.dumps(display_range)) == display_range


def test_sample_in_bands_is_the_whole_image_of_the_channels_asked_for(monkeypatch):
    image = RNG.integers(0, 999, (61, 40, 5), dtype=np.uint16)
    source = ArraySource(image, axes='YXC', channels=[1])
    monkeypatch.setattr(intensity, '_BAND_VALUES', 7 * 40 * 5 + 3)
    read, sides = source.read, []
    monkeypatch.setattr(source, 'read', lambda *box: sides.append(box[3] - box[1]) or read(*box))
    np.testing.assert_array_equal(sample_pixels(source, [4, 2]), image[:, :, [4, 2]].reshape(-1, 2))
    assert max(sides) == 7 and sum(sides) == 61
