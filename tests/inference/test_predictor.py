import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from click.testing import CliRunner
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from skimage.measure import label, regionprops

from mmcell.engine.config import load_config
from mmcell.engine.errors import CheckpointError, ConfigError, DataError
from mmcell.inference import predictor as predictor_module
from mmcell.inference.cli import predict
from mmcell.inference.predictor import (
    Predictor,
    find_images,
    load_model,
    predict_images,
    write_label_map,
)
from mmcell.structures import RoiMasks

CONFIG = """
custom_imports = dict(imports=['mmcell.plugin'], allow_failed_imports=False)
default_scope = 'mmdet'
model = dict(type='BrightObjects', width={width})
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations'),
    dict(type='PackDetInputs', meta_keys=('img_shape', 'ori_shape')),
]))
"""


class BrightObjects(BaseModel):
    """Calls every connected bright region an object; the wider, the surer."""

    def __init__(self, width):
        super().__init__(DetDataPreprocessor())
        self.layer = torch.nn.Linear(width, 1)

    def forward(self, inputs, data_samples, mode):
        assert mode == 'predict' and len(data_samples) == 1
        assert 'masks' not in data_samples[0].gt_instances
        bright = inputs[0].mean(0).cpu().numpy() > 127
        regions = regionprops(label(bright))
        if any(region.area == 13 for region in regions):
            raise RuntimeError('out of\nmemory')
        boxes = [(x1, y1, x2, y2) for y1, x1, y2, x2 in (region.bbox for region in regions)]
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        data_samples[0].pred_instances = InstanceData(
            scores=((boxes[:, 2] - boxes[:, 0]) / 10).clamp(max=1),
            masks=RoiMasks(boxes, [torch.from_numpy(r.image) for r in regions], bright.shape),
        )
        return data_samples


@pytest.fixture(autouse=True)
def _registered():
    MODELS.register_module(module=BrightObjects, force=True)
    yield
    del MODELS.module_dict['BrightObjects']


@pytest.fixture
def files(tmp_path):
    """Config and matching checkpoint."""
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'weights.pth'
    config.write_text(CONFIG.format(width=3))
    torch.save(dict(state_dict=BrightObjects(3).state_dict()), checkpoint)
    return config, checkpoint


@pytest.fixture
def model(files):
    return load_model(*files, device='cpu')


def scene(value=200, dtype=np.uint8):
    """Objects 8 x 4 and 6 x 6 pixels, and one that is 3 wide and so below the threshold."""
    image = np.zeros((40, 50), dtype=dtype)
    image[2:6, 10:18] = image[20:26, 30:36] = image[30:33, 5:8] = value
    return image


def read_csv(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_label_map_overlay_and_row_for_each_kind_of_image(model, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    rgba = np.dstack([scene()] * 3 + [np.full((40, 50), 7, dtype=np.uint8)])
    cv2.imwrite(str(folder / 'rgba.png'), rgba)
    tifffile.imwrite(folder / 'deep.tif', scene(3000, np.uint16))  # 12 bits in 16
    cv2.imwrite(str(folder / 'gray.bmp'), scene())
    images = find_images([folder])
    done = []
    assert predict_images(model, images, tmp_path / 'out', on_done=done.append) == []
    assert done == images
    rows = read_csv(tmp_path / 'out' / 'summary.csv')
    assert [row['image'] for row in rows] == ['deep.tif', 'gray.bmp', 'rgba.png']
    for row in rows:
        assert (row['objects'], row['mean_area_px']) == ('2', '34.0')  # (32 + 36) / 2
        assert 0 < float(row['seconds']) < 60
    expected = np.zeros((40, 50), dtype=np.uint16)
    expected[2:6, 10:18], expected[20:26, 30:36] = 1, 2
    for stem in ('deep', 'gray', 'rgba'):
        labels = tifffile.imread(tmp_path / 'out' / 'labels' / f'{stem}.tif')
        assert labels.dtype == np.uint16
        np.testing.assert_array_equal(labels, expected)
        assert cv2.imread(str(tmp_path / 'out' / 'overlays' / f'{stem}.png')) is not None
    assert not (tmp_path / 'out' / 'failures.csv').exists()


def test_threshold_and_numbers_without_gaps(model):
    image = np.dstack([scene()] * 3)
    assert np.unique(Predictor(model, score_threshold=0.0)(image)).tolist() == [0, 1, 2, 3]
    only_widest = Predictor(model, score_threshold=0.7)(image)
    assert only_widest.dtype == np.int32 and np.unique(only_widest).tolist() == [0, 1]
    sure = np.zeros((40, 50), dtype=np.uint8)
    sure[0:2, 0:3] = sure[10:20, 0:10] = 255  # the first is left out, the second becomes 1
    assert np.unique(Predictor(model)(np.dstack([sure] * 3))).tolist() == [0, 1]


def test_image_without_objects_gets_an_empty_label_map(model, tmp_path):
    cv2.imwrite(str(tmp_path / 'dark.png'), np.zeros((9, 8), dtype=np.uint8))
    predict_images(model, [tmp_path / 'dark.png'], tmp_path / 'out')
    labels = tifffile.imread(tmp_path / 'out' / 'labels' / 'dark.tif')
    assert labels.shape == (9, 8) and labels.dtype == np.uint16 and not labels.any()
    [row] = read_csv(tmp_path / 'out' / 'summary.csv')
    assert (row['objects'], row['mean_area_px']) == ('0', '')


def test_failing_images_are_named_and_the_rest_goes_on(model, tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no picture')
    bad = np.zeros((40, 50), dtype=np.uint8)
    bad[5, 5:18] = 255  # 13 pixels: the model gives up
    cv2.imwrite(str(tmp_path / 'b.png'), bad)
    cv2.imwrite(str(tmp_path / 'c.png'), scene())
    paths = [tmp_path / name for name in ('a.png', 'b.png', 'c.png')]
    failures = predict_images(model, paths, tmp_path / 'out')
    assert [path for path, _ in failures] == paths[:2]
    assert 'a.png' in failures[0].error and failures[1].error == 'out of memory'
    assert [row['image'] for row in read_csv(tmp_path / 'out' / 'summary.csv')] == ['c.png']
    assert read_csv(tmp_path / 'out' / 'failures.csv') == [
        dict(image=str(path), error=error) for path, error in failures
    ]


def test_more_than_65535_objects_keep_their_numbers(tmp_path):
    ids = np.arange(70_000).reshape(280, 250)
    write_label_map(tmp_path / 'many.tif', ids)
    written = tifffile.imread(tmp_path / 'many.tif')
    assert written.dtype == np.int32
    np.testing.assert_array_equal(written, ids)
    write_label_map(tmp_path / 'few.tif', ids[:250])
    assert tifffile.imread(tmp_path / 'few.tif').dtype == np.uint16
    with tifffile.TiffFile(tmp_path / 'many.tif') as tiff:
        assert tiff.pages[0].compression.name == 'ADOBE_DEFLATE'


def test_find_images_in_files_folders_and_patterns(tmp_path, monkeypatch):
    for name in ('b.tif', 'a.PNG', 'notes.txt', 'sub/c.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in find_images([tmp_path])] == ['a.PNG', 'b.tif']
    assert [p.name for p in find_images([tmp_path / '*' / '*.jpg'])] == ['c.jpg']
    both = find_images([tmp_path / 'b.tif', tmp_path])
    assert [p.name for p in both] == ['b.tif', 'a.PNG']  # each once
    monkeypatch.chdir(tmp_path)
    assert find_images(['*.tif', 'notes.txt']) == [
        Path('b.tif'),
        Path('notes.txt'),
    ]
    (tmp_path / 'sub' / 'c.jpg').unlink()
    for nothing in ('missing.png', 'sub', '*.bmp'):
        with pytest.raises(DataError, match='no image there'):
            find_images([nothing])


def test_results_are_never_mixed_or_overwritten(model, tmp_path):
    with pytest.raises(DataError, match=r'one name: .*x\.png, .*x\.tif'):
        predict_images(model, [tmp_path / 'x.png', tmp_path / 'x.tif'], tmp_path / 'out')
    predict_images(model, [], tmp_path / 'out')
    with pytest.raises(DataError, match='holds results already'):
        predict_images(model, [], tmp_path / 'out')


def test_checkpoint_of_another_architecture_is_refused(files, tmp_path):
    config, checkpoint = files
    config.write_text(CONFIG.format(width=5))
    with pytest.raises(CheckpointError, match=r'layer\.weight: \(1, 3\) in the file, \(1, 5\)'):
        load_model(config, checkpoint)
    with pytest.raises(CheckpointError, match='does not exist'):
        load_model(config, tmp_path / 'none.pth')
    with pytest.raises(ConfigError, match='does not exist'):
        load_model(tmp_path / 'none.py', checkpoint)


def test_auto_takes_the_accelerator(files, monkeypatch):
    monkeypatch.setattr(predictor_module, 'get_device', lambda: 'meta')
    assert load_model(*files).layer.weight.device.type == 'meta'


def test_pffnet_predicts_through_its_own_test_pipeline(tmp_path):
    cfg = load_config(Path(__file__).parents[2] / 'configs' / 'pffnet_tiny_synthetic.py')
    cfg.model.test_cfg.rpn.max_per_img = 50
    cfg.dump(tmp_path / 'pffnet.py')
    init_default_scope('mmdet')
    weights = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'pffnet.pth')
    model = load_model(tmp_path / 'pffnet.py', tmp_path / 'pffnet.pth', device='cpu')
    image = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    labels = Predictor(model, score_threshold=0.0)(image)
    assert labels.shape == (70, 90)
    assert np.unique(labels).tolist() == list(range(labels.max() + 1)) and labels.max() > 0


def run_cli(*args):
    return CliRunner().invoke(predict, [str(arg) for arg in args])


def test_command_line_succeeds_fails_and_refuses(files, tmp_path):
    config, checkpoint = files
    options = ('--config', config, '--checkpoint', checkpoint, '--device', 'cpu')
    cv2.imwrite(str(tmp_path / 'good.png'), scene())
    good = run_cli(tmp_path / 'good.png', *options, '--out', tmp_path / 'one')
    assert good.exit_code == 0 and '1 of 1 images done' in good.output

    (tmp_path / 'bad.png').touch()
    some = run_cli(tmp_path / '*.png', *options, '--out', tmp_path / 'two')
    assert some.exit_code == 1 and '1 of 2 images done' in some.output
    assert f'failed: {tmp_path / "bad.png"}' in some.output
    assert (tmp_path / 'two' / 'labels' / 'good.tif').is_file()

    refused = run_cli(tmp_path / 'good.png', *options, '--out', tmp_path / 'one')
    assert refused.exit_code == 1 and 'holds results already' in str(refused.exception)
