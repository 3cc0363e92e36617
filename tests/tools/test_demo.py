import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mmcell.datasets.coco_writer import CellImage, write_dataset
from mmcell.datasets.image_io import read_image

TOOL = Path(__file__).parents[2] / 'tools' / 'demo.py'
spec = importlib.util.spec_from_file_location('demo', TOOL)
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)


def test_new_demo_replaces_a_former_one_and_resume_keeps_its_training(tmp_path):
    out = tmp_path / 'demo'
    demo.prepare_folder(out, dict(iters=5), resume=False)
    kept, stale = out / 'train' / 'iter_5.pth', out / 'predictions' / 'summary.csv'
    for file in (kept, stale):
        file.parent.mkdir()
        file.touch()
    demo.prepare_folder(out, dict(iters=5), resume=True)
    assert kept.exists() and not stale.exists()
    with pytest.raises(SystemExit, match=r"started with \{'iters': 5\}"):
        demo.prepare_folder(out, dict(iters=6), resume=True)
    demo.prepare_folder(out, dict(iters=6), resume=False)
    assert not kept.exists()


def test_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').touch()
    with pytest.raises(SystemExit, match='no demo: choose another --out'):
        demo.prepare_folder(tmp_path, {}, resume=False)
    assert (tmp_path / 'thesis.txt').exists()


def test_a_failing_stage_ends_the_demo_with_its_status(capfd):
    demo.run('python', '-c', 'print("fine")')
    with pytest.raises(SystemExit, match='exit status 3'):
        demo.run('python', '-c', 'raise SystemExit(3)')
    assert '$ python -c \'print("fine")\'' in capfd.readouterr().out


def test_new_images_are_png_and_12_bits_in_16_bit_tiff(tmp_path):
    demo.write_new_images(tmp_path)
    suffixes = sorted(path.suffix for path in tmp_path.iterdir())
    assert suffixes == ['.png'] * 3 + ['.tif'] * 3
    for path in tmp_path.glob('*.tif'):
        raw = tifffile.imread(path)
        assert raw.dtype == np.uint16 and 255 < raw.max() < 2**12
        assert read_image(path).std() > 20  # not black


def test_watershed_is_scored_on_the_test_images(tmp_path):
    pixels = np.full((80, 80, 3), 20, dtype=np.uint8)
    labels = np.zeros((80, 80), dtype=np.int32)
    y, x = np.mgrid[:80, :80]
    for number, centre in enumerate([(20, 20), (55, 50)], start=1):
        labels[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 100] = number
    pixels[labels > 0] = 220
    write_dataset(
        dict(a=lambda: CellImage.from_label_map(pixels, labels)),
        dict(train=[], val=[], test=['a']),
        tmp_path,
        progress=False,
    )
    scores = demo.watershed_scores(tmp_path)
    assert scores['pq'] > 0.8 and scores['dq'] == 1 and set(scores) == set(demo.SCORES)


def test_overrides_name_every_place_that_reads_the_data(tmp_path):
    from mmcell.engine.config import load_config, walk_config

    overrides = dict(option.split('=') for option in demo.data_options('elsewhere'))
    config = load_config(TOOL.parents[1] / demo.CONFIG, overrides)
    assert config.train_dataloader.dataset.data_root == 'elsewhere'
    left = [
        (path, key)
        for path, node in walk_config(config._cfg_dict)
        for key, value in node.items()
        if path.startswith(('train_', 'val_', 'test_')) and 'data/synthetic' in str(value)
        if not isinstance(value, (dict, list))
    ]
    assert left == []
