import hashlib

import pytest
import torch

from mmcell.engine.config import package_dir
from mmcell.engine.errors import CheckpointError, ConfigError
from mmcell.inference.network import NetworkSpec, find_config, load_network, sha256


def load(config, checkpoint, device='cpu'):
    return load_network(NetworkSpec(str(config), str(checkpoint), device))


def test_checkpoint_of_another_architecture_is_refused(files, tmp_path):
    config, checkpoint = files
    config.write_text(config.read_text().replace('width=3', 'width=5'))
    with pytest.raises(CheckpointError, match=r'layer\.weight: \(1, 3\) in the file, \(1, 5\)'):
        load(config, checkpoint)
    with pytest.raises(CheckpointError, match='does not exist'):
        load(config, tmp_path / 'none.pth')
    with pytest.raises(ConfigError, match='does not exist'):
        load(tmp_path / 'none.py', checkpoint)


def test_config_without_test_pipeline_is_refused(files):
    config, checkpoint = files
    config.write_text(config.read_text().split('test_dataloader')[0])
    with pytest.raises(ConfigError, match='has no test_dataloader'):
        load(config, checkpoint)


def test_a_device_that_is_not_there_is_named(files):
    with pytest.raises(ConfigError, match='--device vulkan:7 cannot be used here: '):
        load(*files, device='vulkan:7')
    with pytest.raises(ConfigError, match='--device nonsense cannot be used here: '):
        load(*files, device='nonsense')


def test_a_file_that_is_no_config_is_named(files, tmp_path):
    with pytest.raises(ConfigError, match=r'weights\.pth is no config: '):
        load(files[1], files[0])
    (tmp_path / 'broken.py').write_text('model = dict(')
    with pytest.raises(ConfigError, match=r'broken\.py is no config: '):
        load(tmp_path / 'broken.py', files[1])


def test_auto_takes_the_accelerator(files, monkeypatch):
    monkeypatch.setattr('mmcell.engine.device.get_device', lambda: 'meta')
    assert load(*files, device='auto').device.type == 'meta'


def test_classes_and_pixel_size_come_from_checkpoint_or_config(files):
    config, checkpoint = files
    assert load(*files).classes == ('small', 'large') and load(*files).mpp is None
    config.write_text(config.read_text().replace("'large')", "'large'), mpp=0.5"))
    assert load(*files).mpp == 0.5
    weights = torch.load(checkpoint)
    meta = dict(dataset_meta=dict(classes=('a', 'b'), mpp=0.25))
    torch.save({**weights, 'meta': meta}, checkpoint)
    network = load(*files)
    assert (network.classes, network.mpp, network.meta) == (('a', 'b'), 0.25, meta)


def test_names_stand_for_the_configs_that_ship():
    folder = package_dir('configs')
    for name in ('pffnet_kumar', 'pffnet_kumar.py'):
        assert find_config(name) == folder / 'pffnet_kumar.py'
    assert find_config('pffnet_kumar_attention').name == 'pffnet_kumar_attention'  # none
    assert find_config('pffnet_tnbc_attention') == folder / 'ablations/pffnet_tnbc_attention.py'


def test_a_name_that_does_not_ship_suggests_close_ones(files):
    with pytest.raises(ConfigError, match=r'pfnet_kumar does not exist.*pffnet_kumar\.py'):
        load('pfnet_kumar', files[1])


def test_checksum_is_that_of_the_file(tmp_path):
    (tmp_path / 'a').write_bytes(b'x' * 3_000_000)
    assert sha256(tmp_path / 'a') == hashlib.sha256(b'x' * 3_000_000).hexdigest()
