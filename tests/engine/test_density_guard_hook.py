from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.registry import DATASETS, HOOKS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import DefaultScope

import mmcell.plugin  # noqa: F401
from mmcell.engine.hooks.density_guard_hook import _crop_size

LIMITS = dict(
    train_cfg=dict(rpn_proposal=dict(nms_pre=9, max_per_img=9), rcnn=dict(max_per_img=1)),
    test_cfg=dict(rpn=dict(nms_pre=9, max_per_img=9), rcnn=dict(max_per_img=9)),
)


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def warnings(tiny_coco, caplog, monkeypatch):
    """Run the hook on four images of three objects, and give what it warns of."""
    said = []
    monkeypatch.setattr(
        'mmcell.engine.hooks.density_guard_hook.print_log',
        lambda text, logger, level=20: said.append((level, text)),
    )

    def run(changes, event='before_train', pipeline=(), wrap=None, **options):
        dataset = dict(
            type='CellDataset',
            data_root=str(tiny_coco),
            ann_file='annotations/train.json',
            pipeline=list(pipeline),
        )
        dataset = DATASETS.build(wrap(dataset) if wrap else dataset)
        loader = SimpleNamespace(dataset=dataset)
        cfg = Config(dict(model=LIMITS))
        cfg.merge_from_dict(changes)
        runner = SimpleNamespace(cfg=cfg, val_loop=object())
        for name in ('train', 'val', 'test'):
            setattr(runner, f'{name}_dataloader', loader)
        getattr(HOOKS.build(dict(type='DensityGuardHook', **options)), event)(runner)
        assert any('3 objects an image or crop (median)' in t for _, t in said) or pipeline
        return [text for level, text in said if level > 20]

    return run


def test_limits_above_the_data_pass(warnings):
    assert warnings({}) == []


def test_limit_as_high_as_the_data_passes(warnings):
    assert warnings({'model.test_cfg.rcnn.max_per_img': 3}) == []


@pytest.mark.parametrize(
    ('key', 'event', 'loader'),
    [
        ('model.train_cfg.rpn_proposal.max_per_img', 'before_train', 'train_dataloader'),
        ('model.train_cfg.rpn_proposal.nms_pre', 'before_train', 'train_dataloader'),
        ('model.test_cfg.rcnn.max_per_img', 'before_train', 'val_dataloader'),
        ('model.test_cfg.rpn.max_per_img', 'before_test', 'test_dataloader'),
    ],
)
def test_warning_names_the_key_the_numbers_and_what_to_type(warnings, key, event, loader):
    (warning,) = warnings({key: 2}, event)
    assert f'{key} = 2 is below the 3 objects' in warning
    assert loader in warning
    assert f'--cfg-options {key}=6' in warning


def test_unlimited_is_no_limit(warnings):
    assert warnings({'model.test_cfg.rcnn.max_per_img': -1}) == []


def test_crops_hold_fewer_objects_than_their_images(warnings):
    crop = dict(type='RandomCrop', crop_size=(16, 16))
    changes = {'model.train_cfg.rpn_proposal.max_per_img': 2}
    found = warnings(changes, pipeline=[crop])
    assert [text for text in found if 'train_cfg' in text] == []


def test_height_and_width_are_those_that_mmdet_crops():
    crop = TRANSFORMS.build(dict(type='RandomCrop', crop_size=(30, 10)))
    cropped = crop(dict(img=np.zeros((64, 64, 3), np.uint8)))['img']
    dataset = SimpleNamespace(pipeline=SimpleNamespace(transforms=[crop]))
    assert _crop_size(dataset) == cropped.shape[:2]


@pytest.mark.parametrize(
    'wrap',
    [
        lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
        lambda dataset: dict(type='ConcatDataset', datasets=[dataset, dataset]),
    ],
)
def test_wrapped_data_sets_are_looked_into(warnings, wrap):
    assert len(warnings({'model.test_cfg.rcnn.max_per_img': 2}, 'before_test', wrap=wrap)) == 1


@pytest.mark.parametrize('quantile', [0, -0.1, 1.5])
def test_quantile_outside_its_range_is_refused(quantile):
    with pytest.raises(ValueError, match=r'quantile must be in \(0, 1\]'):
        HOOKS.build(dict(type='DensityGuardHook', quantile=quantile))


def test_model_without_limits_is_left_alone(warnings, monkeypatch):
    monkeypatch.setitem(LIMITS, 'train_cfg', None)
    assert warnings({'model.test_cfg': None}) == []
