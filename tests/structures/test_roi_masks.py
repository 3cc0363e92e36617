import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from shapely.geometry import Polygon

from mmcell.functional import label_map
from mmcell.structures import RoiMasks

SIZE = (70, 90)


def random_masks(num=40, size=SIZE, seed=0):
    """Blobs of 6 to 30 px, some over the border, in random order of scores."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(num, 2, generator=generator) * size[1] - 6
    extent = torch.rand(num, 2, generator=generator) * 24 + 6
    axis = torch.linspace(-1, 1, 28)
    radius = (axis[:, None] ** 2 + axis**2).sqrt()
    noise = torch.randn(num, 28, 28, generator=generator)
    probs = torch.sigmoid(10 * (0.9 - radius) + noise)
    boxes = torch.cat([corner, corner + extent], dim=1)
    return RoiMasks(boxes, probs, size), torch.rand(num, generator=generator)


def paste(masks, threshold=0.5):
    """MMDetection's paste, one full-size bitmap per mask."""
    pasted, _ = _do_paste_mask(masks.probs[:, None], masks.boxes, *masks.image_size, False)
    return pasted >= threshold


def flatten_one_by_one(bitmaps, scores, min_visible=0.0):
    """Sequential overlap removal, best mask first."""
    labels = np.zeros(bitmaps.shape[1:], dtype=np.int64)
    for k in np.argsort(-scores.numpy(), kind='stable'):
        free = bitmaps[k].numpy() & (labels == 0)
        if free.sum() >= min_visible * int(bitmaps[k].sum()):
            labels[free] = k + 1
    return labels


@pytest.mark.parametrize('seed', range(3))
def test_bitmaps_are_those_of_mmdetections_paste(seed):
    masks, _ = random_masks(seed=seed)
    expected = paste(masks)
    different = (masks.to_bitmaps() ^ expected).sum()
    assert expected.sum() > 1000
    assert different <= 0.001 * expected.sum()


@pytest.mark.parametrize('min_visible', [0.0, 0.3, 0.8])
@pytest.mark.parametrize('seed', range(3))
def test_label_map_equals_sequential_overlap_removal(seed, min_visible):
    masks, scores = random_masks(num=120, seed=seed)
    labels = masks.to_label_map(scores, min_visible=min_visible)
    assert labels.dtype == torch.int32
    expected = flatten_one_by_one(masks.to_bitmaps(), scores, min_visible)
    np.testing.assert_array_equal(labels.numpy(), expected)


def test_hidden_mask_resurfaces_when_the_mask_above_it_is_dropped():
    # 0 hides most of 1; 1 hides most of 2. Without 1, all of 2 but one pixel is visible.
    boxes = torch.tensor([[0.0, 0, 9, 1], [0.0, 0, 10, 1], [9.0, 0, 12, 1]])
    masks = RoiMasks(boxes, torch.ones(3, 1, 1), (1, 12))
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert masks.to_label_map(scores)[0].tolist() == [1] * 9 + [2] + [3] * 2
    assert masks.to_label_map(scores, min_visible=0.3)[0].tolist() == [1] * 9 + [3] * 3


def test_equal_scores_favour_the_earlier_mask():
    masks = RoiMasks(torch.tensor([[0.0, 0, 2, 1]] * 2), torch.ones(2, 2, 2), (1, 3))
    assert masks.to_label_map(torch.tensor([0.5, 0.5])).tolist() == [[1, 1, 0]]


def test_rle_decodes_to_the_bitmaps():
    masks, _ = random_masks()
    decoded = coco_mask.decode(masks.to_rle()).transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded, masks.to_bitmaps().numpy())


def test_full_frame_and_vanishing_masks_have_a_rle():
    boxes = torch.tensor([[0.0, 0, 4, 3], [-9.0, -9, -5, -5], [1.0, 1, 1, 1]])
    masks = RoiMasks(boxes, torch.ones(3, 2, 2), (3, 4))
    assert [int(coco_mask.area(rle)) for rle in masks.to_rle()] == [12, 0, 0]


def test_polygon_areas_are_pixel_areas():
    masks, _ = random_masks()
    areas = masks.to_bitmaps().flatten(1).sum(1)
    for pieces, area in zip(masks.to_polygons(), areas.tolist(), strict=True):
        polygons = [Polygon(exterior, holes) for exterior, holes in pieces]
        assert all(polygon.is_valid for polygon in polygons)
        assert sum(polygon.area for polygon in polygons) == area


def test_results_do_not_depend_on_the_size_of_the_batches(monkeypatch):
    masks, scores = random_masks()
    labels, rles = masks.to_label_map(scores), masks.to_rle()
    monkeypatch.setattr(label_map, 'BATCH_PIXELS', 500)
    assert masks.to_label_map(scores).equal(labels)
    assert masks.to_rle() == rles


def test_masks_of_different_resolution_are_exact_at_pixel_resolution():
    """Binary patches as large as their boxes come back pixel for pixel."""
    rng = np.random.default_rng(0)
    patches = [torch.from_numpy(rng.random(shape) < 0.6) for shape in [(5, 9), (12, 3), (1, 1)]]
    boxes = torch.tensor([[2.0, 3, 11, 8], [20.0, 10, 23, 22], [0.0, 0, 1, 1]])
    masks = RoiMasks(boxes, patches, SIZE)
    bitmaps = masks.to_bitmaps()
    for patch, bitmap, (x1, y1, x2, y2) in zip(patches, bitmaps, boxes.int().tolist(), strict=True):
        assert bitmap[y1:y2, x1:x2].equal(patch)
        assert bitmap.sum() == patch.sum()
    with pytest.raises(ValueError, match='different size'):
        _ = masks.probs
    assert masks[[2, 0]].to_bitmaps().equal(bitmaps[[2, 0]])


@pytest.mark.parametrize(
    'index',
    [
        3,
        -1,
        slice(2, 9, 3),
        [5, 1, 1],
        np.array([0, 7]),
        torch.tensor([4]),
        torch.arange(40) % 3 == 0,
        [],
    ],
    ids=str,
)
def test_indexing_is_that_of_a_tensor(index):
    masks, _ = random_masks()
    chosen = masks[index]
    expected = masks.to_bitmaps()[index if not isinstance(index, int) else [index]]
    assert len(chosen) == len(expected)
    assert chosen.to_bitmaps().equal(expected)


def test_index_out_of_range_is_refused():
    masks, _ = random_masks(num=3)
    with pytest.raises(IndexError, match='3 is out of range for 3'):
        masks[3]


def test_concatenation_joins_and_refuses_other_images():
    masks, scores = random_masks()
    joined = RoiMasks.cat([masks[:10], masks[10:]])
    assert joined.to_label_map(scores).equal(masks.to_label_map(scores))
    other = RoiMasks(masks.boxes, masks.probs, (5, 5))
    with pytest.raises(ValueError, match='one image size'):
        RoiMasks.cat([masks, other])


def test_lives_in_instance_data():
    masks, scores = random_masks()
    instances = InstanceData(masks=masks, scores=scores)
    kept = instances[scores > 0.5].cpu().numpy().to_tensor().detach()
    assert kept.masks.to_bitmaps().equal(masks.to_bitmaps()[scores > 0.5])
    assert len(InstanceData.cat([instances[:3], instances[5:7]]).masks) == 5


def test_no_masks_are_legal_everywhere():
    masks = RoiMasks(torch.zeros(0, 4), torch.zeros(0, 28, 28), SIZE)
    assert masks.to_label_map(torch.zeros(0)).shape == SIZE
    assert not masks.to_label_map(torch.zeros(0)).any()
    assert masks.to_rle() == []
    assert masks.to_polygons() == []
    assert masks.to_bitmaps().shape == (0, *SIZE)
    assert len(masks[torch.zeros(0, dtype=torch.bool)]) == 0
    assert len(RoiMasks.cat([masks, masks])) == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((torch.zeros(2, 5), torch.zeros(2, 3, 3), (4, 4)), r'\(N, 4\)'),
        ((torch.zeros(2, 4), torch.zeros(3, 3, 3), (4, 4)), '2 boxes but 3 masks'),
        ((torch.zeros(2, 4), torch.zeros(2, 9), (4, 4)), r'\(N, h, w\)'),
        ((torch.zeros(2, 4), torch.zeros(2, 3, 3), (0, 4)), 'image_size'),
    ],
)
def test_wrong_shapes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RoiMasks(*arguments)


def test_one_score_per_mask_is_needed():
    masks, scores = random_masks()
    with pytest.raises(ValueError, match='39 scores for 40 masks'):
        masks.to_label_map(scores[1:])


def test_masks_are_the_same_under_autocast():
    masks, scores = random_masks()
    expected = masks.to_bitmaps(), masks.to_label_map(scores), masks.nms(scores, 0.1)
    with torch.autocast('cpu', torch.bfloat16):
        got = masks.to_bitmaps(), masks.to_label_map(scores), masks.nms(scores, 0.1)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_nms_compares_the_pixels_of_the_bitmaps():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=generator) * 60 - 8  # some over the border
    boxes = torch.cat([corner, corner + 4 + 16 * torch.rand(60, 2, generator=generator)], dim=1)
    probs = [torch.rand(5 + k % 3, 6, generator=generator) for k in range(60)]
    scores = torch.rand(60, generator=generator)
    masks = RoiMasks(boxes, probs, (50, 55))
    bitmaps = masks.to_bitmaps()
    expected = []
    for k in scores.argsort(descending=True).tolist():
        ious = [
            float((bitmaps[k] & bitmaps[n]).sum() / (bitmaps[k] | bitmaps[n]).sum().clamp(min=1))
            for n in expected
        ]
        if max(ious, default=0.0) <= 0.1:
            expected.append(k)
    assert len(expected) < 60
    assert masks.nms(scores, 0.1).tolist() == expected
    assert masks[:0].nms(scores[:0], 0.1).tolist() == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    masks, scores = random_masks()
    moved = masks.to('cuda')
    assert moved.device.type == 'cuda'
    assert moved.to_label_map(scores).cpu().equal(masks.to_label_map(scores))
    assert moved.to_rle() == masks.to_rle()


def test_expected_iou_is_that_of_objects_drawn_by_the_probabilities():
    masks, _ = random_masks(num=3)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(2000, *masks.probs.shape, generator=generator) < masks.probs
    predicted = masks.probs >= 0.4
    shared = (drawn & predicted).sum((2, 3))
    mean_iou = (shared / (drawn | predicted).sum((2, 3))).mean(0)
    assert mean_iou.max() < 0.97
    torch.testing.assert_close(masks.expected_iou(0.4), mean_iou, rtol=0, atol=0.002)


def test_expected_iou_of_grids_of_different_size():
    grids = [torch.tensor([[0.9, 0.6], [0.4, 0.1]]), torch.ones(5, 3), torch.full((1, 4), 0.2)]
    masks = RoiMasks(torch.tensor([[0.0, 0, 9, 9]]).repeat(3, 1), grids, SIZE)
    torch.testing.assert_close(masks.expected_iou(), torch.tensor([1.5 / 2.5, 1.0, 0.0]))
    assert masks[[]].expected_iou().shape == (0,)


def test_patches_lie_on_their_whole_pixel_boxes():
    boxes = torch.tensor([[1.5, 2.0, 4.5, 4.0], [-2.0, 0.0, 2.0, 2.0]])
    masks = RoiMasks(boxes, torch.ones(2, 4, 4), (8, 9))
    (first, corner), (second, at_border) = masks.to_patches()
    assert corner == (1, 2) and first.shape == (2, 4)
    assert at_border == (0, 0) and second.tolist() == [[True, True], [True, True]]


def test_rescaled_masks_cover_the_same_part_of_the_image():
    masks = RoiMasks(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.ones(1, 2, 2), (6, 8))
    larger = masks.rescale((2, 3, 2, 3), (18, 16))
    assert larger.boxes.tolist() == [[2, 6, 6, 12]] and larger.shape == (1, 18, 16)
    assert int(larger.to_bitmaps(threshold=0.01).sum()) == 4 * 6
