"""The configs of the papers say what the papers say; the values here are typed from the papers."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

import mmcell.plugin  # noqa: F401
from mmcell.functional.keypoint_graph import DISC_RADIUS_PX, PEAK_THRESHOLD
from mmcell.inference.options import PredictOptions

ROOT = Path(__file__).parents[1] / 'configs'
METHODS = ('mask_rcnn', 'cell_rcnn', 'cell_rcnn_v2', 'panoptic_fpn', 'pffnet')
TIP = [
    f'{method}_{data}' + ('_tip' if method == 'cell_rcnn_v2' and data in ('kumar', 'tnbc') else '')
    for data in ('kumar', 'tnbc', 'bbbc039', 'cvppp')
    for method in METHODS
] + ['cell_rcnn_v2_cpm17', 'pffnet_cpm17']
V2 = {  # learning rate, iterations, steps, longest side of a training image
    'cell_rcnn_v2_kumar': (0.0025, 17280, [8640, 12960], 512),
    # 60 epochs of 30 images in 6 orientations; the orientations follow from Kumar's 17,280.
    'cell_rcnn_v2_tnbc': (0.00075, 60 * 180, [30 * 180, 45 * 180], 512),
    # 100 epochs of 28 images.
    'cell_rcnn_v2_cell17': (0.001, 100 * 168, [50 * 168, 75 * 168], 600),
}
V2_RIVALS = {
    'mask_rcnn_cell17': 'cell_rcnn_v2_cell17',
    'cell_rcnn_cell17': 'cell_rcnn_v2_cell17',
    'ablations/cell_rcnn_v2_tnbc_baseline': 'cell_rcnn_v2_tnbc',
    'ablations/cell_rcnn_v2_kumar_baseline': 'cell_rcnn_v2_kumar',
    'ablations/cell_rcnn_v2_kumar_fusion': 'cell_rcnn_v2_kumar',
    'ablations/cell_rcnn_v2_kumar_semantic': 'cell_rcnn_v2_kumar',
    'ablations/cell_rcnn_v2_kumar_fusion_semantic': 'cell_rcnn_v2_kumar',
}
ORIENTED = {'RandomFlip', 'RandomRotate90'}
NOISY = {'RandomGaussianBlur', 'RandomMedianBlur', 'RandomGaussianNoise'}
COLOURED = {'RandomEmboss', 'RandomSharpen', 'RandomChannelShuffle'}


@cache  # reading one takes most of a test's time
def load(name):
    return Config.fromfile(ROOT / f'{name}.py')


def train_set(cfg):
    """The data set below a RepeatDataset, and how often it is repeated."""
    dataset = cfg.train_dataloader.dataset
    return (dataset.dataset, dataset.times) if 'times' in dataset else (dataset, 1)


def transforms(cfg):
    return {t.type for t in train_set(cfg)[0].pipeline}


def differences(child, parent, path=''):
    """Dotted keys of two configs whose values differ."""
    if not (isinstance(child, dict) and isinstance(parent, dict)):
        return set() if child == parent else {path}
    keys = [*child, *(key for key in parent if key not in child)]
    return {
        found
        for key in keys
        for found in differences(child.get(key), parent.get(key), f'{path}.{key}'.lstrip('.'))
    }


@pytest.mark.parametrize('name', TIP)
def test_schedule_of_pffnets_paper(name):
    cfg = load(name)
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer == dict(type='SGD', lr=0.003, momentum=0.9, weight_decay=0.0001)
    warmup, steps = cfg.param_scheduler
    assert (warmup.type, warmup.begin, warmup.end, warmup.by_epoch) == ('LinearLR', 0, 500, False)
    assert steps.gamma == 0.1
    assert steps.milestones == [cfg.train_cfg.max_iters * 3 // 4]
    assert cfg.train_cfg.max_iters == 25600  # of the authors' release; the paper has no number
    assert cfg.train_dataloader.batch_size == 1
    assert cfg.model.backbone.depth == 101
    assert cfg.model.backbone.norm_cfg == dict(type='GN', num_groups=32, requires_grad=True)


@pytest.mark.parametrize('name', TIP)
def test_patches_and_augmentation_of_pffnets_paper(name):
    cfg = load(name)
    _, times = train_set(cfg)
    data = next(d for d in ('kumar', 'tnbc', 'bbbc039', 'cvppp', 'cpm17') if f'_{d}' in name)
    patches = {'kumar': 20, 'tnbc': 5, 'bbbc039': 10, 'cpm17': 10, 'cvppp': 1}
    assert times == patches[data]
    crops = [t.crop_size for t in train_set(cfg)[0].pipeline if t.type == 'RandomCrop']
    assert crops == ([] if data == 'cvppp' else [(256, 256)])
    resizes = [t.scale for t in train_set(cfg)[0].pipeline if t.type == 'Resize']
    assert resizes == ([(512, 512)] if data == 'cvppp' else [])
    assert transforms(cfg) & (ORIENTED | NOISY | COLOURED) == (
        ORIENTED if data == 'bbbc039' else ORIENTED | NOISY
    )


@pytest.mark.parametrize('data', ['kumar', 'tnbc', 'bbbc039', 'cvppp', 'cpm17'])
def test_loss_weights_of_pffnets_paper(data):
    model = load(f'pffnet_{data}').model
    assert model.semantic_head.loss_weight == model.instance_semantic_head.loss_weight == 0.1
    assert model.loss_consistency.loss_weight == 1
    assert model.instance_semantic_head.mode == 'residual_attention'


def test_generalisation_study_trains_on_cpm17_and_tests_on_kumar():
    for method in ('pffnet', 'cell_rcnn_v2'):
        cfg = load(f'{method}_cpm17')
        assert train_set(cfg)[0].data_root == 'data/cpm17/'
        assert cfg.test_dataloader.dataset.data_root == 'data/kumar/'


@pytest.mark.parametrize('name', V2)
def test_schedule_of_the_v2_paper(name):
    cfg = load(name)
    rate, iterations, steps, side = V2[name]
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer == dict(type='SGD', lr=rate, momentum=0.9, weight_decay=0.0001)
    warmup, decay = cfg.param_scheduler
    assert (warmup.type, warmup.end) == ('LinearLR', 500)
    assert (decay.milestones, decay.gamma) == (steps, 0.1)
    assert cfg.train_cfg.max_iters == iterations
    assert cfg.crop_size == (side, side)
    assert cfg.train_dataloader.batch_size == 1


def test_data_of_the_v2_paper():
    kumar, tnbc, cell17 = (load(name) for name in V2)
    assert train_set(kumar)[1] == 4  # patches of 512 x 512 from 1000 x 1000
    assert [t.crop_size for t in train_set(kumar)[0].pipeline if t.type == 'RandomCrop'] == [
        (512, 512)
    ]
    everything = ORIENTED | NOISY | COLOURED
    assert transforms(kumar) & everything == everything
    for cfg in (tnbc, cell17):
        assert transforms(cfg) & everything == ORIENTED
        assert 'RandomCrop' not in transforms(cfg)


@pytest.mark.parametrize('name', V2_RIVALS)
def test_rivals_in_the_v2_paper_differ_in_the_model_alone(name):
    different = differences(load(name)._cfg_dict, load(V2_RIVALS[name])._cfg_dict)
    assert {key.split('.')[0] for key in different} == {'model'}


@pytest.mark.parametrize(
    ('suffix', 'expected'),
    [
        ('replacement', {'instance_semantic_head.mode'}),
        ('summation', {'instance_semantic_head.mode'}),
        ('attention', {'instance_semantic_head.mode'}),
        ('no_quality', {'roi_head.mask_quality_head'}),
        ('no_consistency', {'loss_consistency'}),
    ],
)
@pytest.mark.parametrize('data', ['tnbc', 'bbbc039', 'cvppp', 'tiny_dsb2018'])
def test_ablation_of_pffnet_changes_one_thing(data, suffix, expected):
    parent, child = load(f'pffnet_{data}'), load(f'ablations/pffnet_{data}_{suffix}')
    different = differences(child._cfg_dict, parent._cfg_dict)
    assert different == {f'model.{key}' for key in expected}
    if 'instance_semantic_head.mode' in expected:
        assert child.model.instance_semantic_head.mode == suffix


def test_ablation_of_v2_has_the_parts_of_its_table():
    def parts(name):
        model = load(name).model
        return (
            bool(model.get('instance_semantic_head')),
            bool(model.get('semantic_head')),
            model.roi_head.mask_head.type == 'DualModalMaskHead',
        )

    folder = 'ablations/cell_rcnn_v2'
    for data in ('kumar', 'tiny_dsb2018'):
        tiny = data != 'kumar'
        baseline = 'mask_rcnn_tiny_dsb2018' if tiny else f'{folder}_kumar_baseline'
        semantic = 'cell_rcnn_tiny_dsb2018' if tiny else f'{folder}_kumar_semantic'
        assert parts(baseline) == (False, False, False)
        assert parts(f'{folder}_{data}_fusion') == (True, False, False)
        assert parts(semantic) == (False, True, False)
        assert parts(f'{folder}_{data}_fusion_semantic') == (True, True, False)
        assert parts(f'cell_rcnn_v2_{data}') == (True, True, True)


KEYPOINT_GRAPH = {'dsb2018': 402, 'neural_cell': 386}  # training images


@pytest.mark.parametrize('data', KEYPOINT_GRAPH)
def test_training_of_keypoint_graphs_paper(data):
    cfg = load(f'keypoint_graph_{data}')
    images = KEYPOINT_GRAPH[data]
    assert cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size == 100 * images  # epochs
    pipeline = {t.type: t for t in train_set(cfg)[0].pipeline}
    assert {'Expand', 'RandomCrop', 'RandomFlip', 'PhotoMetricDistortion'} <= set(pipeline)
    colour = pipeline['PhotoMetricDistortion']
    assert (colour.saturation_range, colour.hue_delta) == ((1, 1), 0)  # contrast and brightness
    for loader in ('train', 'test'):
        resize = [t.scale for t in cfg[f'{loader}_dataloader'].dataset.pipeline if 'scale' in t]
        assert resize == [(512, 512)]
    assert {'ap50', 'ap70', 'box_ap50', 'box_ap70', 'matched_iou50', 'matched_iou70'} <= set(
        cfg.val_evaluator[0].scores
    )


@pytest.mark.parametrize('data', KEYPOINT_GRAPH)
def test_network_of_keypoint_graphs_paper(data):
    with DefaultScope.overwrite_default_scope('mmdet'):
        cfg = deepcopy(load(f'keypoint_graph_{data}').model)
        cfg.backbone.init_cfg = None  # no download
        model = MODELS.build(cfg)
    assert load(f'keypoint_graph_{data}').model.backbone.init_cfg.type == 'Pretrained'
    assert model.backbone.depth == 50 and model.backbone.num_stages == 3  # conv1 to conv4
    assert model.bbox_head.scales == (0, 1, 2, 3)
    assert {c.kernel_size for c in model.bbox_head.modules() if isinstance(c, nn.Conv2d)} == {
        (7, 7)
    }
    assert model.bbox_head.test_cfg.peak_threshold == PEAK_THRESHOLD == 0.004
    assert DISC_RADIUS_PX == 5
    assert model.bbox_head.weights == (1, 1, 1)
    assert not [m for m in model.neck.modules() if 'Norm' in type(m).__name__]


@pytest.mark.parametrize('data', KEYPOINT_GRAPH)
def test_rivals_in_keypoint_graphs_paper_differ_in_one_thing(data):
    parent = load(f'keypoint_graph_{data}')._cfg_dict
    single = load(f'keypoint_graph_single_scale_{data}')._cfg_dict
    assert differences(single, parent) == {'model.bbox_head.scales'}
    assert single.model.bbox_head.scales == (0,)
    from_s1 = load(f'ablations/keypoint_graph_{data}_s1')._cfg_dict
    assert differences(from_s1, parent) == {'model.segment_from', 'model.mask_head.in_channels'}
    assert from_s1.model.segment_from == 's1'


@pytest.mark.parametrize(
    ('data', 'images', 'root'),
    [
        ('ctc_hela', 184, 'ctc_hela'),
        ('ctc_u373', 230, 'ctc_u373'),
        ('ctc_psc', 202, 'ctc_psc'),
        ('lsc', 128 + 31 + 27 + 624, 'lsc'),
    ],
)
def test_object_guided_paper_trains_on_everything_annotated_for_the_challenges(data, images, root):
    cfg = load(f'object_guided_{data}')
    dataset, _ = train_set(cfg)
    assert (dataset.data_root, dataset.ann_file) == (f'data/{root}/', 'annotations/all_train.json')
    assert cfg.train_cfg.max_iters == 100 * (images // cfg.train_dataloader.batch_size)
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1.25e-4)
    assert transforms(cfg) & {'RandomCrop', 'RandomFlip'} == {'RandomCrop', 'RandomFlip'}
    assert [t.scale for t in dataset.pipeline if t.type == 'Resize'] == [(512, 512)]


def test_object_guided_paper_finetunes_psc_on_four_gold_frames_for_ten_epochs():
    silver, gold = load('object_guided_ctc_psc'), load('object_guided_ctc_psc_gold')
    assert gold.train_cfg.max_iters == 10 * 4 // gold.train_dataloader.batch_size
    assert train_set(gold)[0].ann_file == 'annotations/all_gold_train.json'
    # It goes on from the last weights of the other.
    assert (
        gold.load_from == f'work_dirs/object_guided_ctc_psc/iter_{silver.train_cfg.max_iters}.pth'
    )
    assert gold.model == silver.model


@pytest.mark.parametrize('name', [p.stem for p in ROOT.glob('*.py')])
def test_training_and_test_pipelines_of_a_config_build(name):
    cfg = load(name)
    with DefaultScope.overwrite_default_scope('mmdet'):
        for dataset in (train_set(cfg)[0], cfg.val_dataloader.dataset, cfg.test_dataloader.dataset):
            assert DATASETS.get(dataset.type) is not None
            for transform in dataset.pipeline:
                TRANSFORMS.build(transform)


OBJECT_GUIDED = {'dsb2018': 402, 'plant': 284, 'neural_cell': 386}  # training images
STRATEGIES = {  # k and beta of table II
    'uniform_small': (1, 1),
    'biased_small': (1, 0.5),
    'uniform': (3, 3),
    'mildly_biased': (3, 2),
    'slightly_biased': (3, 1),
    'greatly_biased': (5, 0.75),
    'heavily_biased': (10, 0.75),
}


@pytest.mark.parametrize('data', OBJECT_GUIDED)
def test_settings_of_the_object_guided_paper(data):
    cfg = load(f'object_guided_{data}')
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1.25e-4)
    epochs = cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size / OBJECT_GUIDED[data]
    assert 99 <= epochs <= 100
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        sizes = [t.scale for t in loader.dataset.pipeline if t.type == 'Resize']
        assert sizes == [(512, 512)]
    assert {'RandomFlip', 'RandomCrop'} <= transforms(cfg)
    assert transforms(cfg) & (NOISY | COLOURED | {'PhotoMetricDistortion'}) == set()
    model = cfg.model
    assert (model.backbone.depth, model.backbone.norm_cfg.type) == (50, 'BN')
    assert model.neck.norm_cfg.type == 'BN'
    heatmap = model.bbox_head.loss_center_heatmap
    assert (heatmap.alpha, heatmap.gamma) == (2, 4)
    points = model.point_head
    assert (points.oversample, points.keep, points.pixels_per_point) == (3, 0.75, 8)


@pytest.mark.parametrize('data', [*OBJECT_GUIDED, 'tiny_dsb2018'])
def test_object_guided_without_refinement_differs_in_it_alone(data):
    different = differences(
        load(f'object_guided_wo_refine_{data}')._cfg_dict, load(f'object_guided_{data}')._cfg_dict
    )
    assert different == {'model.point_head'}


@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('data', OBJECT_GUIDED)
def test_sampling_strategies_of_the_object_guided_paper(data, strategy):
    child = load(f'ablations/object_guided_{data}_{strategy}')
    points = child.model.point_head
    assert (points.oversample, points.keep) == STRATEGIES[strategy]
    different = differences(child._cfg_dict, load(f'object_guided_{data}')._cfg_dict)
    assert different <= {'model.point_head.oversample', 'model.point_head.keep'}


@pytest.mark.parametrize('data', ['dsb2018', 'neural_cell'])
def test_cornernet_is_scored_by_boxes_and_differs_from_object_guided_in_the_model(data):
    cornernet, ours = load(f'cornernet_{data}'), load(f'object_guided_{data}')
    assert cornernet.model.type == 'CornerNet'
    assert cornernet.val_evaluator[0].scores == ['box_ap', 'box_ap50', 'box_ap70', 'box_ap75']
    different = {key.split('.')[0] for key in differences(cornernet._cfg_dict, ours._cfg_dict)}
    assert {'optim_wrapper', 'train_cfg', 'train_dataloader'} & different == set()


@pytest.mark.parametrize('data', ['kumar', 'tnbc', 'bbbc039', 'cvppp', 'cpm17', 'dsb2018'])
def test_a_prediction_leaves_out_what_a_test_does(data):
    metric = load(f'pffnet_{data}').test_evaluator[0]
    assert metric.min_visible == PredictOptions().min_visible == 0.3  # the authors' code
