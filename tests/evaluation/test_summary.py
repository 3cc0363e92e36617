import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from mmcell.evaluation.registry import SCORES
from mmcell.evaluation.summary import (
    BETTER,
    DEFAULT_SCORES,
    DEFINITIONS,
    RANKED_DEFINITIONS,
    as_metrics,
    render_text,
    score_image,
    summarize,
    write_summary,
)
from mmcell.functional.overlap import overlap_table

# Object 1 is found with IoU 3/4, object 2 is missed, prediction 7 is wrong.
GT = np.array([[1, 1, 0, 2], [1, 1, 0, 2], [0, 0, 0, 0]])
PRED = np.array([[5, 5, 0, 0], [5, 0, 0, 0], [0, 0, 7, 0]])
NOTHING = np.zeros_like(GT)


def rows_of(*pairs, scores='all', subsets=None):
    subsets = subsets or [()] * len(pairs)
    return [
        {'image': f'{k}.png', 'img_id': k, **score_image(gt, pred, scores), 'subset': names}
        for k, ((gt, pred), names) in enumerate(zip(pairs, subsets, strict=True))
    ]


def test_every_score_has_a_definition_and_a_direction():
    assert list(DEFINITIONS) == list(SCORES)
    assert set(DEFAULT_SCORES) <= set(DEFINITIONS)
    assert list(BETTER) == [*DEFINITIONS, *RANKED_DEFINITIONS]
    assert {name: better for name, better in BETTER.items() if better != 'higher'} == {
        'object_hausdorff': 'lower',
        'count_difference': 'zero',
        'absolute_count_difference': 'lower',
    }


def test_definitions_say_how_exactly_the_pooled_scores_are_pooled():
    pooled = summarize(rows_of((GT, PRED)), scores='all')['pooled']
    assert set(pooled) == {name for name, text in DEFINITIONS.items() if '. Pooled: ' in text}


@pytest.mark.parametrize('name', SCORES)
def test_each_score_can_be_chosen_alone_and_is_then_the_only_one(name):
    alone, everything = score_image(GT, PRED, [name]), score_image(GT, PRED, 'all')
    assert set(alone) & set(SCORES) == {name}
    assert alone == {column: everything[column] for column in alone}
    summary = summarize(rows_of((GT, PRED), scores=[name]), scores=[name])
    assert list(summary['scores']) == list(summary['definitions']) == [name]


def test_scores_that_are_not_chosen_are_not_computed(monkeypatch):
    monkeypatch.setattr('mmcell.evaluation.registry.aji_plus', None)
    assert score_image(GT, PRED, ['aji'])['aji'] == 3 / (4 + 2 + 1)
    with pytest.raises(TypeError):
        score_image(GT, PRED, ['aji_plus'])


def test_scores_that_need_label_maps_refuse_an_overlap_table():
    with pytest.raises(ValueError, match='object_hausdorff needs both label maps'):
        score_image(overlap_table(GT, PRED), scores='all')


def test_every_score_worked_by_hand():
    # Objects of 4 and 2 pixels, predictions of 3 and 1; one pair shares 3 pixels.
    row = score_image(GT, PRED, 'all')
    assert {name: row[name] for name in DEFINITIONS} == pytest.approx(
        {
            'aji': 3 / (4 + 2 + 1),
            'aji_plus': 3 / 7,
            'aji_reusable': 3 / 7,
            'dice': 6 / 10,
            'f1': 1 / 2,
            'dq': 1 / 2,
            'sq': 3 / 4,
            'pq': 3 / 8,
            'sbd': (6 / 7 + 0) / 2,
            'object_dice': ((4 * 6 / 7) / 6 + (3 * 6 / 7) / 4) / 2,
            # The pair is 1 px apart. Object 2 and prediction 7, alone, are sqrt(5) px apart, which
            # is the nearest for both.
            'object_hausdorff': ((4 + 2 * 5**0.5) / 6 + (3 + 5**0.5) / 4) / 2,
            'count_difference': 0,
            'absolute_count_difference': 0,
            # One of three objects is right up to the threshold 0.7; 0.75 must be exceeded.
            'dsb': 5 / 10 / 3,
            'ctc_seg': (3 / 4 + 0) / 2,
            'ctc_det': 1 - (10 + 1) / 20,
            'op_csb': (3 / 8 + 9 / 20) / 2,
        }
    )


def test_label_maps_and_their_overlap_table_give_the_same_row():
    assert score_image(overlap_table(GT, PRED)) == score_image(GT, PRED)


def test_rows_hold_plain_numbers():
    row = score_image(GT, PRED, 'all')
    assert {type(value) for value in row.values()} <= {int, float}


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['aji_puls'], r"no score 'aji_puls'. Did you mean 'aji_plus'.*Known are aji, aji_plus"),
        ('dise', r"no score 'dise'. Did you mean 'dice'"),
        (['dice', 'ap50'], 'ap50 ranks detections by their confidence.*CellMetric'),
        ([], 'no score is chosen'),
    ],
)
def test_unknown_scores_are_refused_with_close_names(names, message):
    for call in (lambda: score_image(GT, PRED, names), lambda: summarize([], scores=names)):
        with pytest.raises(ValueError, match=message):
            call()


def test_pooled_dice_adds_up_pixels_over_images():
    summary = summarize(rows_of((GT, PRED), (GT, GT), (GT, NOTHING)), scores=['dice'])
    assert summary['scores']['dice']['mean'] == pytest.approx((6 / 10 + 1 + 0) / 3)
    assert summary['pooled'] == {'dice': 2 * (3 + 6) / (6 + 4 + 6 + 6 + 6)}


def test_pooled_ctc_adds_up_objects_over_images():
    scores = ['ctc_seg', 'ctc_det', 'op_csb']
    summary = summarize(rows_of((GT, PRED), (GT, GT), (GT, NOTHING)), scores=scores)
    assert summary['scores']['ctc_seg']['mean'] == pytest.approx((3 / 8 + 1 + 0) / 3)
    seg, det = 2.75 / 6, 1 - 31 / 60
    assert summary['pooled'] == pytest.approx(
        {'ctc_seg': seg, 'ctc_det': det, 'op_csb': (seg + det) / 2}
    )


def test_differences_of_counts_keep_their_sign_and_are_defined_for_empty_images():
    rows = rows_of((GT, NOTHING), (NOTHING, PRED), (GT, NOTHING), (NOTHING, NOTHING))
    scores = summarize(rows, scores=['count_difference', 'absolute_count_difference'])['scores']
    assert (scores['count_difference']['mean'], scores['count_difference']['n_images']) == (-0.5, 4)
    assert scores['absolute_count_difference']['mean'] == 1.5


def test_summary_of_no_image_is_undefined():
    summary = summarize([], scores='all')
    assert summary['n_images'] == 0
    assert all(np.isnan(value) for value in summary['pooled'].values())
    assert all(np.isnan(score['mean']) for score in summary['scores'].values())


@pytest.fixture
def with_subsets():
    return rows_of(
        (GT, GT), (GT, PRED), (GT, NOTHING), subsets=[['seen'], ['unseen', 'liver'], ['unseen']]
    )


def test_subsets_are_summarized_on_their_own_and_together(with_subsets):
    summary = summarize(with_subsets)
    assert list(summary['subsets']) == ['liver', 'seen', 'unseen']
    assert summary['n_images'] == 3
    assert summary['scores']['pq']['mean'] == pytest.approx((1 + 0.375 + 0) / 3)
    unseen = summary['subsets']['unseen']
    assert unseen['n_images'] == 2
    assert unseen['scores']['pq'] == {'mean': 0.1875, 'std': 0.1875, 'n_images': 2}
    assert unseen['pooled']['pq'] == 0.75 / (1 + 1 / 2 + 3 / 2)
    assert summary['subsets']['seen']['counts']['n_gt'] == 2
    assert unseen == {
        key: value
        for key, value in summarize(with_subsets[1:]).items()
        if key in ('n_images', 'images_left_out', 'scores', 'pooled', 'counts')
    }


def test_subsets_are_printed_and_written(with_subsets, tmp_path):
    summary = summarize(with_subsets)
    lines = render_text(summary).splitlines()
    counts = [line.split(' (')[0] for line in lines if ' images (' in line]
    assert counts == ['liver: 1 images', 'seen: 1 images', 'unseen: 2 images', 'all: 3 images']
    write_summary(tmp_path, with_subsets, summary)
    with open(tmp_path / 'per_image.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    columns, first = list(rows[0]), ['image', 'img_id', 'subset', *DEFAULT_SCORES]
    first += ['n_gt', 'n_pred', 'tp', 'fp', 'fn', 'f1_tp']
    assert columns[: len(first)] == first
    # What pooled values are made of; no score that is not in the summary.
    assert {'shared_px', 'foreground_px', 'sum_iou'} <= set(columns[len(first) :])
    assert 'aji_reusable' not in columns
    assert [row['subset'] for row in rows] == ['seen', 'unseen;liver', 'unseen']
    text = (tmp_path / 'summary.md').read_text()
    titles = [line for line in text.splitlines() if line.startswith('#')]
    assert titles == ['## All images', '## liver', '## seen', '## unseen', '## Definitions']
    assert json.loads((tmp_path / 'summary.json').read_text())['subsets']['seen']['n_images'] == 1


def test_without_subsets_there_is_one_table_and_no_column(tmp_path):
    rows = rows_of((GT, PRED), scores=['aji'])
    summary = summarize(rows, scores=['aji'])
    assert 'subsets' not in summary
    write_summary(tmp_path, rows, summary)
    lines = (tmp_path / 'per_image.csv').read_text().splitlines()
    assert lines == ['image,img_id,aji,n_gt,n_pred', f'0.png,0,{3 / 7},2,2']
    assert '#' not in (tmp_path / 'summary.md').read_text()


def test_metrics_are_flat():
    metrics = as_metrics(summarize(rows_of((GT, PRED)), scores=['aji', 'dice']))
    assert metrics == {
        'aji': 3 / 7,
        'aji_std': 0.0,
        'dice': 0.6,
        'dice_std': 0.0,
        'dice_pooled': 0.6,
        'images_left_out': 0,
    }


def test_summaries_need_neither_torch_nor_mmdetection():
    code = (
        'import sys, mmcell.evaluation.summary\n'
        "assert not {'torch', 'mmdet', 'mmengine', 'mmcv'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
