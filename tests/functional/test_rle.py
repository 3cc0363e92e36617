import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from mmcell.functional.rle import (
    counts_to_rle,
    label_map_to_rles,
    rle_to_counts,
    rles_to_label_layers,
    rles_to_label_map,
)


def encode(mask):
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


def naive_counts(mask):
    """Run lengths by walking down the columns, one pixel at a time."""
    counts, value = [0], 0
    for pixel in np.asarray(mask).T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def corner_mask(shape, rows, columns):
    mask = np.zeros(shape, dtype=bool)
    mask[rows, columns] = True
    return mask


RNG = np.random.default_rng(0)
MASKS = {
    'empty': np.zeros((5, 7), bool),
    'full frame': np.ones((5, 7), bool),
    'first pixel': corner_mask((5, 7), 0, 0),
    'last pixel': corner_mask((5, 7), -1, -1),
    'one pixel': corner_mask((5, 7), 2, 3),
    'one row': corner_mask((1, 9), 0, slice(2, 5)),
    'one column': corner_mask((9, 1), slice(2, 5), 0),
    'one-pixel image': np.ones((1, 1), bool),
    'noise': RNG.random((31, 17)) < 0.5,
    'long runs': corner_mask((700, 900), slice(None), slice(100, 850)),
    'distant pixels': corner_mask((700, 900), [3, 650], [5, 880]),
}
masks = pytest.mark.parametrize('mask', MASKS.values(), ids=MASKS.keys())


@masks
def test_counts_are_those_of_a_walk_down_the_columns(mask):
    assert rle_to_counts(encode(mask)).tolist() == naive_counts(mask)


@masks
def test_compressed_counts_are_byte_for_byte_those_of_pycocotools(mask):
    assert counts_to_rle(naive_counts(mask), mask.shape) == encode(mask)


def test_text_and_plain_counts_are_read_like_bytes():
    rle = encode(MASKS['noise'])
    plain = {'size': rle['size'], 'counts': naive_counts(MASKS['noise'])}
    text = {'size': rle['size'], 'counts': rle['counts'].decode()}
    np.testing.assert_array_equal(rle_to_counts(text), rle_to_counts(rle))
    np.testing.assert_array_equal(rle_to_counts(plain), rle_to_counts(rle))


@pytest.mark.parametrize('counts', [[3, 4], [10, -4], [], [7]])
def test_counts_that_do_not_fill_the_mask_are_refused(counts):
    with pytest.raises(ValueError, match=r'add up to 2 \* 3 = 6 pixels'):
        counts_to_rle(counts, (2, 3))


@pytest.mark.parametrize('counts', [b'', b'5', b'o', b'o\x7f'])
def test_malformed_rle_is_refused_with_its_index(counts):
    good = encode(np.ones((2, 3)))
    with pytest.raises(ValueError, match='mask 1: run lengths'):
        rles_to_label_layers([good, {'size': [2, 3], 'counts': counts}], (2, 3))


@given(
    arrays.arrays(
        np.int16,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.sampled_from([0, 1, 2, 700]),
    )
)
def test_every_object_of_a_label_map_gets_the_rle_of_its_own_mask(label_map):
    ids, rles = label_map_to_rles(label_map)
    assert ids.tolist() == [i for i in np.unique(label_map) if i]
    assert rles == [encode(label_map == i) for i in ids]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32, np.int64, np.uint64])
def test_ids_of_any_integer_type_survive(dtype):
    label_map = np.array([[0, 200], [200, 3]], dtype=dtype)
    ids, rles = label_map_to_rles(label_map)
    assert ids.tolist() == [3, 200]
    assert rles[1] == encode([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    'label_map', [np.zeros((2, 2)), np.zeros((2, 2), bool), np.zeros(4, int), np.full((2, 2), -1)]
)
def test_what_is_no_label_map_is_refused(label_map):
    with pytest.raises(ValueError, match='label_map must be'):
        label_map_to_rles(label_map)


def test_label_map_without_objects_gives_no_rle():
    ids, rles = label_map_to_rles(np.zeros((4, 6), np.uint8))
    assert ids.shape == (0,)
    assert rles == []


def test_300_objects_there_and_back():
    label_map = np.kron(RNG.permutation(301).reshape(7, 43), np.ones((6, 4), dtype=np.int64))
    ids, rles = label_map_to_rles(label_map)
    assert ids.tolist() == list(range(1, 301))
    layers = rles_to_label_layers(rles, label_map.shape)
    assert layers.dtype == np.int32
    np.testing.assert_array_equal(layers, label_map[None])


def random_overlapping_masks(number, shape=(40, 50)):
    rng = np.random.default_rng(number)
    found = np.zeros((number, *shape), bool)
    for mask in found:
        y, x = rng.integers(0, shape[0] - 4), rng.integers(0, shape[1] - 4)
        mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = True
    return found


@pytest.mark.parametrize('number', [0, 1, 2, 40, 300])
def test_each_object_is_whole_on_exactly_one_layer(number):
    stack = random_overlapping_masks(number)
    layers = rles_to_label_layers([encode(mask) for mask in stack], stack.shape[1:])
    assert set(np.unique(layers)) - {0} == set(range(1, number + 1))
    for k, mask in enumerate(stack):
        holders = [layer for layer in layers if (layer == k + 1).any()]
        assert len(holders) == 1
        np.testing.assert_array_equal(holders[0] == k + 1, mask)


def test_layers_are_filled_first_fit():
    row = np.zeros((4, 1, 8), bool)
    row[0, 0, 0:3] = True
    row[1, 0, 2:5] = True  # meets 0
    row[2, 0, 4:7] = True  # meets 1, fits beside 0
    row[3, 0, 7] = True  # meets nobody
    layers = rles_to_label_layers([encode(mask) for mask in row], (1, 8))
    assert layers[:, 0].tolist() == [[1, 1, 1, 0, 3, 3, 3, 4], [0, 0, 2, 2, 2, 0, 0, 0]]


def test_empty_masks_are_on_no_layer_and_shift_no_index():
    layers = rles_to_label_layers([encode(np.zeros((2, 2))), encode(np.ones((2, 2)))], (2, 2))
    assert layers.tolist() == [[[2, 2], [2, 2]]]


@pytest.mark.parametrize('paint', [rles_to_label_layers, rles_to_label_map])
def test_mask_of_another_size_is_refused_naming_both(paint):
    rles = [encode(np.ones((4, 6))), encode(np.ones((6, 4)))]
    with pytest.raises(ValueError, match=r'mask 1 is \(6, 4\).*expected \(4, 6\)'):
        paint(rles, (4, 6))


def test_shared_pixels_go_to_the_higher_score_ties_to_the_smaller_index():
    row = np.zeros((3, 1, 6), bool)
    row[0, 0, 0:4] = True
    row[1, 0, 3:6] = True
    row[2, 0, 2:4] = True
    rles = [encode(mask) for mask in row]
    assert rles_to_label_map(rles, (1, 6), [0.2, 0.9, 0.5]).tolist() == [[1, 1, 3, 2, 2, 2]]
    assert rles_to_label_map(rles, (1, 6), [0.5, 0.5, 0.5]).tolist() == [[1, 1, 1, 1, 2, 2]]
    assert rles_to_label_map(rles, (1, 6)).tolist() == [[1, 1, 1, 1, 2, 2]]


def test_label_map_is_that_of_painting_masks_from_low_to_high_score():
    stack = random_overlapping_masks(60)
    scores = np.random.default_rng(1).random(60)
    expected = np.zeros(stack.shape[1:], int)
    for k in np.argsort(scores):
        expected[stack[k]] = k + 1
    flattened = rles_to_label_map([encode(mask) for mask in stack], stack.shape[1:], scores)
    np.testing.assert_array_equal(flattened, expected)


def test_mask_that_keeps_too_little_is_dropped_and_claims_nothing():
    row = np.zeros((3, 1, 8), bool)
    row[0, 0, 0:4] = True
    row[1, 0, 1:5] = True  # keeps 1 of 4 pixels beside mask 0
    row[2, 0, 4:8] = True  # loses a pixel to mask 1, unless mask 1 is dropped
    rles = [encode(mask) for mask in row]
    scores = [0.9, 0.8, 0.7]
    kept = rles_to_label_map(rles, (1, 8), scores, min_visible=0.25)
    dropped = rles_to_label_map(rles, (1, 8), scores, min_visible=0.26)
    assert kept.tolist() == [[1, 1, 1, 1, 2, 3, 3, 3]]
    assert dropped.tolist() == [[1, 1, 1, 1, 3, 3, 3, 3]]


def test_5000_objects_need_memory_for_the_image_not_for_a_mask_each():
    label_map = np.kron(
        np.arange(1, 5001, dtype=np.int32).reshape(50, 100), np.ones((20, 10), dtype=np.int32)
    )
    tracemalloc.start()
    _, rles = label_map_to_rles(label_map)
    layers = rles_to_label_layers(rles, label_map.shape)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(layers[0], label_map)
    assert peak_bytes < 64 * label_map.size  # a mask each: 5000 bytes per pixel
