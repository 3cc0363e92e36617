import math

import pytest
import torch

from mmcell.functional.center_keypoints import center_targets, decode_centers, gaussian_radius


def targets(boxes, heatmap_shape=(1, 1, 16, 20), labels=None, images=None, **options):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    zeros = torch.zeros(len(boxes), dtype=torch.long)
    labels = zeros if labels is None else torch.tensor(labels)
    images = zeros if images is None else torch.tensor(images)
    return center_targets(boxes, labels, images, heatmap_shape, **options)


def box_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (area - width * height)


@pytest.mark.parametrize(('height', 'width'), [(10, 10), (3, 40), (25, 8)])
@pytest.mark.parametrize('overlap', [0.3, 0.7])
def test_corners_moved_by_the_radius_keep_the_overlap_and_one_way_just_keeps_it(
    height, width, overlap
):
    sides = torch.tensor([[height], [width]], dtype=torch.float64)
    r = float(gaussian_radius(sides[0], sides[1], overlap))
    true = (0.0, 0.0, width, height)
    moved = [
        (r, r, width + r, height + r),
        (r, r, width - r, height - r),
        (-r, -r, width + r, height + r),
    ]
    overlaps = [box_iou(true, box) for box in moved]
    assert min(overlaps) == pytest.approx(overlap, abs=1e-9)


def test_the_published_radius_lacks_the_division_by_2a():
    # h = w = 1, overlap 0.7: (sqrt(2.8^2 + 4 * 2.8 * 0.3) - 2.8) / 2
    one = torch.ones(1, dtype=torch.float64)
    expected = (math.sqrt(2.8**2 + 4 * 2.8 * 0.3) - 2.8) / 2
    assert float(gaussian_radius(one, one, 0.7, published=True)) == pytest.approx(expected)


def test_blob_size_and_offset_of_one_box_by_hand():
    # 80 x 40 px around (42, 26): cell (10, 6), offset (2/4, 2/4).
    found = targets([[2.0, 6, 82, 46]])
    assert found.cells.tolist() == [[10, 6]]
    assert found.offsets.tolist() == [[0.5, 0.5]]
    assert found.sizes.tolist() == [[20, 10]]
    radius = float(gaussian_radius(torch.tensor([10.0]), torch.tensor([20.0])))
    assert 1 < radius < 2
    expected = torch.zeros(16, 20)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            expected[6 + dy, 10 + dx] = math.exp(-(dx**2 + dy**2) / (2 * (radius / 3) ** 2))
    torch.testing.assert_close(found.heatmap[0, 0], expected)


def test_published_blobs_are_the_loop_over_boxes_in_every_image_and_class():
    generator = torch.Generator().manual_seed(0)
    centers = torch.rand(60, 2, generator=generator) * torch.tensor([80.0, 64.0])
    half = torch.rand(60, 2, generator=generator) * 40 + 1  # many reach over the border
    boxes = torch.cat([centers - half, centers + half], dim=1)
    labels = torch.randint(0, 2, (60,), generator=generator)
    images = torch.randint(0, 3, (60,), generator=generator)
    found = center_targets(boxes, labels, images, (3, 2, 16, 20), published=True)
    expected = torch.zeros(3, 2, 16, 20)
    for (x1, y1, x2, y2), label, image in zip(
        (boxes / 4).tolist(), labels.tolist(), images.tolist(), strict=True
    ):
        sides = torch.tensor([[math.ceil(y2 - y1)], [math.ceil(x2 - x1)]]).float()
        r = int(gaussian_radius(sides[0], sides[1], published=True))
        cx, cy = int((x1 + x2) / 2), int((y1 + y2) / 2)
        for y in range(max(0, cy - r), min(16, cy + r + 1)):
            for x in range(max(0, cx - r), min(20, cx + r + 1)):
                square = (x - cx) ** 2 + (y - cy) ** 2
                value = math.exp(-square / (2 * ((2 * r + 1) / 6) ** 2))
                expected[image, label, y, x] = max(value, float(expected[image, label, y, x]))
    assert len(found.cells) == 60
    torch.testing.assert_close(found.heatmap, expected)


def test_no_box_gives_an_empty_heatmap():
    found = targets([])
    assert found.heatmap.equal(torch.zeros(1, 1, 16, 20))
    assert found.cells.shape == (0, 2)


@pytest.mark.parametrize(
    ('box', 'cell'),
    [
        ([0.0, 0, 1, 1], [0, 0]),  # one pixel in the corner
        ([79.0, 63, 80, 64], [19, 15]),
        ([0.0, 0, 80, 64], [10, 8]),  # the whole image
        ([-400.0, -300, 480, 380], [10, 10]),  # larger than the image
    ],
)
def test_every_box_with_its_center_on_the_map_has_one_peak_of_one(box, cell):
    found = targets([box])
    assert found.cells.tolist() == [cell]
    assert torch.nonzero(found.heatmap[0, 0] == 1).tolist() == [cell[::-1]]


def test_boxes_without_area_or_with_their_center_outside_have_no_target():
    found = targets([[4.0, 4, 4, 9], [70.0, 4, 92, 9], [4.0, 4, 6, 9], [-9.0, 0, 3, 9]])
    assert found.box_index.tolist() == [2]


def test_targets_of_2000_boxes_decode_to_the_same_boxes():
    # 50 x 40 cells of 2 x 2 heatmap pixels: centers are never neighbours.
    cells = torch.stack(
        torch.meshgrid(torch.arange(50), torch.arange(40), indexing='xy'), dim=-1
    ).view(-1, 2)
    generator = torch.Generator().manual_seed(0)
    centers = 4 * (2 * cells + torch.rand(2000, 2, generator=generator))
    half = 1 + 6 * torch.rand(2000, 2, generator=generator)
    boxes = torch.cat([centers - half, centers + half], dim=1)
    zeros = torch.zeros(2000, dtype=torch.long)
    found = center_targets(boxes, zeros, zeros, (1, 1, 80, 100))
    sizes, offsets = torch.zeros(1, 2, 80, 100), torch.zeros(1, 2, 80, 100)
    sizes[0, :, found.cells[:, 1], found.cells[:, 0]] = found.sizes.t()
    offsets[0, :, found.cells[:, 1], found.cells[:, 0]] = found.offsets.t()
    detections = decode_centers(found.heatmap, sizes, offsets, max_per_image=5000, threshold=0.99)
    assert len(detections.boxes) == 2000
    by_place = torch.argsort(found.cells[:, 1] * 100 + found.cells[:, 0])
    torch.testing.assert_close(detections.boxes, boxes[by_place], rtol=0, atol=1e-3)


def test_peaks_by_hand():
    heatmap = torch.zeros(2, 2, 4, 5)
    heatmap[0, 0, 1, 1], heatmap[0, 0, 1, 2], heatmap[0, 0, 3, 4] = 0.9, 0.8, 0.4
    heatmap[0, 1, 0, 0] = 0.6
    heatmap[1, 0, 2, 2], heatmap[1, 1, 2, 2] = 0.3, 0.5  # 0.3 is not above the threshold
    sizes = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(2, 2, 4, 5)
    offsets = torch.tensor([0.5, 0.25]).view(1, 2, 1, 1).expand(2, 2, 4, 5)
    found = decode_centers(heatmap, sizes, offsets, threshold=0.3)
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.6, 0.4, 0.5]))
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.batch_index.tolist() == [0, 0, 0, 1]
    # Center (1.5, 1.25), 2 x 1, times 4.
    assert found.boxes[0].tolist() == [2, 3, 10, 7]


def test_both_pixels_of_a_plateau_are_peaks_and_the_limit_keeps_the_first_of_each_image():
    heatmap = torch.zeros(2, 1, 3, 6)
    heatmap[:, 0, 1, 2:4] = 0.7
    maps = torch.ones(2, 2, 3, 6)
    assert len(decode_centers(heatmap, maps, maps).scores) == 4
    for no_limit in (0, -1):
        assert len(decode_centers(heatmap, maps, maps, max_per_image=no_limit).scores) == 4
    found = decode_centers(heatmap, maps, maps, max_per_image=1)
    assert found.batch_index.tolist() == [0, 1]
    assert found.boxes[:, 0].tolist() == [10, 10]  # (2 + 1 - 0.5) * 4


def test_an_image_without_peaks_gives_no_box():
    found = decode_centers(torch.zeros(1, 1, 4, 4), torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4))
    assert found.boxes.shape == (0, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    boxes = torch.tensor([[2.0, 6, 82, 46], [10.0, 10, 30, 30]])
    zeros = torch.zeros(2, dtype=torch.long)
    maps = torch.ones(1, 2, 16, 20)
    on_cpu = center_targets(boxes, zeros, zeros, (1, 1, 16, 20))
    on_gpu = center_targets(boxes.cuda(), zeros.cuda(), zeros.cuda(), (1, 1, 16, 20))
    for a, b in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(a.cpu(), b)
    for a, b in zip(
        decode_centers(on_gpu.heatmap, maps.cuda(), maps.cuda()),
        decode_centers(on_cpu.heatmap, maps, maps),
        strict=True,
    ):
        torch.testing.assert_close(a.cpu(), b)
