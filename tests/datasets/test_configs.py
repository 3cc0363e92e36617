"""The data set configs run on data of the layout that the converters write."""

from dataclasses import replace
from pathlib import Path

import pytest
from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

import mmcell.plugin  # noqa: F401
from mmcell.datasets.coco_writer import CellImage, write_dataset
from mmcell.datasets.synthetic import generate_cells

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
# Bases of the others, without a data set of their own.
BASES = {'coco_cells', 'pffnet_patches', 'resized_512'}
DATASETS = sorted({p.stem for p in CONFIGS.glob('*.py')} - BASES)
# Tested at 512 x 512 too, so that predictions have to be mapped back to the image.
CTC = ('ctc', 'ctc_u373', 'ctc_psc')
RESIZED = ('dsb2018_512', 'plant_phenotyping', 'neural_cell', *CTC, 'lsc')
MAGNIFICATION = {'dsb2018_scales': 1.25, 'dsb2018_magnified': 1.5}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Two training images, one smaller than any crop and one without objects."""
    folder = tmp_path_factory.mktemp('data')
    small, large = generate_cells(0, 0, 96), generate_cells(0, 1, 300)
    large = replace(large, subsets=['unseen'])
    entries = {
        'small': lambda: small,
        'large': lambda: large,
        'negative': lambda: CellImage(large.pixels, []),
    }
    splits = {'train': ['small', 'negative'], 'val': ['large'], 'test': ['large', 'small']}
    for category in ('nucleus', 'leaf', 'cell'):
        write_dataset(entries, splits, folder / category, category=category, progress=False)
    return folder


def load(name, root):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    text = cfg.pretty_text
    for key in ('data_root', 'kumar_root'):
        if key in cfg:
            text = text.replace(cfg[key], f'{root / category(cfg)}/')
    cfg = Config.fromstring(text, '.py')
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].update(num_workers=0, persistent_workers=False)
    return cfg


def category(cfg):
    (name,) = cfg.get('metainfo', {'classes': ['nucleus']})['classes']
    return name


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.mark.parametrize('name', DATASETS)
def test_config_yields_batches_of_every_split(name, root):
    cfg = load(name, root)
    batches = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
    seen = set()
    for _ in range(6):
        batch = next(batches)
        assert len(batch['inputs']) == cfg.train_dataloader.batch_size
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            assert max(image.shape[1:]) <= cfg.crop_size[0]
            assert sample.gt_sem_seg.sem_seg.shape == (1, *image.shape[1:])
            assert (sample.gt_instances.masks.areas > 0).all()
            assert bool(len(sample.gt_instances)) == bool((sample.gt_sem_seg.sem_seg == 1).any())
            seen.add(Path(sample.img_path).stem)
    assert seen == {'small', 'negative'}
    for part in ('val', 'test'):
        (sample,) = next(iter(Runner.build_dataloader(cfg[f'{part}_dataloader'])))['data_samples']
        factor = 512 / 300 if name in RESIZED else MAGNIFICATION.get(name, 1.0)
        assert sample.scale_factor == (factor, factor)
        assert sample.gt_instances.masks.to_label_map().shape == sample.ori_shape
        assert len(sample.gt_instances) > 0
        assert sample.subset == ['unseen']


@pytest.mark.parametrize('name', DATASETS)
def test_evaluators_read_the_annotations_of_their_split(name, root):
    cfg = load(name, root)
    for part in ('val', 'test'):
        evaluators = cfg[f'{part}_evaluator']
        evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
        for evaluator in evaluators:
            METRICS.build(evaluator)
        dataset = cfg[f'{part}_dataloader'].dataset
        # Gold annotation of the Cell Tracking Challenge is of some cells alone: no precision.
        expected = [] if name in CTC and part == 'test' else [dataset.ann_file]
        found = [e.ann_file for e in evaluators if 'ann_file' in e]
        assert found == [dataset.data_root + ann_file for ann_file in expected]


@pytest.mark.parametrize(
    ('name', 'patches', 'side'),
    [
        # PFFNet, section IV-A and E.
        ('kumar', 20, 256),
        ('tnbc', 5, 256),
        ('bbbc039', 10, 256),
        ('cpm17', 10, 256),
        # Cell R-CNN V2, section 4.2.
        ('kumar_v2', 4, 512),
    ],
)
def test_an_epoch_holds_the_patches_of_the_paper(name, patches, side, root):
    dataset = Runner.build_dataloader(load(name, root).train_dataloader, seed=0).dataset
    assert len(dataset) == 2 * patches
    large = load(name, root)
    large.train_dataloader.dataset.dataset.ann_file = 'annotations/val.json'
    image = Runner.build_dataloader(large.train_dataloader, seed=0).dataset[0]['inputs']
    assert image.shape == (3, min(side, 300), min(side, 300))


def test_leaves_are_trained_at_512_and_tested_as_they_are(root):
    cfg = load('cvppp', root)
    assert Runner.build_dataloader(cfg.train_dataloader).dataset[0]['inputs'].shape == (3, 512, 512)
    assert Runner.build_dataloader(cfg.test_dataloader).dataset[0]['inputs'].shape == (3, 300, 300)


@pytest.mark.parametrize('name', RESIZED)
def test_keypoint_data_are_trained_and_tested_at_512(name, root):
    cfg = load(name, root)
    for part in ('train', 'test'):
        dataset = Runner.build_dataloader(cfg[f'{part}_dataloader'], seed=0).dataset
        shapes = {tuple(dataset[k]['inputs'].shape) for k in range(len(dataset))}
        assert shapes == {(3, 512, 512)}


def test_expanding_pipeline_keeps_boxes_tight_around_masks(root):
    cfg = load('neural_cell', root)
    cfg.train_dataloader.dataset.pipeline = cfg.expanding_pipeline
    dataset = Runner.build_dataloader(cfg.train_dataloader, seed=0).dataset
    stem_of = [Path(dataset.get_data_info(k)['img_path']).stem for k in range(2)]
    seen = 0
    for _ in range(8):
        sample = dataset[stem_of.index('small')]
        assert sample['inputs'].shape == (3, 512, 512)
        instances = sample['data_samples'].gt_instances
        tight = instances.masks.get_bboxes().tensor
        # Labels are resized to the nearest pixel; 512 / 48 is the largest magnification.
        assert ((instances.bboxes.tensor - tight).abs() <= 512 / 48).all()
        seen += len(instances)  # a crop may hold none
    assert seen
