from dataclasses import fields

import numpy as np
import pytest

from mmcell.inference.cli import predict
from mmcell.inference.network import NetworkSpec, load_network
from mmcell.inference.options import PredictOptions, remarks, tile_plan
from mmcell.inference.sources import ArraySource


@pytest.fixture
def network_with(files):
    """``network_with(step)``: BrightObjects with one more step in its test pipeline."""
    config, checkpoint = files
    text = config.read_text()

    def make(resize: str):
        config.write_text(
            text.replace("Image'),\n", f"Image'),\n    dict(type='Resize', {resize}),\n")
        )
        return load_network(NetworkSpec(str(config), str(checkpoint), 'cpu'))

    return make


@pytest.mark.parametrize(
    ('resize', 'magnification'),
    [
        ('scale_factor=2.0', 2),
        ('scale_factor=(1.0, 1.5)', 1.5),
        ('scale=(512, 512)', 1),
        ('scale=(512, 512), scale_factor=2.0', 1),  # Resize prefers the scale
    ],
)
def test_magnification_of_the_test_pipeline(network_with, resize, magnification):
    assert network_with(resize).magnification == magnification


def test_tiles_are_as_large_as_asked_where_the_network_sees_them(network_with):
    options = PredictOptions(tile=256, overlap=64)
    plain, twice = (network_with(f'scale_factor={factor:.1f}') for factor in (1, 2))
    expected = tile_plan((600, 800), 1.0, plain, options)
    plan = tile_plan((300, 400), 1.0, twice, options)
    assert (plan.tile, plan.overlap, plan.halo) == (128, 32, expected.halo // 2)
    assert len(plan) == len(expected) and plan.align == 32
    # Magnified twice and shrunk to half: as it comes.
    assert tile_plan((600, 800), 0.5, twice, options) == expected
    assert tile_plan((600, 800), 0.75, twice, options).align == 1


@pytest.mark.parametrize(
    ('evaluator', 'expected'),
    [
        ("dict(type='CellMetric', score_threshold=0.3)", 0.3),
        ("[dict(type='CocoMetric'), dict(type='CellMetric', score_threshold=0.4)]", 0.4),
        ("dict(type='mmdet.CellMetric', score_threshold=0.3)", 0.3),
        ("[dict(type='CellMetric')]", 0.5),
        ("dict(type='CocoMetric')", 0.5),
        ('None', 0.5),
    ],
)
def test_detections_count_from_the_score_on_that_the_model_is_tested_with(
    files, evaluator, expected
):
    config, checkpoint = files
    config.write_text(f'{config.read_text()}\ntest_evaluator = {evaluator}\n')
    network = load_network(NetworkSpec(str(config), str(checkpoint), 'cpu'))
    assert network.score_threshold == expected
    assert PredictOptions().of(network).score_threshold == expected
    assert PredictOptions(score_threshold=0.0).of(network).score_threshold == 0


@pytest.mark.parametrize(
    ('test_cfg', 'place'),
    [
        ('score_thr=0.3', 'model.test_cfg.score_thr'),
        ('rpn=None, rcnn=dict(score_thr=0.3)', 'model.test_cfg.rcnn.score_thr'),
    ],
)
def test_a_threshold_below_that_of_the_model_is_remarked(files, test_cfg, place):
    config, checkpoint = files
    config.write_text(config.read_text().replace('max_per_img=200', test_cfg))
    network = load_network(NetworkSpec(str(config), str(checkpoint), 'cpu'))
    source = ArraySource(np.zeros((9, 9), np.uint8))
    assert remarks(source, network, PredictOptions(score_threshold=0.3)) == []
    (note,) = remarks(source, network, PredictOptions(score_threshold=0.1))
    assert 'drops scores below 0.3' in note and f'lower {place} in the config' in note


def test_command_line_has_the_defaults_of_python():
    # They are typed twice, so that `mmcell --help` need not import torch.
    typed = predict.make_context('predict', ['image.png']).params
    python = {field.name: field.default for field in fields(PredictOptions)}
    shared = python.keys() & typed.keys()
    assert python.keys() - shared == {'mask_threshold', 'tissue'}  # tissue is --all-tiles there
    assert {name: typed[name] for name in shared} == {name: python[name] for name in shared}
