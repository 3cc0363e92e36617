import json
import pickle
import runpy
from functools import partial
from pathlib import Path

import pytest
import torch

from mmcell.engine.errors import CheckpointError, ConfigError, DataError
from mmcell.engine.hooks import TimingHook
from mmcell.engine.run import test as run_test
from mmcell.functional.rle import rle_to_counts

TOOLS = Path(__file__).parents[2] / 'tools'


def test_testing_repeats_the_validation_and_writes_predictions(trained, tmp_path):
    config, checkpoint, score = trained
    out, work_dir = tmp_path / 'out.pkl', tmp_path / 'tested'
    scores = run_test(config, checkpoint, work_dir=str(work_dir), out=str(out), show_dir='pictures')
    assert scores['cell/aji'] == score  # val and test list the same images
    samples = pickle.loads(out.read_bytes())
    assert [Path(sample['img_path']).name for sample in samples] == [f'{i}.png' for i in range(4)]
    predictions = samples[0]['pred_instances']
    assert 'gt_instances' not in samples[0]
    assert len(predictions['masks']) == len(predictions['scores']) > 0
    assert rle_to_counts(predictions['masks'][0]).sum() == 64 * 64
    assert len(list(work_dir.glob('*/pictures/*.png'))) == 4


def test_scores_lie_beside_the_log_and_timing_beside_the_scores(trained, tmp_path, monkeypatch):
    config, checkpoint, score = trained
    monkeypatch.setattr('mmcell.engine.run.TimingHook', partial(TimingHook, warmup_images=1))
    run_test(config, checkpoint, work_dir=str(tmp_path), timing=True)
    (folder,) = {file.parent for file in tmp_path.glob('*/*.log')}
    names = ('per_image.csv', 'summary.json', 'summary.md', 'timing.json')
    assert all((folder / name).is_file() for name in names)
    summary = json.loads((folder / 'summary.json').read_text())
    assert summary['scores']['aji']['mean'] == score
    timing = json.loads((folder / 'timing.json').read_text())
    assert (timing['n_images'], timing['warmup_images']) == (3, 1)
    assert timing['config'] == 'trained.py'
    assert timing['seconds_per_image']['flattening']['median'] > 0


def test_the_config_of_the_training_stays_and_that_of_the_test_lies_beside_its_log(trained):
    config, checkpoint, _ = trained
    kept = checkpoint.parent / 'trained.py'
    before = kept.read_text()
    run_test(config, checkpoint, overrides={'test_evaluator.score_threshold': 0.25})
    assert kept.read_text() == before
    assert any('0.25' in copy.read_text() for copy in checkpoint.parent.glob('*/trained.py'))


def test_models_and_data_of_mmdetection_are_drawn(trained, tmp_path):
    config, checkpoint, _ = trained
    theirs = {
        'visualizer.type': 'DetLocalVisualizer',
        'default_hooks.visualization.type': 'DetVisualizationHook',
        'test_dataloader.dataset.type': 'CocoDataset',
        'test_dataloader.dataset.metainfo': dict(classes=('nucleus',)),
        'test_dataloader.dataset.pipeline.2': dict(
            type='LoadAnnotations', with_bbox=True, with_mask=True
        ),
    }
    run_test(config, checkpoint, work_dir=str(tmp_path), overrides=theirs, show_dir='pictures')
    assert len(list(tmp_path.glob('*/pictures/*.png'))) == 4


def test_full_size_masks_of_other_detectors_are_drawn_timed_and_written(
    trained, tmp_path, monkeypatch
):
    config, checkpoint, aji = trained
    monkeypatch.setattr('mmcell.engine.run.TimingHook', partial(TimingHook, warmup_images=1))
    options = dict(work_dir=str(tmp_path), out=str(tmp_path / 'found.pkl'), timing=True)
    theirs = {'model.roi_head.type': 'StandardRoIHead'}
    scores = run_test(config, checkpoint, overrides=theirs, show_dir='pictures', **options)
    assert scores['cell/aji'] == pytest.approx(aji, abs=0.01)
    assert len(list(tmp_path.glob('*/pictures/*.png'))) == 4
    assert list(tmp_path.glob('*/timing.json'))
    found = pickle.loads((tmp_path / 'found.pkl').read_bytes())
    masks = [sample['pred_instances']['masks'] for sample in found]
    assert len(masks) == 4 and all(mask['size'] == [64, 64] for each in masks for mask in each)


def test_folder_that_the_config_names_is_kept(trained, tmp_path, monkeypatch):
    config, checkpoint, _ = trained
    monkeypatch.setattr('mmcell.engine.run.TimingHook', partial(TimingHook, warmup_images=1))
    scores = tmp_path / 'scores'
    run_test(
        config,
        checkpoint,
        work_dir=str(tmp_path / 'work'),
        overrides={'test_evaluator.out_dir': str(scores)},
        timing=True,
    )
    assert {file.name for file in scores.iterdir()} == {
        *('per_image.csv', 'summary.json', 'summary.md', 'timing.json')
    }


def test_metrics_with_prefixes_of_their_own_do_not_share_a_folder(trained, tmp_path):
    config, checkpoint, _ = trained
    chosen = {'a': 'aji', 'b': 'pq'}
    metrics = [dict(type='CellMetric', prefix=p, scores=[score]) for p, score in chosen.items()]
    run_test(config, checkpoint, work_dir=str(tmp_path), overrides={'test_evaluator': metrics})
    for prefix, score in chosen.items():
        (summary,) = tmp_path.glob(f'*/{prefix}/summary.json')
        assert list(json.loads(summary.read_text())['scores']) == [score]


def test_timing_of_fewer_images_than_the_warm_up_takes_is_refused(trained, tmp_path):
    config, checkpoint, _ = trained
    with pytest.raises(DataError, match='the first 5 images are left out, and there were 4'):
        run_test(config, checkpoint, work_dir=str(tmp_path), timing=True)


def test_checkpoint_of_another_architecture_is_refused(trained, tiny_config):
    _, checkpoint, _ = trained
    other = tiny_config('other', model__roi_head__mask_head__num_convs=5)
    with pytest.raises(
        CheckpointError,
        match=r'the run trained_\d+_\d+\) does not fit MaskRCNN of this config: 2 missing '
        r'\(roi_head.mask_head.convs.4.conv.weight; roi_head.mask_head.convs.4.conv.bias\)',
    ):
        run_test(other, checkpoint)


def test_cut_off_checkpoint_is_refused(trained, tmp_path):
    config, checkpoint, _ = trained
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match='cut off while it was written'):
        run_test(config, cut)


def test_bare_weights_are_accepted(trained, tmp_path):
    config, checkpoint, score = trained
    bare = tmp_path / 'bare.pth'
    torch.save(torch.load(checkpoint, weights_only=False)['state_dict'], bare)
    scores = run_test(config, bare, work_dir=str(tmp_path / 'bare'))
    assert scores['cell/aji'] == score


def test_missing_checkpoint_lists_its_neighbours(tiny_config, tmp_path):
    (tmp_path / 'iter_8000.pth').touch()
    main = runpy.run_path(str(TOOLS / 'test.py'))['main']
    with pytest.raises(SystemExit) as stop:
        main([str(tiny_config('run')), str(tmp_path / 'iter_800.pth')])
    assert stop.value.code == (
        f'error: checkpoint {tmp_path}/iter_800.pth does not exist; {tmp_path} holds iter_8000.pth.'
    )


def test_predictions_are_pickled_or_nothing(tiny_config):
    with pytest.raises(ConfigError, match=r'--out p.json: .* .pkl'):
        run_test(tiny_config('run'), 'any.pth', out='p.json')
