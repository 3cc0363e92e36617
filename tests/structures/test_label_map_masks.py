"""Every operation is compared with BitmapMasks, which keeps one full-size bitmap per object."""

import math

import cv2
import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import mask_target
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmcell.structures import LabelMapMasks

HEIGHT, WIDTH = 23, 31


def overlapping_bitmaps(seed=0, num=9):
    """Rectangles and specks; some overlap, some touch the border, number 3 is empty."""
    rng = np.random.default_rng(seed)
    bitmaps = np.zeros((num, HEIGHT, WIDTH), dtype=np.uint8)
    for bitmap in bitmaps:
        top, left = rng.integers(-3, HEIGHT - 2), rng.integers(-3, WIDTH - 2)
        bottom, right = top + rng.integers(1, 14), left + rng.integers(1, 14)
        bitmap[max(top, 0) : max(bottom, 1), max(left, 0) : max(right, 1)] = 1
        bitmap[rng.random(bitmap.shape) < 0.01] = 1
    bitmaps[3:4] = 0
    return bitmaps


@pytest.fixture(params=[0, 1, 2])
def pair(request):
    """The same overlapping objects in both forms."""
    bitmaps = overlapping_bitmaps(request.param)
    rles = [coco_mask.encode(np.asfortranarray(bitmap)) for bitmap in bitmaps]
    masks = LabelMapMasks.from_rles(rles, (HEIGHT, WIDTH))
    assert len(masks.layers) > 1
    return masks, BitmapMasks(bitmaps, HEIGHT, WIDTH)


def assert_same(masks, bitmaps):
    assert (masks.height, masks.width) == (bitmaps.height, bitmaps.width)
    assert len(masks) == len(bitmaps)
    np.testing.assert_array_equal(masks.to_ndarray(), bitmaps.to_ndarray())


@pytest.mark.parametrize(
    'change',
    [
        lambda m: m,
        lambda m: m.flip('horizontal'),
        lambda m: m.flip('vertical'),
        lambda m: m.flip('diagonal'),
        lambda m: m.crop(np.array([4, 5, 20, 16])),
        lambda m: m.crop(np.array([-4, 5, 60, 90])),
        lambda m: m.crop(np.array([7, 7, 7, 7])),
        lambda m: m.pad((30, 40)),
        lambda m: m.pad((HEIGHT, WIDTH)),
        lambda m: m.expand(50, 60, 7, 11),
        lambda m: m[2],
        lambda m: m[2:7:2],
        lambda m: m[np.array([5, 0, 0, 8])],
        lambda m: m[np.arange(9) % 2 == 0],
        lambda m: m[np.zeros(9, dtype=bool)],
        lambda m: m[[]],
        lambda m: m[np.array([8, 3, 1])].crop(np.array([4, 5, 20, 16])).flip(),
    ],
)
def test_operation_equals_bitmap_masks(pair, change):
    masks, bitmaps = pair
    changed = change(masks), change(bitmaps)
    assert_same(*changed)
    np.testing.assert_array_equal(changed[0].areas, changed[1].areas)
    np.testing.assert_array_equal(
        changed[0].get_bboxes('hbox').tensor, changed[1].get_bboxes('hbox').tensor
    )


@pytest.mark.parametrize(
    ('change', 'size'),
    [
        (lambda m: m.resize((40, 17)), (40, 17)),
        (lambda m: m.resize((11, 62)), (11, 62)),
        (lambda m: m.rescale(0.7), (int(HEIGHT * 0.7 + 0.5), int(WIDTH * 0.7 + 0.5))),
    ],
)
def test_resized_pixels_are_those_below_their_centres(pair, change, size):
    masks, bitmaps = pair
    rows, columns = (
        [math.floor((i + 0.5) * old / new) for i in range(new)]
        for new, old in zip(size, (HEIGHT, WIDTH), strict=True)
    )
    expected = bitmaps.masks[:, rows][:, :, columns]
    np.testing.assert_array_equal(change(masks).to_ndarray(), expected)


@pytest.mark.parametrize('factor', [0.8, 1.25, 1.9])
def test_resized_labels_stay_on_their_image(factor):
    rng = np.random.default_rng(0)
    shifts = []
    for _ in range(30):
        label_map = np.zeros((200, 240), dtype=np.int32)
        top, left = rng.integers(10, 50, 2)
        label_map[top : rng.integers(100, 190), left : rng.integers(100, 230)] = 1
        height, width = round(200 * factor), round(240 * factor)
        masks = LabelMapMasks.from_label_map(label_map).resize((height, width))
        image = cv2.resize(label_map.astype(np.float32), (width, height))
        shifts.append(centre(masks.to_ndarray()[0]) - centre(image))
    # What remains is where a centre falls on an edge; OpenCV's nearest neighbour is 0.35 px off.
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.2


def centre(image):
    rows, columns = np.indices(image.shape)
    return np.array([(image * rows).sum(), (image * columns).sum()]) / image.sum()


def test_index_tensors_work_like_arrays(pair):
    masks, bitmaps = pair
    keep = torch.arange(9) > 4
    assert_same(masks[keep], bitmaps[keep.numpy()])
    assert_same(masks[torch.tensor([7, 2])], bitmaps[np.array([7, 2])])


@pytest.mark.parametrize('turns', [1, 2, 3])
def test_rotate90_turns_every_bitmap_counter_clockwise(pair, turns):
    masks, bitmaps = pair
    turned = masks.rotate90(turns)
    np.testing.assert_array_equal(turned.to_ndarray(), np.rot90(bitmaps.masks, turns, axes=(1, 2)))


def test_boxes_are_tight_and_of_the_asked_type():
    label_map = np.zeros((5, 6), dtype=np.int32)
    label_map[1:3, 2:6] = 7
    boxes = LabelMapMasks(label_map[None], [7, 9]).get_bboxes(HorizontalBoxes)
    assert isinstance(boxes, HorizontalBoxes)
    assert boxes.tensor.tolist() == [[2, 1, 6, 3], [0, 0, 0, 0]]


def test_cat_of_different_images_keeps_all_objects(pair):
    masks, bitmaps = pair
    other = LabelMapMasks.from_label_map(np.tri(HEIGHT, WIDTH, dtype=np.int64) * 5)
    joined = LabelMapMasks.cat([masks[4:], other, masks[:2]])
    expected = np.concatenate([bitmaps.masks[4:], other.to_ndarray(), bitmaps.masks[:2]])
    np.testing.assert_array_equal(joined.to_ndarray(), expected)


def test_cat_keeps_empty_masks_empty():
    empty = LabelMapMasks(np.zeros((1, 2, 2), int), [1])
    half = LabelMapMasks(np.array([[[1, 1], [0, 0]]]), [1, 3])
    joined = LabelMapMasks.cat([empty, half, half[:1], empty])
    assert joined.areas.tolist() == [0, 2, 0, 2, 0]


def test_instance_data_indexed_by_a_tensor_shares_the_layers(pair):
    masks, bitmaps = pair
    instances = InstanceData(masks=masks, labels=torch.arange(9))
    some = instances[torch.tensor([8, 1, 4])]
    assert some.masks.layers is masks.layers
    assert_same(some.masks, bitmaps[np.array([8, 1, 4])])


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('out_shape', [(7, 7), (14, 28), (3, 5)])
@pytest.mark.parametrize('whole', [False, True])
@pytest.mark.parametrize('binarize', [True, False])
def test_crop_and_resize_equals_roi_align_on_bitmaps(pair, seed, out_shape, whole, binarize):
    masks, bitmaps = pair
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-6, 36, (60, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1).astype(np.float32)
    if whole:
        boxes = boxes.round()  # many ties at one half, and boxes without extent
    inds = rng.integers(0, 9, 60)
    expected = bitmaps.crop_and_resize(boxes, out_shape, inds, 'cpu', binarize=binarize)
    result = masks.crop_and_resize(boxes, out_shape, inds, 'cpu', binarize=binarize)
    assert isinstance(result, BitmapMasks)
    np.testing.assert_allclose(result.masks, expected.masks, rtol=0, atol=0 if binarize else 1e-6)


def test_crop_and_resize_in_chunks_is_the_same(pair, monkeypatch):
    masks, _ = pair
    boxes, inds = torch.tensor([[0.0, 0, 20, 20]] * 9), torch.arange(9)
    whole = masks.roi_targets(boxes, inds, (7, 7))
    monkeypatch.setattr('mmcell.functional.label_roi_align._POINTS_PER_CHUNK', 1)
    torch.testing.assert_close(masks.roi_targets(boxes, inds, (7, 7)), whole, rtol=0, atol=0)


def test_no_boxes_give_no_targets(pair):
    masks, _ = pair
    none = masks.crop_and_resize(np.zeros((0, 4), np.float32), (7, 7), np.zeros(0, np.int64))
    assert none.masks.shape == (0, 7, 7)


def test_mmdet_mask_targets_are_equal(pair):
    boxes = torch.tensor([[1.0, 2, 15, 20], [-3, -3, 40, 9]])
    args = [[boxes], [torch.tensor([4, 0])]], ConfigDict(mask_size=28)
    targets = [mask_target(*args[0], [masks], args[1]) for masks in pair]
    torch.testing.assert_close(*targets, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_targets_on_cuda_equal_those_on_cpu(pair):
    masks, _ = pair
    boxes = torch.rand(30, 4).sort(dim=1).values[:, [0, 1, 2, 3]] * 25
    inds = torch.arange(30) % 9
    on_gpu = masks.roi_targets(boxes.cuda(), inds.cuda(), (14, 14))
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), masks.roi_targets(boxes, inds, (14, 14)))


def test_first_object_wins_a_shared_pixel_in_the_label_map(pair):
    masks, bitmaps = pair
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
    for k in reversed(range(9)):
        expected[bitmaps.masks[k] > 0] = k + 1
    label_map = masks.to_label_map()
    assert label_map.dtype == np.int32
    np.testing.assert_array_equal(label_map, expected)


def test_label_map_follows_the_order_of_indexing(pair):
    masks, bitmaps = pair
    order = np.array([6, 2, 5])
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
    for k in reversed(range(3)):
        expected[bitmaps.masks[order[k]] > 0] = k + 1
    np.testing.assert_array_equal(masks[order].to_label_map(), expected)


# pycocotools' decode is older than NumPy 2's array protocol.
@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
def test_rles_come_back_in_order_with_overlaps_and_empty_ones(pair):
    masks, bitmaps = pair
    order = np.array([3, 7, 0])
    decoded = coco_mask.decode(masks[order].to_rle()).transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded, bitmaps.masks[order])


def test_label_map_ids_beyond_16_bits_survive():
    label_map = np.array([[0, 70_000], [3, 3]])
    masks = LabelMapMasks.from_label_map(label_map)
    assert masks.areas.tolist() == [2, 1]
    assert masks.to_label_map().tolist() == [[0, 2], [1, 1]]


@pytest.mark.parametrize('size', [(4, 6), (1, 1)])
def test_image_without_objects(size):
    masks = LabelMapMasks.from_rles([], size)
    assert len(masks) == 0
    assert (masks.height, masks.width) == size
    assert masks.get_bboxes('hbox').tensor.shape == (0, 4)
    assert masks.areas.shape == (0,)
    assert masks.to_label_map().shape == size
    assert masks.to_rle() == []
    assert masks.to_tensor(torch.float32, 'cpu').shape == (0, *size)
    assert len(masks.flip().resize((8, 8)).pad((9, 9))) == 0


def test_memory_does_not_grow_with_the_number_of_objects():
    label_map = np.arange(1, 10_001).reshape(100, 100)
    masks = LabelMapMasks.from_label_map(label_map)
    assert masks.layers.nbytes == 40_000
    assert masks[np.arange(5000)].layers is masks.layers


@pytest.mark.parametrize('operation', ['translate', 'shear', 'rotate'])
def test_unsupported_operation_says_what_to_use(pair, operation):
    with pytest.raises(NotImplementedError, match=f'cannot {operation}: use RandomFlip'):
        getattr(pair[0], operation)((5, 5), 1.0)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda m: LabelMapMasks(np.zeros((4, 4), int), []), 'layers must be'),
        (lambda m: LabelMapMasks(np.zeros((1, 4, 4)), []), 'layers must be'),
        (lambda m: LabelMapMasks(np.zeros((1, 4, 4), int), [0]), 'ids must be'),
        (lambda m: m.resize((4, 4), 'bilinear'), "must be 'nearest'"),
        (lambda m: m.flip('sideways'), 'flip_direction must be'),
        (lambda m: m.pad((4, 4)), 'cannot pad'),
        (lambda m: m.pad((40, 40), 1), 'pad_val must be 0'),
        (lambda m: LabelMapMasks.cat([]), 'at least one'),
        (lambda m: LabelMapMasks.cat([m, m.pad((40, 40))]), 'one image size'),
    ],
)
def test_bad_arguments_are_named(pair, call, message):
    with pytest.raises(ValueError, match=message):
        call(pair[0])
