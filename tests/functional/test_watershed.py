import numpy as np
import pytest

from mmcell.functional.watershed import otsu_watershed


def discs(centres, radius, size=64):
    y, x = np.indices((size, size))
    return np.stack([np.hypot(y - row, x - col) <= radius for row, col in centres])


def test_touching_discs_are_split_and_specks_dropped():
    masks = discs([(20, 20), (20, 37), (48, 44)], 9)
    image = np.zeros((64, 64, 3), np.uint8)
    image[masks.any(0)] = 200
    image[60:62, 5:7] = 200
    labels = otsu_watershed(image)
    assert labels.max() == 3
    for mask in masks:
        best = np.bincount(labels[mask]).argmax()
        assert best > 0
        assert ((labels == best) & mask).sum() / ((labels == best) | mask).sum() > 0.85


@pytest.mark.parametrize('background', [(240, 240, 240), (230, 150, 210)])
def test_coloured_images_are_read_by_their_haematoxylin(background):
    image = np.empty((64, 64, 3), np.uint8)
    image[:] = background
    image[discs([(32, 32)], 12)[0]] = (90, 60, 150)
    labels = otsu_watershed(image)
    assert labels[32, 32] == 1
    assert labels[3, 3] == 0
    assert (labels > 0).sum() == pytest.approx(np.pi * 12.5**2, rel=0.15)
