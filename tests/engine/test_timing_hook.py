import json
import logging
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from mmcell.engine.errors import DataError
from mmcell.engine.hooks import TimingHook, timing_hook
from mmcell.structures import RoiMasks

SIZE = (500, 1000)  # half a megapixel


class Clock:
    """Time passes only where it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing_hook.time, 'perf_counter', clock)

    def flatten(instances, **options):
        clock.now += 0.5 + options.get('min_visible', 0)

    monkeypatch.setattr(timing_hook, 'flatten_predictions', flatten)
    return clock


class Model(nn.Module):
    """Takes as many seconds as the batch says."""

    def __init__(self, clock, masks):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.clock, self.masks = clock, masks

    def test_step(self, data):
        self.clock.now += data['seconds']
        samples = [DetDataSample(metainfo={'ori_shape': SIZE}) for _ in range(data['images'])]
        for sample in samples:
            sample.pred_instances = InstanceData(masks=self.masks, scores=torch.zeros(0))
        return samples


def runner_of(clock, folder, masks=None):
    masks = RoiMasks(torch.zeros(0, 4), torch.zeros(0, 1, 1), SIZE) if masks is None else masks
    return SimpleNamespace(
        model=Model(clock, masks),
        log_dir=str(folder / 'log'),
        cfg=SimpleNamespace(filename='configs/tiny.py'),
        test_dataloader=SimpleNamespace(num_workers=3),
        logger=logging.getLogger('timing_test'),
    )


def run(hook, runner, *batches):
    """Batches of (seconds, images); scoring takes 100 seconds after each."""
    hook.before_test(runner)
    for seconds, images in batches:
        outputs = runner.model.test_step({'seconds': seconds, 'images': images})
        assert len(outputs) == images
        runner.model.clock.now += 100
    hook.after_test(runner)


def figures(folder):
    return json.loads((folder / 'timing.json').read_text())


def test_stages_are_timed_without_warm_up_and_scoring(clock, tmp_path):
    hook = TimingHook(str(tmp_path / 'new'), warmup_images=2)
    run(hook, runner_of(clock, tmp_path), (50, 1), (9, 1), (3.5, 1), (1.5, 1), (0.5, 1))
    timing = figures(tmp_path / 'new')
    assert (timing['n_images'], timing['warmup_images'], timing['batch_size']) == (3, 2, 1)
    assert timing['seconds_per_image'] == {
        'total': {'median': 2.0, 'q1': 1.5, 'q3': 3.0},
        'prediction': {'median': 1.5, 'q1': 1.0, 'q3': 2.5},
        'flattening': {'median': 0.5, 'q1': 0.5, 'q3': 0.5},
    }
    # 1/4, 1/2 and 1 image per second.
    assert timing['fps'] == {'median': 0.5, 'q1': 0.375, 'q3': 0.75}
    assert timing['median_megapixels'] == 0.5
    assert (timing['config'], timing['data_workers'], timing['processes']) == ('tiny.py', 3, 1)
    assert set(timing['included']) == {'prediction', 'flattening'}
    assert timing['peak_cuda_bytes'] is None


def test_batches_count_per_image_and_warm_up_in_whole_batches(clock, tmp_path):
    hook = TimingHook(str(tmp_path), warmup_images=3)
    run(hook, runner_of(clock, tmp_path), (8, 2), (8, 2), (7, 2), (2, 1))
    timing = figures(tmp_path)
    assert (timing['n_images'], timing['warmup_images'], timing['batch_size']) == (3, 4, 2)
    # Two images of (7 + 1) / 2 seconds and one of 2.5.
    assert timing['seconds_per_image']['total'] == {'median': 4.0, 'q1': 3.25, 'q3': 4.0}


def test_flattening_options_are_passed_on(clock, tmp_path):
    hook = TimingHook(str(tmp_path), warmup_images=0, flattening={'min_visible': 0.25})
    run(hook, runner_of(clock, tmp_path), (1, 1))
    assert figures(tmp_path)['seconds_per_image']['flattening']['median'] == 0.75


def test_full_size_masks_are_not_flattened_and_not_said_to_be(clock, tmp_path):
    hook = TimingHook(str(tmp_path), warmup_images=0)
    run(hook, runner_of(clock, tmp_path, torch.zeros(0, *SIZE)), (1, 1))
    timing = figures(tmp_path)
    assert list(timing['seconds_per_image']) == ['total', 'prediction']
    assert list(timing['included']) == ['prediction']
    assert timing['seconds_per_image']['total']['median'] == 1


def test_figures_are_shown_and_lie_beside_the_log(clock, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run(TimingHook(warmup_images=1), runner_of(clock, tmp_path), (9, 1), (3.5, 1), (1.5, 1))
    assert (tmp_path / 'log' / 'timing.json').is_file()
    rows = ' '.join(caplog.text.split())  # columns are as wide as the memory's figure needs
    assert '| images per second | 0.38 | 0.31 - 0.44 |' in rows
    assert '| ms per image, flattening | 500.00 | 500.00 - 500.00 |' in rows
    assert '2 images of 0.50 megapixels (median), 1 before them not counted' in caplog.text
    assert 'prediction: from loaded images' in caplog.text
    assert 'not included: reading' in caplog.text
    assert 'peak memory: largest resident memory' in caplog.text
    assert 'CUDA' not in caplog.text
    assert '3 data workers, 1 processes, the first of which was measured' in caplog.text


def test_model_gets_its_own_method_back(clock, tmp_path):
    runner = runner_of(clock, tmp_path)
    run(TimingHook(str(tmp_path), warmup_images=0), runner, (1, 1))
    assert 'test_step' not in vars(runner.model)
    assert runner.model.test_step.__func__ is Model.test_step


def test_too_few_images_are_an_error_that_says_so(clock, tmp_path):
    with pytest.raises(DataError, match='the first 5 images are left out, and there were 4'):
        run(TimingHook(str(tmp_path)), runner_of(clock, tmp_path), (1, 2), (1, 2))


def test_peak_memory_is_in_bytes(clock, tmp_path):
    held = torch.ones(64 * 2**18)  # 64 MiB
    run(TimingHook(str(tmp_path), warmup_images=0), runner_of(clock, tmp_path), (1, 1))
    assert 64 * 2**20 < figures(tmp_path)['peak_rss_bytes'] < 2**40
    assert len(held)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
def test_waiting_for_the_gpu_and_its_memory_count(tmp_path):
    class GpuModel(Model):
        def test_step(self, data):
            torch.cuda._sleep(data['seconds'])  # cycles
            torch.ones(2**20, device='cuda')  # 4 MiB
            return super().test_step({**data, 'seconds': 0})

    runner = runner_of(Clock(), tmp_path)
    runner.model = GpuModel(Clock(), runner.model.masks).cuda()
    run(TimingHook(str(tmp_path), warmup_images=1), runner, (10, 1), (500_000_000, 1))
    timing = figures(tmp_path)
    assert timing['seconds_per_image']['prediction']['median'] > 0.1
    assert 2**22 <= timing['peak_cuda_bytes'] < 2**24
