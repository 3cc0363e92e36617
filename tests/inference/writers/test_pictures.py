from dataclasses import replace

import cv2
import numpy as np

from mmcell.inference.writers import pictures
from mmcell.structures import FoundObjects
from mmcell.visualization.overlay import overlay_objects

OVERLAY, THUMBNAIL = 'overlays/image.png', 'thumbnails/image.png'


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def test_the_overlay_of_a_small_image_is_that_of_its_label_map(tmp_path, save, squares):
    labels = squares((600, 700), 40, 9)
    pixels = np.random.default_rng(0).integers(0, 200, (600, 700, 1), dtype=np.uint8)
    save(labels, ['overlay'], tmp_path, pixels=pixels, batch=17)
    expected = overlay_objects(pixels.repeat(3, axis=2), labels, 'image')
    assert (read(tmp_path / OVERLAY) == expected).all()


def test_a_large_image_is_shrunk_with_its_objects(tmp_path, save, squares, monkeypatch):
    monkeypatch.setattr(pictures, '_OVERLAY_SIDE', 600)
    labels = squares((900, 1200), 40, 10)
    save(labels, ['overlay'], tmp_path, batch=50)
    expected = overlay_objects(
        np.zeros((450, 600, 3), np.uint8), labels[1::2, 1::2], 'image', count=18 * 24
    )
    assert (read(tmp_path / OVERLAY) == expected).all()


def test_objects_too_small_to_see_are_counted(tmp_path, save, squares, monkeypatch):
    monkeypatch.setattr(pictures, '_OVERLAY_SIDE', 512)
    labels = squares((1024, 1024), 1, 31)  # at even rows and columns, which are not shown
    save(labels, ['overlay'], tmp_path, batch=1024)
    expected = overlay_objects(
        np.zeros((512, 512, 3), np.uint8), np.zeros((512, 512), int), 'image', count=1024
    )
    assert (read(tmp_path / OVERLAY) == expected).all()


def test_several_classes_have_their_own_colours_and_a_legend(tmp_path, save, squares):
    labels = np.pad(squares((600, 600), 90, 10), 5)
    found = FoundObjects.from_label_map(labels)
    found = replace(found, classes=np.arange(36) % 2)
    palette = [(250, 10, 20), (20, 30, 240)]
    options = dict(classes=['tumor', 'stroma'], palette=palette)
    save(found, ['overlay'], tmp_path, size=(610, 610), batch=7, **options)
    picture = read(tmp_path / OVERLAY)
    coloured = (picture.max(axis=2).astype(int) - picture.min(axis=2)) > 50
    seen, counts = np.unique(picture[coloured], axis=0, return_counts=True)
    assert seen.tolist() == sorted(map(list, palette))
    outline, swatch = 4 * 90 - 4, 17 * 17
    assert counts.tolist() == [18 * outline + swatch] * 2


def test_the_thumbnail_shows_the_image_alone(tmp_path, save):
    pixels = np.arange(40, dtype=np.uint8).reshape(5, 8, 1)
    save(np.ones((5, 8), int), ['thumbnail'], tmp_path, pixels=pixels)
    assert (read(tmp_path / THUMBNAIL) == pixels).all()
    save(np.zeros((600, 1100), int), ['thumbnail'], tmp_path)
    assert max(read(tmp_path / THUMBNAIL).shape) <= 512


def test_one_pixel_and_no_objects(tmp_path, save):
    for value in (0, 1):
        save(np.full((1, 1), value), ['overlay', 'thumbnail'], tmp_path)
        assert read(tmp_path / THUMBNAIL).shape == (1, 1, 3)
        assert read(tmp_path / OVERLAY) is not None
