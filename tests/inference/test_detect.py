import pickle

import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmcell.engine.errors import ConfigError
from mmcell.inference.detect import (
    DetectOptions,
    DetectorFactory,
    OutOfMemoryError,
    magnification,
    objects_of,
)
from mmcell.inference.network import NetworkSpec, load_network
from mmcell.structures import RoiMasks

SIZE = (12, 16)
OPTIONS = DetectOptions()


def bitmaps():
    """Three overlapping masks, of 20, 9 and 0 pixels."""
    masks = np.zeros((3, *SIZE), dtype=bool)
    masks[0, 2:6, 3:8] = masks[1, 4:7, 6:9] = True
    return masks


def as_rles(masks):
    return [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]


def predictions(masks, **more):
    scores = torch.tensor([0.5, 0.9, 0.8])
    return InstanceData(scores=scores, labels=torch.tensor([1, 0, 2]), masks=masks, **more)


@pytest.mark.parametrize(
    'masks',
    [
        bitmaps(),
        torch.from_numpy(bitmaps()),
        bitmaps().astype(np.float32) * 0.5,
        (bitmaps() * 128).astype(np.uint8),
        bitmaps().astype(np.uint8),
        BitmapMasks(bitmaps().astype(np.uint8), *SIZE),
        as_rles(bitmaps()),
    ],
    ids=['bool', 'tensor', 'probabilities', '255ths', 'integers', 'BitmapMasks', 'RLE'],
)
def test_masks_of_every_kind_give_the_same_objects(masks):
    objects = objects_of(predictions(masks), SIZE, SIZE, OPTIONS)
    assert objects.boxes.tolist() == [[3, 2, 8, 6], [6, 4, 9, 7]]  # the empty one is gone
    assert [patch.all() for patch in objects.patches] == [True, True]
    assert objects.scores.tolist() == pytest.approx([0.5, 0.9])
    assert objects.classes.tolist() == [1, 0] and objects.ids.tolist() == [1, 2]


def test_masks_in_their_boxes_are_cut_tight():
    probs = torch.zeros(3, 8, 8)
    probs[0, 2:4, 1:7] = 0.5
    probs[1, :, 4:] = 0.49
    boxes = torch.tensor([[4.0, 2.0, 12.0, 10.0]] * 3)
    objects = objects_of(predictions(RoiMasks(boxes, probs, SIZE)), SIZE, SIZE, OPTIONS)
    assert objects.boxes.tolist() == [[5, 4, 11, 6]]


def test_scores_below_the_threshold_are_left_out_and_mask_scores_are_the_ranks():
    instances = predictions(bitmaps(), mask_scores=torch.tensor([0.4, 0.3, 0.2]))
    sure = objects_of(instances, SIZE, SIZE, DetectOptions(score_threshold=0.9))
    assert sure.boxes.tolist() == [[6, 4, 9, 7]]
    assert sure.scores.tolist() == pytest.approx([0.9])
    assert sure.ranks.tolist() == pytest.approx([0.3])
    without = objects_of(predictions(bitmaps()), SIZE, SIZE, OPTIONS)
    assert without.ranks.tolist() == without.scores.tolist()


def test_objects_that_others_cover_are_left_out():
    covered = bitmaps()
    covered[0, 2:6, 3:8], covered[1] = True, False
    covered[1, 3:6, 3:8] = True  # 15 of the 20 pixels of the first, and surer
    for min_visible, left in ((0.0, 2), (0.25, 2), (0.3, 1)):
        options = DetectOptions(min_visible=min_visible)
        found = objects_of(predictions(covered), SIZE, SIZE, options)
        assert len(found) == left
        assert found.areas.tolist()[-1] == 15  # those that stay are not cut


def test_objects_come_back_in_pixels_of_the_window():
    twice = objects_of(predictions(bitmaps()), SIZE, (24, 32), OPTIONS)
    assert twice.boxes.tolist() == [[6, 4, 16, 12], [12, 8, 18, 14]]
    assert twice.areas.tolist() == [80, 36]


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match='predicts no masks'):
        objects_of(InstanceData(scores=torch.ones(1)), SIZE, SIZE, OPTIONS)
    with pytest.raises(ValueError, match=r'masks of \(12, 16\) pixels, expected \(5, 5\)'):
        objects_of(predictions(bitmaps()), (5, 5), (5, 5), OPTIONS)
    with pytest.raises(ValueError, match='gave masks as list'):
        objects_of(predictions(['a', 'b', 'c']), SIZE, SIZE, OPTIONS)


def test_no_detection_is_no_object():
    nothing = InstanceData(
        scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.int64), masks=bitmaps()[:0]
    )
    assert len(objects_of(nothing, SIZE, SIZE, OPTIONS)) == 0


def rgb(gray):
    return np.dstack([gray] * 3)


def square(size, side, shape=(40, 40)):
    image = np.zeros(shape, dtype=np.uint8)
    image[size : size + side, size : size + side] = 200
    return rgb(image)


@pytest.fixture
def spec(files):
    return NetworkSpec(*map(str, files), device='cpu')


def test_a_window_is_resampled_to_the_size_the_model_knows(spec):
    window = square(10, 6)
    assert DetectorFactory(spec)()(window).scores.tolist() == pytest.approx([0.6])
    half = DetectorFactory(spec, DetectOptions(0.0, magnification=0.5))()(window)
    assert half.scores.tolist() == pytest.approx([0.3])  # it saw 3 pixels
    assert half.boxes.tolist() == [[10, 10, 16, 16]] and half.areas.tolist() == [36]


def test_magnification_is_the_ratio_of_the_pixel_sizes_or_nothing():
    assert magnification(0.5, 0.25) == 2
    assert magnification(0.262, 0.25) == 1 and magnification(0.238, 0.25) == 1
    assert magnification(0.264, 0.25) == pytest.approx(1.056)
    assert magnification(None, 0.25) == magnification(0.25, None) == 1


def test_a_batch_gives_what_single_windows_give_in_one_pass_per_size(spec, bright_objects):
    detector = DetectorFactory(spec)()
    windows = [square(3, 6), square(3, 7, (30, 50)), square(9, 8), square(0, 9, (30, 50))]
    single = [detector(window) for window in windows]
    bright_objects.calls = 0
    batch = detector.batch(windows)
    assert bright_objects.calls == 2
    assert [o.boxes.tolist() for o in batch] == [o.boxes.tolist() for o in single]
    assert [o.areas.tolist() for o in batch] == [[36], [49], [64], [81]]


def test_the_factory_travels_without_its_network(spec):
    factory = DetectorFactory(spec, network=load_network(spec))
    travelled = pickle.dumps(factory)
    assert len(travelled) < 1000
    found = pickle.loads(travelled)()(square(3, 6))
    assert found.boxes.tolist() == [[3, 3, 9, 9]]


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory'),
        RuntimeError('[enforce fail] DefaultCPUAllocator: not enough memory'),
        MemoryError(),
    ],
)
def test_short_memory_says_what_to_lower(spec, bright_objects, monkeypatch, error):
    def fail(self, bright):
        raise error

    monkeypatch.setattr(bright_objects, 'find', fail)
    with pytest.raises(OutOfMemoryError, match='cpu for 1 window.*50 x 30 pixels: lower --tile'):
        DetectorFactory(spec)()(np.zeros((30, 50, 3), dtype=np.uint8))


def test_other_errors_of_the_model_stay_what_they_are(spec):
    image = np.zeros((40, 40), dtype=np.uint8)
    image[5, 5:18] = 255
    with pytest.raises(RuntimeError, match='confused'):
        DetectorFactory(spec)()(rgb(image))


MASK_RCNN = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
EVERYTHING = DetectOptions(score_threshold=0.0)
NOISE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


def test_mask_rcnn_with_full_size_masks_finds_what_it_finds_in_mmdetection(narrow_model):
    from mmdet.apis import inference_detector, init_detector

    config, checkpoint = narrow_model(MASK_RCNN)
    found = DetectorFactory(NetworkSpec(str(config), str(checkpoint), 'cpu'), EVERYTHING)()(NOISE)
    reference = init_detector(str(config), str(checkpoint), palette='random', device='cpu')
    expected = inference_detector(reference, NOISE[:, :, ::-1].copy()).pred_instances
    kept = expected.masks.flatten(1).any(1)
    assert kept.sum() == len(found) > 0
    np.testing.assert_allclose(found.scores, expected.scores[kept], atol=1e-5)
    assert found.classes.tolist() == expected.labels[kept].tolist()
    for mask, box, patch in zip(expected.masks[kept], found.boxes, found.patches, strict=True):
        pasted = np.zeros(mask.shape, dtype=bool)
        pasted[box[1] : box[3], box[0] : box[2]] = patch
        np.testing.assert_array_equal(pasted, mask)


@pytest.mark.parametrize(
    ('resize', 'alone', 'as_full'),
    [
        # The config fits images into 1333 x 800: twice the magnification for half the size.
        (None, (800, 1200), (400, 600)),
        (dict(type='Resize', scale=(64, 32), keep_ratio=False), (32, 64), (16, 32)),
    ],
    ids=['fitted', 'squeezed'],
)
def test_all_windows_are_resized_like_the_full_one(narrow_model, resize, alone, as_full):
    changes = {'test_dataloader.dataset.pipeline.1': resize} if resize else {}
    config, checkpoint = narrow_model(MASK_RCNN, changes)
    network = load_network(NetworkSpec(str(config), str(checkpoint), 'cpu'))
    seen = []
    network.module.data_preprocessor.register_forward_pre_hook(
        lambda module, args: seen.append(tuple(args[0]['inputs'][0].shape[1:]))
    )
    for options in (DetectOptions(), DetectOptions(full_window=(60, 90))):
        DetectorFactory(network.spec, options, network)()(NOISE[:30, :45])
    assert seen == [alone, as_full]


PROPOSALS = {
    'model.test_cfg.rpn.nms_pre': 5,
    'model.test_cfg.rpn.max_per_img': 3,
    'model.test_cfg.rcnn.max_per_img': 2,
    'test_dataloader.dataset.pipeline.1': dict(type='Resize', scale_factor=1.0, keep_ratio=True),
}


@pytest.mark.parametrize('bias', [-9.0, 9.0])
def test_limits_are_named_only_where_they_cut_off_likely_objects(narrow_model, bias):
    config, checkpoint = narrow_model(MASK_RCNN, PROPOSALS)
    network = load_network(NetworkSpec(str(config), str(checkpoint), 'cpu'))
    head = network.module.rpn_head.rpn_cls
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.constant_(head.bias, bias)
    few = DetectorFactory(network.spec, EVERYTHING, network)()(NOISE)
    always = {'model.test_cfg.rcnn.max_per_img=2'}
    proposals = {'model.test_cfg.rpn.nms_pre=5', 'model.test_cfg.rpn.max_per_img=3'}
    assert set(few.limits) == (always | proposals if bias > 0 else always)
    sure = DetectorFactory(network.spec, DetectOptions(score_threshold=0.99), network)()(NOISE)
    assert set(sure.limits) == (proposals if bias > 0 else set())


def test_a_detector_without_limits_names_none(spec):
    assert DetectorFactory(spec)()(square(3, 6)).limits == ()


def test_the_limit_of_a_one_stage_detector_is_named(spec):
    crowd = np.zeros((200, 200), dtype=np.uint8)
    crowd[::10, :180:12] = 200  # 300 pixels
    found = DetectorFactory(spec, EVERYTHING)()(rgb(crowd))
    assert len(found) == 300 and found.limits == ('model.test_cfg.max_per_img=200',)


def test_limits_that_the_model_itself_names_are_passed_on(spec, monkeypatch):
    network = load_network(spec)
    test_step = network.module.test_step

    def with_limit(batch):
        samples = test_step(batch)
        samples[0].pred_instances.set_metainfo(dict(limits_reached=('model.test_cfg.own=3',)))
        return samples

    monkeypatch.setattr(network.module, 'test_step', with_limit)
    found = DetectorFactory(spec, EVERYTHING, network)()(square(3, 6))
    assert len(found) == 1 and found.limits == ('model.test_cfg.own=3',)


def test_half_precision_is_that_of_the_device_and_only_where_wanted(
    spec, bright_objects, monkeypatch
):
    seen = []
    find = bright_objects.find

    def record(self, bright):
        seen.append(torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else None)
        return find(self, bright)

    monkeypatch.setattr(bright_objects, 'find', record)
    monkeypatch.setattr('mmcell.engine.bfloat16.cpu_has_bfloat16', lambda: True)
    for half in (True, False):
        DetectorFactory(spec, DetectOptions(half=half))()(square(10, 6))
    assert seen == [torch.bfloat16, None]


def test_half_precision_is_refused_where_the_device_has_none(spec, monkeypatch):
    monkeypatch.setattr('mmcell.engine.bfloat16.cpu_has_bfloat16', lambda: False)
    with pytest.raises(ConfigError, match='slower here than full.*Leave --half out'):
        DetectorFactory(spec, DetectOptions(half=True))()
