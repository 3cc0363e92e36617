import mmengine.device.utils
import pytest
import torch
from mmengine.device import get_device

from mmcell.engine import device
from mmcell.engine.device import choose_device
from mmcell.engine.errors import ConfigError


@pytest.fixture
def machine(monkeypatch):
    """``machine(device, operators)``: what MMEngine finds, and what mmcv is compiled for."""

    def find(name, operators):
        monkeypatch.setattr(mmengine.device.utils, 'DEVICE', name)
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: name == 'cuda')
        monkeypatch.setattr(device, 'get_compiling_cuda_version', lambda: operators)

    return find


def test_what_mmengine_finds_is_taken(machine):
    machine('cpu', 'not available')
    assert choose_device() == choose_device('cpu') == 'cpu'
    machine('cuda', '13.0')
    assert choose_device() == 'cuda' and choose_device('cuda:1') == 'cuda:1'
    assert choose_device('cpu') == 'cpu'


@pytest.mark.parametrize('wanted', ['auto', 'cuda:0'])
def test_a_gpu_without_operators_is_refused_with_both_remedies(machine, wanted):
    machine('cuda', 'not available')
    with pytest.raises(ConfigError, match=r'`export CUDA_VISIBLE_DEVICES=`.*mmcell doctor'):
        choose_device(wanted)
    assert choose_device('cpu') == 'cpu'


def test_instead_of_apples_gpu_the_runner_takes_the_cpu(machine):
    machine('mps', 'not available')
    assert choose_device() == 'cpu'
    assert get_device() == 'cpu'
