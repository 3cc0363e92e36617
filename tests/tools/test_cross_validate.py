import csv
import json
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmcell.engine.cross_validation import _run, cross_validate, pool_folds
from mmcell.engine.errors import ConfigError, DataError, UserError
from mmcell.engine.run import test as run_test
from mmcell.engine.run import train
from mmcell.evaluation.summary import score_image, summarize, write_summary

TOOL = Path(__file__).parents[2] / 'tools' / 'cross_validate.py'


@pytest.fixture
def folded(tmp_path, tiny_coco):
    """Two folds: images 0 and 1 are tested in the first, 2 and 3 in the second."""
    root = tmp_path / 'data'
    shutil.copytree(tiny_coco, root)
    coco = json.loads((root / 'annotations' / 'train.json').read_text())
    for fold, tested in ((1, {0, 1}), (2, {2, 3})):
        for part, ids in (('test', tested), ('train', {0, 1, 2, 3} - tested)):
            kept = {
                **coco,
                'images': [i for i in coco['images'] if i['id'] in ids],
                'annotations': [a for a in coco['annotations'] if a['image_id'] in ids],
            }
            (root / 'annotations' / f'fold{fold}_{part}.json').write_text(json.dumps(kept))
    return root


@pytest.fixture
def in_process(monkeypatch, forget_runs):
    """Trainings and tests run here instead of in processes that import everything again."""

    def status(command):
        tool, config, *rest = command[1:]
        forget_runs()
        if Path(tool).name == 'train.py':
            assert rest == ['--resume']
            train(config, resume='auto')
        else:
            run_test(config, *rest)
        return 0

    monkeypatch.setattr('mmcell.engine.cross_validation._status', status)


def read_csv(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def config(tiny_config, folded, tmp_path):
    """Two iterations on the folded data, every iteration recorded."""
    path = tiny_config(
        'crossed',
        max_iters=2,
        model__test_cfg__rcnn__score_thr=0.01,
        test_evaluator=[
            dict(type='CellMetric', score_threshold=0.01),
            dict(type='CellCocoMetric', ann_file=str(folded / 'annotations' / 'test.json')),
        ],
        custom_hooks=[dict(type='RecordHook', path=str(tmp_path / 'seen'))],
    )
    text = path.read_text()
    path.write_text(text.replace(text.split("data_root='")[1].split("'")[0], str(folded)))
    return path


def test_every_fold_is_trained_tested_and_pooled_and_finished_ones_are_left_alone(
    config, folded, in_process, tmp_path, capfd
):
    work_dir = tmp_path / 'cv'
    arguments = [str(config), '--folds', '2', '--work-dir', str(work_dir)]
    main = runpy.run_path(str(TOOL))['main']
    main([*arguments, '--cfg-options', 'optim_wrapper.optimizer.lr=0.0001'])

    # What each fold was trained and tested on.
    seen = [json.loads(line)['images'] for line in (tmp_path / 'seen.0').read_text().splitlines()]
    assert len(seen) == 4
    assert {i for images in seen[:2] for i in images} <= {2, 3}
    assert {i for images in seen[2:] for i in images} <= {0, 1}
    by_fold = [read_csv(work_dir / f'fold{k}' / 'test' / 'per_image.csv') for k in (1, 2)]
    assert [[row['image'] for row in rows] for rows in by_fold] == [
        ['0.png', '1.png'],
        ['2.png', '3.png'],
    ]
    assert 'lr=0.0001' in (work_dir / 'fold2.py').read_text()
    assert all((work_dir / f'fold{k}' / 'iter_2.pth').is_file() for k in (1, 2))

    pooled = read_csv(work_dir / 'per_image.csv')
    assert [(row['image'], row['subset']) for row in pooled] == [
        ('0.png', 'fold1'),
        ('1.png', 'fold1'),
        ('2.png', 'fold2'),
        ('3.png', 'fold2'),
    ]
    summary = json.loads((work_dir / 'summary.json').read_text())
    dice = [[float(row['dice']) for row in rows] for rows in by_fold]
    assert summary['scores']['dice']['mean'] == pytest.approx(np.mean(sum(dice, [])))
    means = [np.mean(values) for values in dice]
    assert summary['folds']['scores']['dice']['mean'] == pytest.approx(np.mean(means))
    assert summary['folds']['scores']['dice']['std'] == pytest.approx(np.std(means))
    assert summary['subsets']['fold2']['n_images'] == 2

    # Again: nothing is trained. With the second fold unfinished: that one alone is tested.
    (work_dir / 'summary.json').unlink()
    (work_dir / 'fold2' / 'finished').unlink()
    capfd.readouterr()
    overrides = {'optim_wrapper.optimizer.lr': 0.0001}
    again = cross_validate(config, 2, work_dir=work_dir, overrides=overrides)
    assert 'fold 1: finished already' in capfd.readouterr().out
    assert len((tmp_path / 'seen.0').read_text().splitlines()) == 4
    assert again['scores']['dice']['mean'] == pytest.approx(np.mean(sum(dice, [])))
    assert (work_dir / 'fold2' / 'finished').is_file()

    with pytest.raises(ConfigError, match='fold1 holds results of another config'):
        cross_validate(config, 2, work_dir=work_dir)
    # Folds drawn anew, under the same names.
    annotations = folded / 'annotations'
    (annotations / 'fold1_train.json').write_text((annotations / 'fold2_train.json').read_text())
    with pytest.raises(ConfigError, match='or of folds drawn otherwise'):
        cross_validate(config, 2, work_dir=work_dir, overrides=overrides)


def test_folds_are_checked_before_anything_runs(config, folded, tmp_path):
    work_dir = tmp_path / 'cv'
    with pytest.raises(DataError, match=r'fold3_train.json does not exist .* --folds 3\.'):
        cross_validate(config, 3, work_dir=work_dir)
    with pytest.raises(DataError, match='fold2_test.json exists: .* more than 1 folds'):
        cross_validate(config, 1, work_dir=work_dir)
    assert not work_dir.exists()


def test_every_process_is_started_with_this_python(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        'subprocess.run',
        lambda command, env, **_: seen.update(env) or SimpleNamespace(returncode=3),
    )
    monkeypatch.setenv('CONDA_PREFIX', '/another/python')
    with pytest.raises(UserError, match='the training of fold 1 ended with status 3'):
        _run('train', ['config.py'], fold=1, processes=2)
    assert seen['PYTHON'] == sys.executable
    assert seen['CONDA_PREFIX'] == '/another/python'


def test_config_with_scores_of_all_images_alone_is_refused_before_anything_runs(config, tmp_path):
    with pytest.raises(ConfigError, match='no score of single images'):
        cross_validate(
            config, 2, work_dir=tmp_path / 'cv', overrides={'test_evaluator.0.scores': 'box_ap'}
        )
    assert not (tmp_path / 'cv').exists()


def test_config_without_scores_per_image_is_refused(config, tmp_path):
    with pytest.raises(ConfigError, match='test_evaluator has 0 CellMetrics'):
        cross_validate(
            config, 2, work_dir=tmp_path, overrides={'test_evaluator.0.type': 'DumpResults'}
        )


def test_failing_fold_ends_the_run_with_a_plain_message(config, tmp_path, capfd):
    overrides = {'model.backbone.type': 'NoSuchNet'}
    with pytest.raises(UserError, match='the training of fold 1 ended with status 1;'):
        cross_validate(config, 2, work_dir=tmp_path / 'cv', overrides=overrides)
    assert "model.backbone.type = 'NoSuchNet'" in capfd.readouterr().err
    assert not (tmp_path / 'cv' / 'fold1' / 'finished').exists()


def test_several_processes_are_started_by_the_launch_scripts(config, tmp_path, monkeypatch):
    commands = []

    def status(command):
        commands.append([Path(part).name for part in command])
        return 0 if 'dist_train.sh' in commands[-1] else 3

    monkeypatch.setattr('mmcell.engine.cross_validation._status', status)
    monkeypatch.setattr(
        'mmcell.engine.cross_validation.find_resumable', lambda folder: folder / 'iter_2.pth'
    )
    with pytest.raises(UserError, match='the test of fold 1 ended with status 3;'):
        cross_validate(config, 2, work_dir=tmp_path / 'cv', amp=True, processes=4)
    assert commands == [
        ['bash', 'dist_train.sh', 'fold1.py', '4', '--resume', '--amp'],
        ['bash', 'dist_test.sh', 'fold1.py', 'iter_2.pth', '4'],
    ]


def test_pooled_values_come_from_counts_of_all_folds(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {
            'image': f'{k}.png',
            'img_id': k,
            'subset': ['liver'] if k % 2 else [],
            'n_detections': 3,
            **score_image(rng.integers(0, 4, (9, 9)), rng.integers(0, 4, (9, 9)), scores='all'),
        }
        for k in range(5)
    ]
    # Nothing to measure: NaN survives the files.
    empty = np.zeros((9, 9), int)
    rows.append(
        {
            'image': 'empty.png',
            'img_id': 5,
            'subset': [],
            'n_detections': 0,
            **score_image(empty, empty, scores='all'),
        }
    )
    folders = [tmp_path / 'a', tmp_path / 'b']
    for folder, part in zip(folders, (rows[:2], rows[2:]), strict=True):
        write_summary(folder, part, summarize(part, scores='all'))
    pooled = pool_folds(folders, tmp_path / 'all')
    expected = summarize(rows, scores='all')
    assert pooled['n_images'] == 6
    assert pooled['images_left_out'] == 1
    for name, score in expected['scores'].items():
        assert pooled['scores'][name] == pytest.approx(score, nan_ok=True)
    assert pooled['pooled'] == pytest.approx(expected['pooled'], nan_ok=True)
    parts = [summarize(part, scores='all')['pooled']['pq'] for part in (rows[:2], rows[2:])]
    pq = pooled['folds']['pooled']['pq']
    assert pq == pytest.approx({'mean': np.mean(parts), 'std': np.std(parts)})
    assert pooled['counts'] == expected['counts']
    assert list(pooled['subsets']) == ['fold1', 'fold2', 'liver']
    assert '## Over folds' in (tmp_path / 'all' / 'summary.md').read_text()
