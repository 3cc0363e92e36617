"""Scores against values of the published implementations, and of the definitions on pixel sets."""

import json
from functools import cache

import numpy as np
import pytest

from mmcell.functional.overlap import overlap_table
from mmcell.functional.scores import (
    CtcCounts,
    aji,
    aji_plus,
    count_difference,
    ctc_counts,
    ctc_det,
    ctc_seg,
    dice,
    dsb_precisions,
    object_dice,
    object_f1,
    object_f1_counts,
    object_hausdorff,
    panoptic_quality,
    symmetric_best_dice,
)


@cache
def load(folder):
    values = json.loads((folder / 'golden' / 'metrics_dev.json').read_text())
    with np.load(folder / 'golden' / 'metrics_dev.npz') as arrays:
        maps = {name: (arrays[f'{name}__gt'], arrays[f'{name}__pred']) for name in values['cases']}
    return {name: case['values'] for name, case in values['cases'].items()}, maps


@pytest.fixture(scope='module')
def golden(test_data):
    values, maps = load(test_data)
    assert len(values) == 30
    return [(name, values[name], overlap_table(*maps[name])) for name in values]


def number(value):
    """A stored value; NaN where the reference raises or divides by zero."""
    return float(value) if isinstance(value, (int, float, str)) else float('nan')


def differences(golden, score, reference, tolerance):
    """Names of the cases that are off by more, of those where both have a value."""
    found, compared = set(), 0
    for name, values, table in golden:
        difference = abs(score(table) - number(reference(values)))
        compared += not np.isnan(difference)
        if difference > tolerance:
            found.add(name)
    assert compared >= 25
    return found


@pytest.mark.parametrize(
    ('key', 'score'),
    [
        ('aji_each_pred_once', aji),
        ('aji_pred_reusable', lambda table: aji(table, exclusive=False)),
        ('aji_plus', aji_plus),
        ('pixel_dice', dice),
        ('pq.dq', lambda table: panoptic_quality(table).dq),
        ('pq.sq', lambda table: panoptic_quality(table).sq),
        ('pq.pq', lambda table: panoptic_quality(table).pq),
        ('pq.tp', lambda table: panoptic_quality(table).tp),
        ('pq.fp', lambda table: panoptic_quality(table).fp),
        ('pq.fn', lambda table: panoptic_quality(table).fn),
        ('f1_overlap_gt.f1', object_f1),
        ('f1_overlap_gt.tp', lambda table: object_f1_counts(table).tp),
        ('f1_overlap_gt.fp', lambda table: object_f1_counts(table).fp),
        ('f1_overlap_gt.fn', lambda table: object_f1_counts(table).fn),
        ('sbd', symmetric_best_dice),
        ('dic', count_difference),
        ('ctc_det.NS', lambda table: ctc_counts(table).ns),
        ('ctc_det.FN', lambda table: ctc_counts(table).fn),
        ('ctc_det.FP', lambda table: ctc_counts(table).fp),
    ],
)
def test_scores_follow_their_written_definition_in_every_case(golden, key, score):
    for name, values, table in golden:
        expected = values['definition']
        for part in key.split('.'):
            expected = expected[part]
        np.testing.assert_allclose(
            score(table), float(expected), rtol=0, atol=1e-9, equal_nan=True, err_msg=name
        )


@pytest.mark.parametrize(('key', 'score'), [('ctc_seg', ctc_seg), ('ctc_det.det', ctc_det)])
def test_scores_of_the_cell_tracking_challenge_differ_only_where_there_are_no_objects(
    golden, key, score
):
    # Undefined as written; 0 here, as every score where only one side is empty.
    found = set()
    for name, values, table in golden:
        expected = values['definition']
        for part in key.split('.'):
            expected = expected[part]
        if not np.isclose(score(table), float(expected), rtol=0, atol=1e-9, equal_nan=True):
            assert score(table) == 0
            found.add(name)
    assert found == {'edge_empty_gt'}


def test_object_counts_are_those_of_the_table(golden):
    for name, values, table in golden:
        counted = (table.n_gt, table.n_pred)
        assert counted == (values['definition']['n_gt'], values['definition']['n_pred']), name


# pffnet, hover_net and MoNuSeg take the lowest id for the background.
NO_BACKGROUND = {'edge_no_background'}


@pytest.mark.parametrize('part', ['dq', 'sq', 'pq', 'tp', 'fp', 'fn'])
@pytest.mark.parametrize('tool', ['pffnet.get_fast_pq', 'hover_net.get_fast_pq'])
def test_panoptic_quality_is_that_of_the_papers_code(golden, tool, part):
    # 2e-6: they add 1e-6 to the denominator of SQ, which is 0 without a match.
    found = differences(
        golden,
        lambda table: np.nan_to_num(getattr(panoptic_quality(table), part)),
        lambda values: values['pq'][tool].get(part),
        2e-6,
    )
    assert found <= NO_BACKGROUND


@pytest.mark.parametrize('part', ['dq', 'pq', 'tp', 'fp', 'fn'])
def test_panoptic_quality_is_that_of_stardist_but_for_ious_of_exactly_one_half(golden, part):
    # stardist matches at IoU >= 0.5, and computes in float32.
    found = differences(
        golden,
        lambda table: getattr(panoptic_quality(table), part),
        lambda values: values['pq']['stardist.matching'][part],
        1e-6,
    )
    halves = {name for name, _, table in golden if (2 * table.intersections == table.unions).any()}
    assert {'kumar_1', 'dsb_256x320'} <= halves
    assert found <= halves


def reusable_aji(table):
    return aji(table, exclusive=False)


@pytest.mark.parametrize(
    ('metric', 'tool', 'score', 'tolerance', 'differ'),
    [
        # Two assignments of equal sum of IoU.
        ('aji', 'hover_net.get_fast_aji_plus', aji_plus, 1e-6, {'edge_equal_iou'}),
        # 1e-6 in a denominator lets the larger of two predictions win an exact tie.
        ('aji', 'hover_net.get_fast_aji', reusable_aji, 1e-6, {'edge_equal_iou'}),
        ('aji', 'monuseg_matlab.Aggregated_Jaccard_Index_v1_0', reusable_aji, 1e-6, set()),
        ('object_f1', 'glas_py.F1score', object_f1, 1e-9, set()),
        ('pixel_dice', 'pffnet.pixel_f1', dice, 1e-9, set()),
        ('pixel_dice', 'hover_net.get_dice_1', dice, 1e-9, set()),
        ('best_dice', 'cvppp_lsc.SymmetricBestDice', symmetric_best_dice, 1e-9, set()),
        ('count', 'cvppp_lsc.DiffFGLabels', count_difference, 0, set()),
        ('object_dice', 'glas_matlab.ObjectDice', object_dice, 1e-9, set()),
    ],
)
def test_scores_are_those_of_published_implementations(
    golden, metric, tool, score, tolerance, differ
):
    found = differences(golden, score, lambda values: values[metric].get(tool), tolerance)
    assert found - NO_BACKGROUND == differ


def test_the_variants_of_aji_are_different_scores_on_real_nuclei(golden):
    """The mean AJI of one and the same segmentation, by four names that all read 'AJI'."""
    real = [case for case in golden if case[0].startswith(('dsb', 'kumar'))]
    assert len(real) == 13
    each_once = [aji(table) for _, _, table in real]
    reusable = [reusable_aji(table) for _, _, table in real]
    optimal = [aji_plus(table) for _, _, table in real]
    papers_code = [values['aji']['pffnet.agg_jc_index'] for _, values, _ in real]
    assert sum(np.not_equal(each_once, reusable)) == 9
    assert sum(np.not_equal(optimal, reusable)) == 9
    assert sum(~np.isclose(each_once, papers_code)) == 6


def test_object_hausdorff_is_that_of_the_challenge_script(test_data):
    values, maps = load(test_data)
    compared = 0
    for name in values:
        expected = number(values[name]['object_hausdorff']['glas_matlab.ObjectHausdorff'])
        if not np.isnan(expected) and name != 'edge_both_empty':  # 0 there
            assert object_hausdorff(*maps[name]) == pytest.approx(expected, abs=1e-9), name
            compared += 1
    assert compared == 27


def test_object_dice_differs_from_scripts_that_relabel_pieces_or_keep_background(golden):
    # wesup takes the pieces of an object for objects; glas_py lets background be the partner.
    for tool, in_real_cases in (('wesup.object_dice', 5), ('glas_py.ObjectDice', 11)):
        found = differences(golden, object_dice, lambda v, t=tool: v['object_dice'].get(t), 1e-6)
        assert sum(name.startswith(('dsb', 'kumar')) for name in found) == in_real_cases
        assert 'edge_fragments' in found


@pytest.mark.parametrize('t', range(10))
def test_dsb_precision_is_that_of_stardist_but_for_ious_at_the_threshold(golden, t):
    # stardist matches at >=, and computes in float32.
    found = differences(
        golden,
        lambda table: dsb_precisions(table)[t],
        lambda values: values['matching']['stardist.matching']['accuracy'][t],
        1e-6,
    )
    threshold = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)[t]
    assert found == {name for name, _, table in golden if threshold in table.ious}


@pytest.mark.parametrize(('key', 'score'), [('SEG', ctc_seg), ('DET', ctc_det)])
def test_scores_of_the_cell_tracking_challenge_are_those_of_its_package(golden, key, score):
    found = differences(golden, score, lambda values: values['ctc']['py_ctcmetrics'].get(key), 1e-9)
    assert found <= NO_BACKGROUND


def test_counts_of_frames_add_up_to_the_scores_of_the_sequence(test_data, golden):
    group = json.loads((test_data / 'golden' / 'metrics_dev.json').read_text())['groups']
    frames = [ctc_counts(t) for name, _, t in golden if name in group['ctc_frames']['members']]
    assert len(frames) == 13
    total = CtcCounts(*(sum(values) for values in zip(*frames, strict=True)))
    expected = group['ctc_frames']['py_ctcmetrics']
    assert (total.ns, total.fn, total.fp) == (expected['NS'], expected['FN'], expected['FP'])
    assert total.seg == pytest.approx(expected['SEG'], abs=1e-9)
    assert total.det == pytest.approx(expected['DET'], abs=1e-9)
