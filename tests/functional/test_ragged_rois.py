import pytest
import torch
import torch.nn.functional as F

from mmcell.functional.ragged_rois import (
    PaddedRois,
    crop_objects,
    crop_pixels,
    crop_samples,
    enlarged_levels,
    masked_conv2d,
    masked_instance_norm,
    pixel_levels,
    resize_rois,
    similar_roi_batches,
    unpad_rois,
    vote_into_pixels,
)

SIZES = [[5, 7], [1, 1], [6, 3], [2, 8], [6, 8]]


def random_rois(sizes=SIZES, channels=3, seed=0, dtype=torch.float32):
    """Padded boxes, and each box alone."""
    generator = torch.Generator().manual_seed(seed)
    alone = [
        5 * torch.randn(channels, h, w, generator=generator, dtype=dtype) + 2 for h, w in sizes
    ]
    return pad(alone), alone


def pad(boxes):
    sizes = torch.tensor([box.shape[1:] for box in boxes])
    height, width = sizes.amax(0).tolist()
    values = [F.pad(box, (0, width - box.shape[2], 0, height - box.shape[1])) for box in boxes]
    return PaddedRois(torch.stack(values), sizes)


def assert_rois_equal(rois, expected, atol=1e-5):
    """Each box equals its expected value, and all padding is zero."""
    assert rois.sizes.tolist() == [list(box.shape[1:]) for box in expected]
    assert rois.values.masked_select(~rois.inside()).count_nonzero() == 0
    for values, box in zip(rois.values, expected, strict=True):
        torch.testing.assert_close(
            values[:, : box.shape[1], : box.shape[2]], box, rtol=1e-5, atol=atol
        )


@pytest.mark.parametrize('kernel', [(1, 1), (3, 3), (7, 7), (1, 5)])
def test_convolution_sees_zeros_around_every_box(kernel):
    rois, alone = random_rois()
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 3, *kernel, generator=generator)
    bias = torch.randn(4, generator=generator)
    padding = (kernel[0] // 2, kernel[1] // 2)
    expected = [F.conv2d(box[None], weight, bias, padding=padding)[0] for box in alone]
    assert_rois_equal(masked_conv2d(rois, weight, bias), expected, atol=1e-4)


@pytest.mark.parametrize('affine', [False, True])
def test_instance_norm_sees_the_true_box_only(affine):
    sizes = [size for size in SIZES if size != [1, 1]]  # F.instance_norm refuses one pixel
    rois, alone = random_rois(sizes)
    weight, bias = (
        (torch.tensor([2.0, 0.5, -1]), torch.tensor([1.0, 0, 3])) if affine else [None] * 2
    )
    expected = [F.instance_norm(box[None], weight=weight, bias=bias)[0] for box in alone]
    assert_rois_equal(masked_instance_norm(rois, weight, bias), expected)


def test_one_pixel_is_normalised_to_zero():
    rois, _ = random_rois([[1, 1], [4, 4]])
    assert masked_instance_norm(rois).values[0].count_nonzero() == 0


def test_a_large_mean_does_not_spoil_the_variance():
    rois, alone = random_rois([[4, 6], [6, 6]])
    inside = rois.inside()
    shifted = masked_instance_norm(PaddedRois((rois.values + 1000) * inside, rois.sizes))
    expected = [F.instance_norm(box[None].double())[0].float() for box in alone]
    assert_rois_equal(shifted, expected, atol=1e-3)


def test_resizing_equals_interpolate_of_every_box():
    rois, alone = random_rois()
    sizes = torch.tensor([[9, 3], [2, 5], [6, 3], [5, 17], [1, 1]])
    expected = [
        F.interpolate(box[None], tuple(size), mode='bilinear')[0]
        for box, size in zip(alone, sizes.tolist(), strict=True)
    ]
    assert_rois_equal(resize_rois(rois, sizes), expected)


def sample_by_grid(features, box, size):
    """One box, with align_corners as in the authors' program."""
    height, width = features.shape[-2:]
    x = torch.linspace(box[0], box[2], size[1]) / (width - 1) * 2 - 1
    y = torch.linspace(box[1], box[3], size[0]) / (height - 1) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)[None]
    return F.grid_sample(features[None], grid, align_corners=True)[0]


BOXES = torch.tensor(
    [
        [3.2, 4.7, 15.1, 12.9],
        [-6.0, -4, 5, 6],  # over the corner
        [20.5, 10, 40, 30],  # over the opposite one
        [-20.0, -20, 60, 50],  # larger than the image
        [40.0, 40, 44, 44],  # outside
    ]
)
IMAGES = torch.tensor([0, 1, 0, 1, 1])


def test_sampling_equals_grid_sample_box_by_box():
    features = torch.randn(2, 3, 22, 26, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([[9, 12], [2, 11], [20, 19], [70, 80], [4, 4]])
    cropped = crop_samples(features, BOXES, sizes, IMAGES)
    expected = [
        sample_by_grid(features[image], box, size)
        for image, box, size in zip(IMAGES.tolist(), BOXES.tolist(), sizes.tolist(), strict=True)
    ]
    assert_rois_equal(cropped, expected, atol=1e-4)
    assert cropped.values[4].count_nonzero() == 0


def test_object_crops_are_samples_of_the_objects_own_mask():
    labels = torch.randint(0, 4, (2, 22, 26), generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([1, 2, 3, 1, 2])
    sizes = torch.tensor([[9, 12], [2, 11], [20, 19], [70, 80], [4, 4]])
    expected = [
        sample_by_grid((labels[image] == label).float()[None], box, size)
        for image, label, box, size in zip(
            IMAGES.tolist(), ids.tolist(), BOXES.tolist(), sizes.tolist(), strict=True
        )
    ]
    assert_rois_equal(crop_objects(labels, ids, BOXES, sizes, IMAGES), expected, atol=1e-4)


def test_whole_pixels_are_cut_out():
    features = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0, 0, 11, 9], [2, 3, 4, 8], [8, 7, 11, 9]])
    sizes = (boxes[:, 2:] - boxes[:, :2]).flip(1)
    images = torch.tensor([1, 0, 1])
    expected = [
        features[image, :, y1:y2, x1:x2]
        for image, (x1, y1, x2, y2) in zip(images.tolist(), boxes.tolist(), strict=True)
    ]
    assert_rois_equal(crop_pixels(features, boxes, sizes, images), expected, atol=0)


def test_levels_end_before_the_first_side_below_two_pixels():
    # 20 x 10 enlarged: 22 x 11, 11 x 5.5, 5.5 x 2.75, 2.75 x 1.4.
    levels = enlarged_levels(torch.tensor([[10.0, 10, 30, 20], [5.0, 5, 6, 6]]), 5)
    assert levels.counts.tolist() == [3, 0]
    assert levels.sizes[0].tolist() == [[11, 22], [5, 11], [2, 5], [0, 0], [0, 0]]
    torch.testing.assert_close(levels.boxes[0, 1], torch.tensor([4.5, 4.75, 15.5, 10.25]))


def test_whole_pixel_levels_round_to_even_and_stay_on_the_map():
    boxes = torch.tensor([[-3.0, 5, 25, 15], [50.0, 30, 90, 70], [-9.0, -9, 200, 200]])
    sizes = [(48, 64), (24, 32), (12, 16)]
    levels = pixel_levels(boxes, sizes)
    assert levels.boxes[0].tolist() == [[0, 5, 25, 15], [0, 2, 12, 8], [0, 1, 6, 4]]
    assert levels.boxes[1].tolist() == [[50, 30, 64, 48], [25, 15, 32, 24], [12, 8, 16, 12]]
    assert levels.boxes[2].tolist() == [[0, 0, 64, 48], [0, 0, 32, 24], [0, 0, 16, 12]]
    assert levels.counts.tolist() == [3, 3, 3]
    published = pixel_levels(boxes, sizes, without_last_pixel=True)
    assert published.boxes[0].equal(levels.boxes[0])
    assert published.boxes[1].tolist() == [[50, 30, 63, 47], [25, 15, 31, 23], [12, 8, 15, 11]]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_do_not_overflow_in_the_norm(dtype):
    values = torch.full((1, 1, 40, 40), 100.0, dtype=dtype)
    values[:, :, ::2] = 60
    rois = PaddedRois(values, torch.tensor([[40, 40]]))
    found = masked_instance_norm(rois).values
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (values.float() - 80) / 20)


def test_batches_hold_every_usable_box_once_with_similar_sides_and_equal_levels():
    generator = torch.Generator().manual_seed(0)
    sides = torch.rand(300, 2, generator=generator) * 60
    levels = enlarged_levels(torch.cat([torch.zeros_like(sides), sides], dim=1), 5)
    batches = similar_roi_batches(levels, ratio=1.25, max_pixels=8000)
    usable = torch.nonzero(levels.counts).flatten()
    assert len(usable) < 300
    assert torch.cat(batches).sort().values.equal(usable)
    for batch in batches:
        sizes = levels.sizes[batch, 0]
        assert levels.counts[batch].unique().numel() == 1
        assert (sizes.amax(0) <= 1.25 * sizes.amin(0) + 1e-6).all()
        assert len(batch) == 1 or len(batch) * sizes.amax(0).prod() <= 8000


def network_alone(features, weights):
    """Coarse to fine on one box: features are (C, h, w) maps, the finest first."""
    below = features[-1][None]
    for level in reversed(range(len(features) - 1)):
        up = F.interpolate(below, features[level].shape[1:], mode='bilinear')
        up = F.relu(F.instance_norm(F.conv2d(up, *weights[level][:2], padding=1)))
        joined = torch.cat([features[level][None], up], dim=1)
        below = F.relu(F.instance_norm(F.conv2d(joined, *weights[level][2:])))
    return below[0]


def network_padded(features, weights):
    below = features[-1]
    for level in reversed(range(len(features) - 1)):
        up = masked_conv2d(resize_rois(below, features[level].sizes), *weights[level][:2])
        up = masked_instance_norm(up).values.relu()
        joined = PaddedRois(torch.cat([features[level].values, up], 1), features[level].sizes)
        below = masked_instance_norm(masked_conv2d(joined, *weights[level][2:]))
        below = PaddedRois(below.values.relu(), below.sizes)
    return below


def pyramid_case(num_boxes, seed, largest=40.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    features = [random(2, 4, 96 // 2**level, 128 // 2**level) for level in range(4)]
    weights = [(0.3 * random(4, 4, 3, 3), random(4), 0.3 * random(4, 8, 1, 1), random(4))] * 3
    centers = torch.rand(num_boxes, 2, generator=generator) * torch.tensor([128, 96])
    half = torch.rand(num_boxes, 2, generator=generator) * largest / 2
    boxes = torch.cat([centers - half, centers + half], dim=1)
    return features, weights, boxes, torch.randint(0, 2, (num_boxes,), generator=generator)


def run_batched(features, weights, levels, crop, images, **options):
    parts = []
    for batch in similar_roi_batches(levels, **options):
        rois = [
            crop(features[k], levels.boxes[batch, k], levels.sizes[batch, k], images[batch])
            for k in range(int(levels.counts[batch[0]]))
        ]
        parts.append((batch, network_padded(rois, weights)))
    return unpad_rois(parts, len(images))


def run_one_by_one(features, weights, levels, crop, images):
    outputs = []
    for k, count in enumerate(levels.counts.tolist()):
        one = slice(k, k + 1)
        rois = [
            crop(features[i], levels.boxes[one, i], levels.sizes[one, i], images[one]).values[0]
            for i in range(count)
        ]
        outputs.append(network_alone(rois, weights) if count else torch.zeros(4, 0, 0))
    return outputs


@pytest.mark.parametrize('kind', ['samples', 'pixels'])
def test_a_network_on_batches_equals_one_box_at_a_time_with_gradients(kind):
    features, weights, boxes, images = pyramid_case(30, seed=0)
    if kind == 'samples':
        levels, crop = enlarged_levels(boxes, 4), crop_samples
    else:
        levels, crop = pixel_levels(boxes, [f.shape[2:] for f in features]), crop_pixels
    assert levels.counts.unique().numel() >= 4
    gradients = []
    results = []
    for run in (run_batched, run_one_by_one):
        leaves = [f.clone().requires_grad_() for f in features]
        outputs = run(leaves, weights, levels, crop, images)
        results.append([output.detach() for output in outputs])
        # Weights that differ from pixel to pixel: a constant's gradient vanishes behind a norm.
        loss = sum(
            (o * torch.linspace(0, 1, max(o.numel(), 1))[: o.numel()].view(o.shape)).sum()
            for o in outputs
        )
        gradients.append(torch.autograd.grad(loss, leaves))
    for batched, alone in zip(*results, strict=True):
        torch.testing.assert_close(batched, alone, rtol=0, atol=1e-4)
    for batched, alone in zip(*gradients, strict=True):
        scale = alone.abs().max()
        torch.testing.assert_close(batched / scale, alone / scale, rtol=0, atol=1e-3)


def test_gradients_are_right():
    features, weights, boxes, images = pyramid_case(3, seed=1, largest=24, dtype=torch.float64)
    features = [f[:, :, :12, :12].clone().requires_grad_() for f in features[:2]]
    levels = enlarged_levels(boxes.new_tensor([[1, 1, 7, 6], [4, 2, 12, 11], [-2, 3, 5, 9]]), 2)

    def first_box(*maps):
        return torch.cat(
            [o.flatten() for o in run_batched(maps, weights, levels, crop_samples, images)]
        )

    assert torch.autograd.gradcheck(first_box, features, atol=1e-6, fast_mode=True)


def test_other_boxes_of_a_batch_do_not_matter():
    features, weights, boxes, images = pyramid_case(40, seed=2)
    levels = enlarged_levels(boxes, 4)
    large = run_batched(features, weights, levels, crop_samples, images, ratio=4.0)
    small = run_batched(features, weights, levels, crop_samples, images, max_pixels=1)
    for a, b in zip(large, small, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_unpadding_restores_order_and_size():
    rois, alone = random_rois()
    first, second = pad(alone[:2]), pad(alone[2:])
    parts = [(torch.tensor([4, 0]), first), (torch.tensor([1, 5, 3]), second)]
    found = unpad_rois(parts, 6)
    assert [tuple(box.shape) for box in found][2] == (3, 0, 0)
    for index, box in zip([4, 0, 1, 5, 3], alone, strict=True):
        assert found[index].equal(box)


def test_no_boxes():
    assert similar_roi_batches(enlarged_levels(torch.zeros(0, 4), 3)) == []
    assert unpad_rois([], 0) == []
    levels = enlarged_levels(torch.tensor([[3.0, 3, 4, 4]]), 3)  # one pixel
    assert similar_roi_batches(levels) == []
    assert unpad_rois([], 1)[0].numel() == 0


def test_votes_equal_the_loop_over_samples():
    rois, alone = random_rois([[5, 7], [3, 4]], channels=1)
    boxes = torch.tensor([[2.3, -1.6, 9.0, 3.1], [4.0, 5, 7.4, 8.9]])
    votes, corners = vote_into_pixels(rois, boxes)
    for k, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        expected = torch.zeros(20, 20)  # shifted by 5
        height, width = alone[k].shape[1:]
        for row, y in enumerate(torch.linspace(y1, y2, height).tolist()):
            for column, x in enumerate(torch.linspace(x1, x2, width).tolist()):
                for py in (int(y // 1), int(y // 1) + 1):
                    for px in (int(x // 1), int(x // 1) + 1):
                        share = (1 - abs(y - py)) * (1 - abs(x - px))
                        expected[py + 5, px + 5] += share * float(alone[k][0, row, column])
        (x, y), (rows, columns) = corners[k].tolist(), votes.sizes[k].tolist()
        found = torch.zeros(20, 20)
        found[y + 5 : y + 5 + rows, x + 5 : x + 5 + columns] = votes.values[k, 0, :rows, :columns]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_equals_cpu():
    features, weights, boxes, images = pyramid_case(40, seed=3)
    on_cpu = run_batched(features, weights, enlarged_levels(boxes, 4), crop_samples, images)
    on_gpu = run_batched(
        [f.cuda() for f in features],
        [[w.cuda() for w in level] for level in weights],
        enlarged_levels(boxes.cuda(), 4),
        crop_samples,
        images.cuda(),
    )
    for a, b in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-3)
