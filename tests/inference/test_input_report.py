from pathlib import Path

import numpy as np
import pytest

from mmcell.inference.image_source import ArraySource
from mmcell.inference.input_report import describe


def test_report_says_what_was_read_and_measures_each_channel():
    image = np.stack([np.arange(101), np.arange(101) * 10], axis=-1).astype(np.uint16)[None]
    report = describe(ArraySource(image, 'a', mpp=0.5, axes='YXC', channels=[2]), (10, 90))
    assert report._asdict() == dict(
        path=Path('a'),
        name='a',
        size=(1, 101),
        axes='YXC',
        dtype='uint16',
        mpp=0.5,
        channels=('channel 1', 'channel 2'),
        shown=('channel 2',),
        minimum=(0, 0),
        maximum=(100, 1000),
        low=(10, 100),
        high=(90, 900),
        is_sampled=False,
    )


def test_eight_bits_and_boolean_are_measured_too():
    assert describe(ArraySource(np.array([[3, 9]], np.uint8))).maximum == (9,)
    assert describe(ArraySource(np.array([[True, False]]))).maximum == (1,)


def test_large_images_are_sampled_and_values_that_are_not_finite_left_out():
    image = np.full((1200, 1100), 7, np.float32)
    image[::2] = np.nan
    report = describe(ArraySource(image))
    assert report.is_sampled and report.minimum == report.maximum == (7,)
    nothing = describe(ArraySource(np.full((2, 2), np.inf)))
    assert np.isnan([*nothing.minimum, *nothing.high]).all()


def test_percentiles_are_checked():
    with pytest.raises(ValueError, match='percentiles must be two ascending'):
        describe(ArraySource(np.zeros((2, 2))), (50, 50))
