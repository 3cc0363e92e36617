import json
import runpy
from pathlib import Path

import cv2
import pytest

from mmcell.engine.curves import Curves, draw_curves, read_curves

TOOLS = Path(__file__).parents[2] / 'tools'


def _write(folder, start, *entries):
    log = folder / start / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('\n'.join(e if isinstance(e, str) else json.dumps(e) for e in entries))


def _train(iteration, loss):
    return {'iter': iteration, 'step': iteration, 'loss': loss, 'lr': 0.1, 'time': 1.0}


def test_losses_and_scores_are_read_with_their_iterations(tmp_path):
    _write(
        tmp_path,
        '20260101_000000',
        _train(50, 2.0),
        {'cell/aji': 0.25, 'time': 3.0, 'step': 70},
        _train(100, float('nan')),
        '{"iter": 150, "lo',
    )
    curves = read_curves(tmp_path)
    assert curves.name == tmp_path.name
    assert curves.train == {'loss': [(50, 2.0)], 'lr': [(50, 0.1), (100, 0.1)]}
    assert curves.val == {'cell/aji': [(70, 0.25)]}


def test_scores_logged_by_epoch_stand_at_the_last_iteration(tmp_path):
    _write(tmp_path, '1', _train(300, 2.0), {'cell/aji': 0.25, 'step': 1})
    assert read_curves(tmp_path).val == {'cell/aji': [(300, 0.25)]}


def test_resumed_run_replaces_what_was_done_twice(tmp_path):
    _write(
        tmp_path,
        '20260101_000000',
        *[_train(i, 1.0) for i in (10, 20)],
        {'cell/aji': 0.1, 'step': 20},
        _train(30, 1.0),
        {'cell/aji': 0.2, 'step': 30},
    )
    _write(tmp_path, '20260101_000100', _train(30, 9.0), {'cell/aji': 0.3, 'step': 30})
    curves = read_curves(tmp_path)
    assert curves.train['loss'] == [(10, 1.0), (20, 1.0), (30, 9.0)]
    assert curves.val['cell/aji'] == [(20, 0.1), (30, 0.3)]


def test_what_a_fresh_start_no_longer_logs_is_forgotten(tmp_path):
    _write(tmp_path, '1', {**_train(10, 1.0), 'loss_mask': 0.5}, {'cell/sq': 0.1, 'step': 10})
    _write(tmp_path, '2', _train(10, 9.0))
    curves = read_curves(tmp_path)
    assert curves.train == {'loss': [(10, 9.0)], 'lr': [(10, 0.1)]} and curves.val == {}
    draw_curves([curves], tmp_path / 'curves.png')


def test_run_without_logs_is_empty_and_cannot_be_drawn(tmp_path):
    curves = read_curves(tmp_path)
    assert curves == Curves(tmp_path.name)
    with pytest.raises(ValueError, match=f'nothing was logged by {tmp_path.name}'):
        draw_curves([curves], tmp_path / 'curves.png')


def test_one_run_is_three_panels_and_a_comparison_one_panel_per_quantity(tmp_path):
    for name in ('a', 'b'):
        _write(
            tmp_path / name,
            '1',
            *[{**_train(i, 3.0 / i), 'loss_mask': 1.0 / i} for i in range(1, 50)],
            {
                'cell/aji': 0.5,
                'cell/aji_std': 0.1,
                'cell/images_left_out': 0,
                'cell/count': 12.0,
                'step': 49,
            },
        )
    main = runpy.run_path(str(TOOLS / 'analysis' / 'plot_curves.py'))['main']
    main([str(tmp_path / 'a'), '--out', str(tmp_path / 'plots/one.png')])
    main([str(tmp_path / 'a'), str(tmp_path / 'b'), '--out', str(tmp_path / 'two.png')])
    # Panels are 600 x 400 pixels. Compared: loss, loss_mask, lr, AJI.
    assert cv2.imread(str(tmp_path / 'plots/one.png')).shape[:2] == (400, 3 * 600)
    assert cv2.imread(str(tmp_path / 'two.png')).shape[:2] == (2 * 400, 3 * 600)
