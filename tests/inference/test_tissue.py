import cv2
import numpy as np
import pytest

from mmcell.inference.image_source import ArraySource
from mmcell.inference.tissue import tissue_mask

RNG = np.random.default_rng(0)
PINK, PALE, PURPLE = (225, 150, 190), (240, 222, 234), (110, 60, 140)


def slide(ground=(243, 242, 244), noise=4, **regions):
    """600 x 900 pixels of glass with discs of stain, as a scanner sees it after JPEG."""
    image = np.full((600, 900, 3), ground, np.float64)
    image += RNG.normal(0, noise, image.shape)
    for centre, radius, colour in regions.values():
        texture = RNG.normal(0, 10, image.shape)
        mask = cv2.circle(np.zeros((600, 900), np.uint8), centre, radius, 1, -1) > 0
        image[mask] = (np.array(colour) * ground / 250 + texture)[mask]  # light passes both
    image = np.clip(image, 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode('.jpg', image)[1], cv2.IMREAD_COLOR)


def disc(centre, radius, shape=(600, 900)):
    return cv2.circle(np.zeros(shape, np.uint8), centre, radius, 1, -1) > 0


def stretched(mask, shape=(600, 900)):
    return cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


@pytest.mark.parametrize('ground', [(250, 250, 250), (243, 242, 244), (228, 226, 222)])
def test_tissue_is_found_whole_and_glass_is_left_out(ground):
    image = slide(
        ground,
        strong=((200, 200), 120, PURPLE),
        pink=((600, 150), 90, PINK),
        pale=((500, 450), 80, PALE),
    )
    mask = stretched(tissue_mask(ArraySource(image), max_side=300))
    discs = (((200, 200), 120), ((600, 150), 90), ((500, 450), 80))
    inside = np.any([disc(*d) for d in discs], axis=0)
    # Of the pale disc nothing but its rim may be missed; the margin is 2 of 300 pixels, and a pixel
    # of the thumbnail is 3 of the slide.
    around = np.any([disc(centre, radius + 18) for centre, radius in discs], axis=0)
    assert mask[inside].mean() > 0.995
    assert mask[~around].mean() < 0.01


def test_small_piece_is_not_lost():
    mask = tissue_mask(ArraySource(slide(piece=((450, 300), 7, PURPLE))), max_side=300)
    assert mask[100, 150] and mask.mean() < 0.02


def test_pigment_without_colour_is_tissue():
    image = slide(pink=((200, 200), 90, PINK), black=((600, 400), 60, (60, 60, 60)))
    assert tissue_mask(ArraySource(image), max_side=300)[400 // 3, 200]


@pytest.mark.parametrize(
    'image',
    [
        slide((20, 15, 30), stain=((300, 300), 100, (60, 200, 60))),  # fluorescence in colours
        slide(PINK),  # tissue all over
        slide((180, 170, 190), stain=((300, 300), 100, PURPLE)),  # ground that is not white
        slide(noise=0),  # nothing at all
        slide()[:, :, 0],  # gray
    ],
    ids=['fluorescence', 'full', 'dark', 'blank', 'gray'],
)
def test_everything_is_tissue_where_glass_cannot_be_told(image):
    mask = tissue_mask(ArraySource(image), max_side=300)
    assert mask.shape == (200, 300) and mask.all()


def test_separate_channels_are_no_stain():
    image = slide(pink=((200, 200), 90, PINK))
    assert tissue_mask(ArraySource(image, axes='YXC')).all()
    assert not tissue_mask(ArraySource(image)).all()


def test_sixteen_bits_show_the_same_tissue():
    image = slide(pink=((200, 200), 90, PINK), dark=((600, 300), 60, PURPLE))
    eight = tissue_mask(ArraySource(image), max_side=300)
    sixteen = tissue_mask(ArraySource(image.astype(np.uint16) * 16), max_side=300)
    assert (eight != sixteen).mean() < 0.01
