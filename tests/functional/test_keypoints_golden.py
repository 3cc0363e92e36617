"""The keypoint systems against values of the authors' programs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import nms
from scipy import ndimage

from mmcell.functional.center_keypoints import center_targets, decode_centers, gaussian_radius
from mmcell.functional.keypoint_graph import (
    Keypoints,
    Skeletons,
    boxes_from_keypoints,
    find_keypoints,
    group_keypoints,
    hough_vote,
    smooth_votes,
)
from mmcell.functional.keypoint_graph_targets import (
    graph_targets,
    keypoints_of_boxes,
    label_boxes,
    multi_scale_targets,
)
from mmcell.functional.mask_nms import mask_nms, overlapping_mask_pairs
from mmcell.functional.ragged import resample_into_boxes
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
from mmcell.functional.uncertain_points import most_uncertain_points, sample_points
from mmcell.structures import RoiMasks


@pytest.fixture(scope='module')
def golden(test_data):
    with np.load(test_data / 'golden' / 'keypoints_dev.npz', allow_pickle=False) as arrays:
        assert len(arrays.files) == 592
        values = {name: arrays[name] for name in arrays.files}

    def get(name):
        return torch.from_numpy(values[name]) if values[name].dtype.kind != 'U' else values[name]

    return get


def close(found, expected, atol=1e-5):
    torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=atol)


def ragged(flat, shapes):
    pieces = flat.split(shapes.long().prod(1).tolist())
    return [piece.view(*shape) for piece, shape in zip(pieces, shapes.tolist(), strict=True)]


def unpacked(golden, name, shapes):
    count = int(shapes.long().prod(1).sum())
    return ragged(torch.from_numpy(np.unpackbits(golden(name).numpy())[:count]), shapes)


def padded(arrays):
    """(C, h, w) or (h, w) arrays of different size."""
    arrays = [array if array.ndim == 3 else array[None] for array in arrays]
    sizes = torch.tensor([array.shape[1:] for array in arrays])
    height, width = sizes.amax(0).tolist()
    values = [F.pad(a, (0, width - a.shape[2], 0, height - a.shape[1])) for a in arrays]
    return PaddedRois(torch.stack(values).float(), sizes)


def corners(boxes):
    """Corners of (cx, cy, w, h) boxes."""
    return torch.cat([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], dim=1)


def test_radii(golden):
    height, width = golden('og/radius/hw').float().unbind(1)
    close(gaussian_radius(height, width, published=True), golden('og/radius/radius'))


@pytest.mark.parametrize('case', range(5))
def test_center_targets(golden, case):
    name = f'og/target/{case}/'
    zeros = torch.zeros(len(golden(name + 'boxes')), dtype=torch.long)
    boxes = corners(golden(name + 'boxes'))
    found = center_targets(boxes, zeros, zeros, (1, 1, 128, 128), published=True)
    close(found.heatmap[0], golden(name + 'hm'))
    close(found.sizes, golden(name + 'wh'))
    close(found.offsets, golden(name + 'reg'))
    assert (found.cells[:, 1] * 128 + found.cells[:, 0]).equal(golden(name + 'ind'))


def largest_parts(labels):
    """Boxes of the largest 4-connected part of each object above 3 px, as (cx, cy, w, h), ids."""
    boxes, ids = [], []
    for label, window in enumerate(ndimage.find_objects(labels.numpy()), start=1):
        parts, count = ndimage.label(labels.numpy()[window] == label)
        sizes = ndimage.sum_labels(parts > 0, parts, range(1, count + 1))
        rows, columns = np.nonzero(parts == np.argmax(sizes) + 1)
        y1, y2 = rows.min() + window[0].start, rows.max() + window[0].start
        x1, x2 = columns.min() + window[1].start, columns.max() + window[1].start
        if x2 - x1 > 2 and y2 - y1 > 2:
            boxes.append([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1 + 1, y2 - y1 + 1])
            ids.append(label)
    return torch.tensor(boxes), torch.tensor(ids)


@pytest.mark.parametrize('case', range(4))
def test_soft_masks_of_single_objects(golden, case):
    name = f'og/target/{case}/'
    labels, boxes, chosen = (golden(name + key) for key in ('labels', 'boxes', 'roi_idx'))
    expected_boxes, ids = largest_parts(labels)
    close(expected_boxes, boxes)
    levels = enlarged_levels(corners(boxes[chosen]), 1)
    assert levels.sizes[:, 0].equal(golden(name + 'roi_hw').long())
    found = crop_objects(
        labels[None],
        ids[chosen],
        levels.boxes[:, 0],
        levels.sizes[:, 0],
        torch.zeros(len(chosen), dtype=torch.long),
    )
    expected = ragged(golden(name + 'roi_flat'), golden(name + 'roi_hw'))
    close(found.values, padded(expected).values, atol=5e-4)


@pytest.mark.parametrize('case', range(4))
def test_decoding(golden, case):
    name = f'og/decode/{case}/'
    maps = (golden(name + key)[None] for key in ('hm', 'wh', 'reg'))
    found = decode_centers(*maps, 4, int(golden(name + 'K')), float(golden(name + 'conf_thresh')))
    expected = golden(name + 'det_px')
    close(found.boxes, corners(expected), atol=1e-4)
    close(found.scores, golden(name + 'det')[:, 4])
    assert found.labels.tolist() == golden(name + 'det')[:, 5].tolist()


def level_crops(features, levels, level, crop, members):
    zeros = torch.zeros(len(members), dtype=torch.long)
    where = (levels.boxes[members, level], levels.sizes[members, level])
    return crop(features[level], *where, zeros)


def segment(golden, weights, features, levels, crop, norm):
    """The coarse-to-fine network on batches; probabilities and the maps before, per box."""

    def convolve(rois, layer):
        return masked_conv2d(
            rois, golden(weights + layer + '.weight'), golden(weights + layer + '.bias')
        )

    def activate(rois):
        rois = masked_instance_norm(rois) if norm else rois
        return PaddedRois(rois.values.relu(), rois.sizes)

    parts, fine, coarse = [], [], []
    for members in similar_roi_batches(levels):
        count = int(levels.counts[members[0]])
        rois = [level_crops(features, levels, k, crop, members) for k in range(count)]
        below = rois.pop()
        for k in reversed(range(len(rois))):
            up = activate(convolve(resize_rois(below, rois[k].sizes), f'combine{k}.up.0'))
            joined = PaddedRois(torch.cat([rois[k].values, up.values], dim=1), up.sizes)
            below = activate(convolve(joined, f'combine{k}.cat_conv.0'))
            if k == 1:
                coarse.append((members, below))
        fine.append((members, below))
        hidden = convolve(below, 'head.0')
        logits = convolve(PaddedRois(hidden.values.relu(), hidden.sizes), 'head.2')
        parts.append((members, PaddedRois(logits.values.sigmoid(), logits.sizes)))
    return [unpad_rois(p, len(levels.counts)) for p in (parts, fine, coarse)]


@pytest.mark.parametrize('case', range(2))
def test_object_guided_crops_and_segmentation(golden, case):
    name = f'og/crop/{case}/'
    features = [golden(f'{name}feat{level}')[None] for level in range(5)]
    levels = enlarged_levels(corners(golden(name + 'boxes')), 5)
    assert levels.counts.equal(golden(name + 'n_levels').long())
    rows = golden(name + 'shapes').long()
    expected = ragged(golden(name + 'flat'), rows[:, 2:])
    for level in range(5):
        which = torch.nonzero(rows[:, 1] == level).flatten()
        found = level_crops(features, levels, level, crop_samples, rows[which, 0])
        close(found.values, padded([expected[k] for k in which.tolist()]).values, atol=5e-4)
    x1, y1, x2, y2 = levels.boxes[0, 0].tolist()
    grid = golden(name + 'grid_box0')
    close(grid[0, [0, -1]], torch.tensor([[x1, y1], [x2, y1]]), atol=1e-4)
    close(grid[-1, [0, -1]], torch.tensor([[x1, y2], [x2, y2]]), atol=1e-4)
    probs, fine, coarse = segment(golden, name + 'seg/', features, levels, crop_samples, True)
    expected = ragged(golden(name + 'seg/prob_flat'), golden(name + 'seg/prob_hw'))
    for box, values in zip(golden(name + 'seg/box_idx').tolist(), expected, strict=True):
        close(probs[box][0], values, atol=1e-3)
    close(fine[0], golden(name + 'seg/feat0_box0'), atol=1e-3)
    close(coarse[0], golden(name + 'seg/feat1_box0'), atol=1e-3)


@pytest.mark.parametrize('case', range(3))
def test_uncertain_points(golden, case):
    name = f'og/points/{case}/'
    probs, candidates = padded([golden(name + 'prob')]), golden(name + 'rand')[None]
    certainty = padded([(2 * golden(name + 'prob') - 1).abs()])
    close(-sample_points(certainty, candidates)[0, 0], golden(name + 'uncertainty'))
    found = most_uncertain_points(probs, candidates)
    assert found.valid.all()
    grids = golden(name + 'grids')
    assert {tuple(p) for p in found.points[0].tolist()} == {tuple(p) for p in grids.tolist()}
    for key in ('feat0', 'feat1'):
        sampled = sample_points(padded([golden(name + key)]), grids[None])[0]
        close(sampled, golden(name + key.replace('feat', 'sampled')), atol=5e-5)
    sampled = sample_points(padded([golden(name + 'gt')]), grids[None])[0, 0]
    close(sampled, golden(name + 'sampled_gt'))


@pytest.mark.parametrize('case', range(2))
def test_votes_crops_and_mask_nms_of_pasting(golden, case):
    name = f'og/paste/{case}/'
    detections, threshold = golden(name + 'det'), float(golden(name + 'seg_thresh'))
    levels = enlarged_levels(corners(detections), 1)
    rois = padded(ragged(golden(name + 'roi_flat'), golden(name + 'roi_hw')))
    assert levels.sizes[:, 0].equal(rois.sizes)
    votes, corner = vote_into_pixels(rois, levels.boxes[:, 0])
    # Ours have no frame of zeros, the program's end at the image: compare both on the image.
    on_image = torch.zeros(len(corner), 600, 600)
    for image, values, (x, y), (rows, columns) in zip(
        on_image, votes.values[:, 0], corner.tolist(), votes.sizes.tolist(), strict=True
    ):
        image[y + 40 : y + 40 + rows, x + 40 : x + 40 + columns] = values[:rows, :columns]
    on_image = on_image[:, 40:552, 40:552]
    place = golden(name + 'glue_xywh')[:, :2].tolist()
    expected = ragged(golden(name + 'vote_flat'), golden(name + 'vote_hw'))
    for k, values in zip(golden(name + 'vote_idx').tolist(), expected, strict=True):
        (x, y), (rows, columns) = place[k], values.shape
        close(on_image[k, y : y + rows, x : x + columns], values, atol=1e-4)
    masks = unpacked(golden, name + 'glue_mask_flat', golden(name + 'glue_mask_hw'))
    for image, mask, (x, y) in zip(on_image, masks, place, strict=True):
        rows, columns = mask.shape
        found = image[y : y + rows, x : x + columns]
        # Exact, but for votes that equal the threshold to float precision.
        differs = (found >= threshold) != mask.bool()
        assert ((found - threshold).abs()[differs] < 1e-4).all()
        assert (image >= threshold).sum() == (found >= threshold).sum()

    # Bilinear from the 512 frame to the image (O8), each mask inside its extent.
    crops = ragged(golden(name + 'crop_flat'), golden(name + 'crop_hw'))
    crop_boxes = golden(name + 'crop_boxes')
    boxes = crop_boxes[:, :4].long() + torch.tensor([0, 0, 1, 1])
    height, width = golden(name + 'out_hw').tolist()
    scale = torch.tensor([width, height, width, height]) / 512
    present = [k for k, mask in enumerate(masks) if mask.any()]
    for k, crop, box, score in zip(
        present[: len(crops)], crops, boxes, crop_boxes[:, 4], strict=True
    ):
        assert float(score) == float(detections[k, 4])
        x, y, columns, rows = golden(name + 'glue_xywh')[k].tolist()
        frame = torch.tensor([[x, y, x + columns, y + rows]]) * scale
        patch = resample_into_boxes(masks[k].float()[None, None], frame, box[None], replicate=False)
        close(patch.values[0, 0], crop)
    kept = mask_nms(
        golden(name + 'crop_flat'), boxes, crop_boxes[:, 4], float(golden(name + 'nms_thresh'))
    )
    assert kept.tolist() == golden(name + 'keep').tolist()
    close(crop_boxes[kept], golden(name + 'final_boxes'))


@pytest.mark.parametrize('case', range(2))
def test_mask_nms(golden, case):
    name = f'og/nms/{case}/'
    table, shapes = golden(name + 'boxes'), golden(name + 'mask_hw')
    pixels = torch.cat([m.flatten() for m in unpacked(golden, name + 'mask_flat', shapes)])
    boxes = table[:, :4].long() + torch.tensor([0, 0, 1, 1])
    pairs = overlapping_mask_pairs(pixels, boxes)
    found = torch.zeros(len(table), len(table))
    found[pairs.first, pairs.second] = pairs.iou
    close((found + found.t()).fill_diagonal_(0), golden(name + 'iou').fill_diagonal_(0))
    for threshold in (0.2, 0.5):
        kept = mask_nms(pixels, boxes, table[:, 4], threshold)
        assert kept.tolist() == golden(f'{name}keep_0{int(threshold * 100)}').tolist()


@pytest.mark.parametrize('case', range(4))
def test_graph_targets(golden, case):
    name = f'kg/target/{case}/'
    labels = golden(name + 'labels')[None]
    stamped, by_paper = multi_scale_targets(labels, stamped=True), multi_scale_targets(labels)
    for scale in range(4):
        boxes = label_boxes(labels[:, :: 2**scale, :: 2**scale]).boxes
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2] > 12).all(1)]
        points = golden(f'{name}kpts_s{scale}')
        assert keypoints_of_boxes(boxes).equal(points)
        for targets in (stamped[scale], by_paper[scale]):
            close(targets.heatmaps[0], golden(f'{name}kp_s{scale}'), atol=0)
            close(targets.mid_offsets[0], golden(f'{name}mid_s{scale}'))
        short = golden(f'{name}short_s{scale}')
        close(stamped[scale].short_offsets[0], short)
        # K3: without the overwriting and truncation, only where keypoints are whole pixels.
        usable = (golden(f'{name}short_other_s{scale}') == 0) & (golden(f'{name}kp_s{scale}') > 0)
        usable = usable[:4].repeat_interleave(2, 0)
        close(by_paper[scale].short_offsets[0, :8][usable], short[:8][usable])


def detections(found):
    """Rows [y1, x1, y2, x2, score]."""
    return torch.cat([found.boxes[:, [1, 0, 3, 2]], found.scores[:, None]], dim=1)


@pytest.mark.parametrize('case', range(4))
def test_voting_peaks_grouping_and_boxes(golden, case):
    name = f'kg/vote/{case}/'
    boxes = []
    for scale in range(4):
        maps = {key: golden(f'{name}{key}_s{scale}') for key in ('kp', 'short', 'mid')}
        votes = hough_vote(maps['kp'][None], maps['short'][None])
        close(votes[0], golden(f'{name}hough_s{scale}'), atol=1e-6)
        scores = smooth_votes(votes)
        close(scores[0], golden(f'{name}smooth_s{scale}'), atol=1e-6)
        points = find_keypoints(scores)
        table = torch.stack([points.types, points.x, points.y, points.scores], dim=1)
        close(table, golden(f'{name}keypoints_s{scale}'), atol=1e-6)
        grouping_differs, boxes_differ = golden(f'{name}quirk_s{scale}').tolist()
        assert not grouping_differs
        skeletons = group_keypoints(points, maps['mid'][None])
        close(skeletons.points, golden(f'{name}skeletons_s{scale}'), atol=1e-6)
        found = boxes_from_keypoints(
            skeletons, 2**scale, half_open=False, column_zero_is_missing=bool(boxes_differ)
        )
        close(detections(found), golden(f'{name}boxes_s{scale}'), atol=1e-6)
        close(skeletons.points[found.skeleton_index], golden(f'{name}refined_s{scale}'), atol=1e-6)
        boxes.append(detections(found))
    close(torch.cat(boxes), golden(name + 'boxes_all'), atol=1e-6)


def test_keypoints_in_column_zero_are_lost_only_as_published(golden):
    name = 'kg/vote/3/'
    skeletons = Skeletons(golden(name + 'skeletons_s0'), torch.zeros(25, dtype=torch.long))
    published = boxes_from_keypoints(skeletons, half_open=False, column_zero_is_missing=True)
    close(detections(published), golden(name + 'boxes_s0'), atol=1e-6)
    assert not detections(boxes_from_keypoints(skeletons, half_open=False)).equal(
        detections(published)
    )


def test_boxes_of_noise_free_targets(golden):
    targets = multi_scale_targets(golden('kg/target/0/labels')[None], stamped=True)
    for scale, (heatmaps, short, mid) in enumerate(targets):
        points = find_keypoints(smooth_votes(hough_vote(heatmaps, short)))
        found = boxes_from_keypoints(group_keypoints(points, mid), 2**scale, half_open=False)
        rows = torch.tensor(sorted(detections(found).tolist())).view(-1, 5)
        expected = golden(f'kg/clean/0/boxes_s{scale}')
        close(rows, torch.tensor(sorted(expected.tolist())).view(-1, 5), atol=1e-6)


def test_peaks(golden):
    found = find_keypoints(golden('kg/peaks/0/map')[None])
    table = torch.stack([found.types, found.x, found.y, found.scores], dim=1)
    close(table, golden('kg/peaks/0/keypoints'), atol=0)


@pytest.mark.parametrize('case', range(3))
def test_crowded_grouping(golden, case):
    name = f'kg/group/{case}/'
    types, x, y = golden(name + 'keypoints')[:, :3].long().unbind(1)
    mid = torch.zeros(1, 40, *golden(name + 'hw').tolist())
    mid[0, :, y, x] = golden(name + 'mid_at').t()
    points = Keypoints(torch.zeros_like(x), types, x, y, golden(name + 'keypoints')[:, 3])
    expected = golden(name + 'skeletons')
    close(group_keypoints(points, mid, missing_at_origin=True).points, expected, atol=1e-6)
    by_paper = group_keypoints(points, mid).points
    assert by_paper.equal(expected) == (case != 2)


@pytest.mark.parametrize('scale', range(4))
def test_boxes_of_all_subsets(golden, scale):
    skeletons = Skeletons(golden('kg/box/skeletons'), torch.zeros(192, dtype=torch.long))
    found = boxes_from_keypoints(skeletons, 2**scale, half_open=False)
    assert found.skeleton_index.equal(torch.nonzero(golden('kg/box/keep')).flatten())
    expected = golden('kg/box/boxes')[found.skeleton_index, scale]
    close(detections(found), expected, atol=1e-6)


@pytest.mark.parametrize('name', ['kg/nms/0', 'kg/nms/1', *(f'kg/vote/{k}' for k in range(4))])
def test_box_nms_is_mmcvs(golden, name):
    given, expected = ('boxes', 'kept') if 'nms' in name else ('boxes_all', 'boxes_nms')
    rows = golden(f'{name}/{given}')
    kept, _ = nms(rows[:, [1, 0, 3, 2]].contiguous(), rows[:, 4].contiguous(), 0.5)
    close(kept[:, [1, 0, 3, 2, 4]], golden(f'{name}/{expected}'), atol=1e-6)


@pytest.mark.parametrize('case', range(2))
def test_keypoint_graph_segmentation(golden, case):
    name = f'kg/seg/{case}/'
    features = [golden(f'{name}feat{level}')[None] for level in range(5)]
    boxes = golden(name + 'boxes')
    sizes = [tuple(f.shape[2:]) for f in features]
    levels = pixel_levels(boxes[:, [1, 0, 3, 2]], sizes, without_last_pixel=True)
    assert levels.counts.equal(golden(name + 'n_levels').long())
    present = torch.nonzero(levels.counts).flatten()
    assert boxes[present].equal(golden(name + 'dets'))
    probs, _, _ = segment(golden, name, features, levels, crop_pixels, False)
    expected = ragged(golden(name + 'prob_flat'), golden(name + 'prob_hw'))
    for box, values in zip(present.tolist(), expected, strict=True):
        close(probs[box][0], values)


@pytest.mark.parametrize('case', range(2))
def test_keypoint_graph_masks_pasted_by_roi_masks(golden, case):
    name = f'kg/paste/{case}/'
    height, width = golden(name + 'out_hw').tolist()
    rows = golden(name + 'dets')
    patches = ragged(golden(name + 'patch_flat'), golden(name + 'patch_hw'))
    boxes = rows[:, [1, 0, 3, 2]].clamp(0, 511)  # as the features were cropped
    scale = torch.tensor([width, height, width, height]) / 512
    close(boxes * scale, golden(name + 'out_dets')[:, [1, 0, 3, 2]])
    bits = np.unpackbits(golden(name + 'masks').numpy())[: len(rows) * height * width]
    expected = torch.from_numpy(bits).view(len(rows), height, width).bool()
    found = RoiMasks(boxes * scale, patches, (height, width)).to_bitmaps()
    sides = (boxes[:, 2:] - boxes[:, :2]).flip(1)
    full = [list(p.shape) == side.tolist() for p, side in zip(patches, sides, strict=True)]
    # A patch of the box's own size: the same pixels. The program stretches others over the box, and
    # continues them where mmcell's, like MMDetection's, fade beyond the outermost cell centers.
    assert sum(full) >= 4
    assert found[full].equal(expected[full])


def test_graph_targets_of_keypoints_alone(golden):
    points = golden('kg/target/2/kpts_s0')
    found = graph_targets(points, torch.zeros(len(points), dtype=torch.long), (1, 384, 448))
    close(found.heatmaps[0], golden('kg/target/2/kp_s0'), atol=0)
