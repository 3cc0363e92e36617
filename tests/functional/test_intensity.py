import numpy as np
import pytest

from mmcell.functional.intensity import display_limits, sample_windows, scale_to_uint8


def test_limits_are_percentiles_between_neighbouring_values():
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    # The 0.1 percentile of 0..4095 lies at 4095 / 1000.
    assert display_limits(ramp) == pytest.approx((4.095, 4090.905))
    assert display_limits(ramp, (0, 100)) == (0, 4095)


def test_limits_do_not_count_what_is_not_finite():
    values = np.array([np.nan, -np.inf, -2, 6, np.inf], np.float32)
    assert display_limits(values, (0, 100)) == (-2, 6)
    assert display_limits(values[:2]) == (0, 0)


def test_rare_outliers_alone_use_the_full_range():
    values = np.full(10000, 5, np.uint16)
    assert display_limits(values) == (5, 5)
    values[0] = 9
    assert display_limits(values) == (5, 9)


@pytest.mark.parametrize('percentiles', [(5, 5), (-1, 50), (0, 101), (99, 1), (1,)])
def test_percentiles_must_ascend_from_0_to_100(percentiles):
    with pytest.raises(ValueError, match='two ascending numbers in'):
        display_limits(np.zeros(3), percentiles)


@pytest.mark.parametrize('dtype', [np.int16, np.uint16, np.int32, np.uint32, np.float32])
def test_scaling_is_linear_rounded_and_clipped(dtype):
    # Two intensities per step of the result; from 100 to 100 + 2 * 255.
    values = np.array([0, 100, 200, 206, 610, 900]).astype(dtype)
    assert scale_to_uint8(values, 100, 610).tolist() == [0, 0, 50, 53, 255, 255]
    assert scale_to_uint8(values, 100, 609).tolist() == [0, 0, 50, 53, 255, 255]


def test_negative_and_not_finite_floats():
    values = np.array([-3, -1, 0.5, 1, np.nan, -np.inf, np.inf], np.float32)
    assert scale_to_uint8(values, -1, 1).tolist() == [0, 0, 191, 255, 0, 0, 255]


def test_wide_values_and_narrow_ranges_keep_their_steps():
    steps = np.array([0, 1, 3, 4])
    wide = (2**31 + steps).astype(np.uint32)
    assert scale_to_uint8(wide, 2**31, 2**31 + 4).tolist() == [0, 64, 191, 255]
    assert scale_to_uint8(steps * 1e-40, 0, 4e-40).tolist() == [0, 64, 191, 255]


def test_nothing_varies_is_black():
    assert scale_to_uint8(np.full((2, 3), 7, np.uint16), 7, 7).tolist() == [[0] * 3] * 2


def test_small_images_are_measured_whole_and_large_ones_all_over():
    assert sample_windows(30, 50) == [(0, 0, 50, 30)]
    height, width = 6400, 3200
    windows = np.array(sample_windows(height, width, max_pixels=2**16))
    areas = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
    assert len(windows) == 32 * 32 and 0.8 * 2**16 < areas.sum() <= 2**16
    assert (windows >= 0).all() and (windows[:, 2:] <= [width, height]).all()
    # One in the middle of each of 32 x 32 equal parts.
    centres = (windows[:, :2] + windows[:, 2:]) / 2
    assert np.abs(centres[:32, 0] - (np.arange(32) + 0.5) * 100).max() <= 1


def test_sample_stays_inside_narrow_images_and_those_that_are_hardly_too_large():
    hardly = [(2048, 8192 + extra) for extra in (1, 8, 64, 65)] + [(1024, 16385), (100, 200_000)]
    for size in ((1, 10**9), (10**9, 1), (3, 10**8), *hardly):
        windows = np.array(sample_windows(*size))
        areas = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
        assert 0 < areas.sum() <= 2**24
        assert (windows >= 0).all() and (windows[:, 2:] <= size[::-1]).all()
