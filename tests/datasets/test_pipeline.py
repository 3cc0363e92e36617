"""Loading and augmentation on an image whose pixels carry the id of the object they belong to."""

import itertools

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from pycocotools import mask as coco_mask

import mmcell.plugin  # noqa: F401
from mmcell.datasets.transforms import rotate90_boxes
from mmcell.structures import LabelMapMasks

CLASSES = 3
LOAD = [{'type': 'LoadCellImage'}, {'type': 'LoadCellAnnotations'}]
PACK = [{'type': 'SemanticFromInstances'}, {'type': 'PackDetInputs'}]
CROP = [
    {
        'type': 'RandomCrop',
        'crop_size': (24, 20),
        'allow_negative_crop': True,
        'recompute_bbox': True,
    },
    {
        'type': 'FilterAnnotations',
        'by_box': False,
        'by_mask': True,
        'min_gt_mask_area': 1,
        'keep_empty': False,
    },
]
FLIPS = [
    {'type': 'RandomFlip', 'prob': 0.5, 'direction': 'horizontal'},
    {'type': 'RandomFlip', 'prob': 0.5, 'direction': 'vertical'},
    {'type': 'RandomRotate90', 'prob': 0.75},
]


def compose(*configs):
    return Compose([TRANSFORMS.build(config) for config in configs])


def label_map(height=41, width=53):
    """A grid of cells with gaps and an L-shaped one, whose box is larger than what it covers."""
    labels = np.zeros((height, width), dtype=np.int32)
    number = 0
    for top in range(1, height, 10):
        for left in range(2, width, 9):
            number += 1
            labels[top : top + 7, left : left + 6] = number
    labels[2:40, 2] = labels[38:40, 2:50] = number + 1
    return labels


def sample(tmp_path, labels, sizes=None):
    """What CellDataset hands to the pipeline; the image's channels are id, id // 7 and 99."""
    image = np.dstack([labels, labels // 7, np.full_like(labels, 99)]).astype(np.uint8)
    path = tmp_path / 'cells.png'
    cv2.imwrite(str(path), image)
    instances = []
    for label in np.unique(labels[labels > 0]):
        rle = coco_mask.encode(np.asfortranarray(labels == label))
        instances.append(
            {
                'bbox': [0, 0, 1, 1],
                'bbox_label': int(label) % CLASSES,
                'ignore_flag': int(label == 5),
                'mask': rle,
            }
        )
    height, width = sizes or labels.shape
    return {
        'img_path': str(path),
        'img_id': 1,
        'height': height,
        'width': width,
        'instances': instances,
    }


def tight_box(mask):
    rows, cols = np.nonzero(mask)
    return [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]


def assert_consistent(packed):
    """Masks, boxes, labels and semantic map all tell the same as the image's pixels."""
    blue = packed['inputs'][0].numpy()
    samples = packed['data_samples']
    kept, ignored = samples.gt_instances, samples.ignored_instances
    present = set(np.unique(blue)) - {0}
    seen = set()
    semantic = np.zeros_like(blue)
    for instances in (kept, ignored):
        assert isinstance(instances.masks, LabelMapMasks)
        for bitmap, box, label in zip(
            instances.masks.to_ndarray(), instances.bboxes.tensor, instances.labels, strict=True
        ):
            (number,) = set(blue[bitmap > 0])
            np.testing.assert_array_equal(bitmap > 0, blue == number)
            assert box.tolist() == tight_box(bitmap)
            assert label == number % CLASSES
            seen.add(number)
            semantic[bitmap > 0] = label + 1 if instances is kept else 255
    assert seen == present
    assert (5 in present) == (len(ignored) == 1)
    np.testing.assert_array_equal(samples.gt_sem_seg.sem_seg[0].numpy(), semantic)
    assert samples.gt_sem_seg.ignore_index == 255


def test_loaded_annotations_fit_the_image(tmp_path):
    packed = compose(*LOAD, *PACK)(sample(tmp_path, label_map()))
    assert packed['inputs'].shape == (3, 41, 53)
    assert packed['inputs'].dtype == torch.uint8
    assert_consistent(packed)


@pytest.mark.parametrize('seed', range(12))
def test_augmentation_moves_everything_together(tmp_path, seed):
    np.random.seed(seed)
    packed = compose(*LOAD, *CROP, *FLIPS, *PACK)(sample(tmp_path, label_map()))
    assert sorted(packed['inputs'].shape[1:]) == [20, 24]
    assert tuple(packed['inputs'].shape[1:]) == packed['data_samples'].img_shape
    assert_consistent(packed)


def test_crop_larger_than_the_image_keeps_it_whole(tmp_path):
    crop = {**CROP[0], 'crop_size': (224, 224)}
    packed = compose(*LOAD, crop, *PACK)(sample(tmp_path, label_map()))
    assert packed['inputs'].shape == (3, 41, 53)
    assert_consistent(packed)


# Whole factors, at which OpenCV's nearest neighbour is right, too.
@pytest.mark.parametrize('scale', [(106, 82), (159, 123)])
def test_resized_masks_are_those_of_the_resized_image(tmp_path, scale):
    resize = {'type': 'Resize', 'scale': scale, 'interpolation': 'nearest'}
    packed = compose(*LOAD, resize, *PACK)(sample(tmp_path, label_map()))
    blue, masks = packed['inputs'][0].numpy(), packed['data_samples'].gt_instances.masks
    shown = masks.to_label_map()
    ignored = blue == 5
    np.testing.assert_array_equal(shown[~ignored] > 0, blue[~ignored] > 0)


def test_image_without_objects_passes_the_whole_chain(tmp_path):
    empty = sample(tmp_path, np.zeros((41, 53), dtype=np.int32))
    packed = compose(*LOAD, *CROP, *FLIPS, *PACK)(empty)
    samples = packed['data_samples']
    assert len(samples.gt_instances) == len(samples.ignored_instances) == 0
    assert samples.gt_instances.bboxes.tensor.shape == (0, 4)
    assert samples.gt_instances.labels.dtype == torch.int64
    assert (samples.gt_sem_seg.sem_seg == 0).all()


def test_size_mismatch_names_file_and_both_sizes(tmp_path):
    with pytest.raises(ValueError, match=r'cells.png: the image is \(41, 53\).*\(41, 50\)'):
        compose(*LOAD)(sample(tmp_path, label_map(), sizes=(41, 50)))


def test_missing_image_is_named_when_it_is_loaded(tmp_path):
    info = sample(tmp_path, label_map())
    (tmp_path / 'cells.png').unlink()
    with pytest.raises(FileNotFoundError, match='cells.png'):
        compose(*LOAD)(info)


def test_damaged_run_lengths_are_named(tmp_path):
    info = sample(tmp_path, label_map())
    info['instances'][2]['mask'] = {'size': [41, 53], 'counts': b'0020'}
    with pytest.raises(ValueError, match='cells.png: its annotations: mask 2'):
        compose(*LOAD)(info)


@pytest.mark.parametrize('turns', range(4))
def test_rotated_boxes_cover_the_rotated_pixels(turns):
    image = np.zeros((9, 12))
    image[2:5, 3:10] = 1
    (box,) = rotate90_boxes(torch.tensor([[3.0, 2, 10, 5]]), (9, 12), turns).tolist()
    assert box == tight_box(np.rot90(image, turns))


def test_rotation_takes_all_turns_and_none():
    np.random.seed(0)
    transform = TRANSFORMS.build({'type': 'RandomRotate90', 'prob': 0.75})
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    seen = {transform({'img': image})['img'].tobytes() for _ in range(60)}
    assert seen == {np.rot90(image, turns).tobytes() for turns in range(4)}
    never = TRANSFORMS.build({'type': 'RandomRotate90', 'prob': 0})
    assert never({'img': image})['img'] is image


PIXEL_TRANSFORMS = [
    {'type': 'RandomGaussianBlur', 'sigma': (1.0, 2.0), 'prob': 1},
    {'type': 'RandomMedianBlur', 'kernel_sizes': (3,), 'prob': 1},
    {'type': 'RandomGaussianNoise', 'std': (4.0, 4.0), 'prob': 1},
    {'type': 'RandomEmboss', 'strength': (0.5, 0.5), 'prob': 1},
    {'type': 'RandomSharpen', 'amount': (0.5, 0.5), 'prob': 1},
    {'type': 'RandomChannelShuffle', 'prob': 1},
]


@pytest.mark.parametrize('config', PIXEL_TRANSFORMS, ids=lambda config: config['type'])
def test_pixel_transform_returns_a_new_uint8_image_or_none_at_prob_0(config):
    np.random.seed(0)
    image = np.random.default_rng(0).integers(0, 256, (32, 33, 3), dtype=np.uint8)
    before = image.copy()
    changed = TRANSFORMS.build(config)({'img': image})['img']
    assert changed.dtype == np.uint8
    assert changed.shape == image.shape
    assert (changed != image).any()
    np.testing.assert_array_equal(image, before)
    assert TRANSFORMS.build({**config, 'prob': 0})({'img': image})['img'] is image
    with pytest.raises(TypeError, match='place it before PhotoMetricDistortion'):
        TRANSFORMS.build(config)({'img': image.astype(np.float32)})


def test_blurs_smooth_and_noise_has_the_asked_spread():
    np.random.seed(0)
    flat = np.full((100, 100, 3), 128, dtype=np.uint8)
    blur, median, noise = (TRANSFORMS.build(config) for config in PIXEL_TRANSFORMS[:3])
    noisy = noise({'img': flat})['img']
    assert noisy.std() == pytest.approx(4.0, rel=0.03)
    assert noisy.mean() == pytest.approx(128, abs=0.1)
    assert blur({'img': noisy})['img'].std() < 2
    speck = flat.copy()
    speck[50, 50] = 255
    np.testing.assert_array_equal(median({'img': speck})['img'], flat)


def test_emboss_lights_the_top_left_and_sharpen_raises_what_stands_out():
    emboss, sharpen = (TRANSFORMS.build(config) for config in PIXEL_TRANSFORMS[3:5])
    image = np.full((9, 9, 3), 100, dtype=np.uint8)
    image[4, 4] = 140
    embossed = image[:, :, 0].copy()
    # Half of 40 more where the bright pixel is below or right, less where it is above or left.
    embossed[[3, 3, 4], [3, 4, 3]] = 120
    embossed[[4, 5, 5], [5, 4, 5]] = 80
    np.testing.assert_array_equal(emboss({'img': image})['img'], np.dstack([embossed] * 3))
    sharpened = np.full((9, 9), 100, dtype=np.uint8)
    sharpened[3:6, 3:6] = 98  # 100 - 0.5 * 40 / 8 = 97.5, to even
    sharpened[4, 4] = 160  # 140 + 0.5 * 40
    np.testing.assert_array_equal(sharpen({'img': image})['img'], np.dstack([sharpened] * 3))


def test_channel_shuffle_takes_every_order():
    np.random.seed(0)
    shuffle = TRANSFORMS.build({'type': 'RandomChannelShuffle', 'prob': 1})
    pixel = np.array([[[1, 2, 3]]], dtype=np.uint8)
    seen = {tuple(shuffle({'img': pixel})['img'].ravel().tolist()) for _ in range(100)}
    assert seen == set(itertools.permutations((1, 2, 3)))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'type': 'RandomRotate90', 'prob': 1.2}, 'prob must be in'),
        ({'type': 'RandomGaussianBlur', 'sigma': (2, 1)}, 'sigma must be'),
        ({'type': 'RandomGaussianNoise', 'std': (0, 1)}, 'std must be'),
        ({'type': 'RandomMedianBlur', 'kernel_sizes': (4,)}, 'kernel_sizes must be odd'),
        ({'type': 'RandomEmboss', 'strength': (0.5, 0.2)}, 'strength must be'),
        ({'type': 'RandomSharpen', 'amount': (0, 1)}, 'amount must be'),
        ({'type': 'RandomChannelShuffle', 'prob': -1}, 'prob must be'),
    ],
)
def test_bad_settings_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(config)
