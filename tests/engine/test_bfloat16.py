import pytest
import torch
from torch import nn

from mmcell.engine import bfloat16
from mmcell.engine.bfloat16 import BFloat16OptimWrapper, half_dtype
from mmcell.engine.errors import ConfigError


@pytest.mark.parametrize(('supported', 'dtype'), [(True, torch.bfloat16), (False, torch.float32)])
def test_forward_runs_in_bfloat16_where_the_processor_has_it(monkeypatch, supported, dtype):
    monkeypatch.setattr(bfloat16, 'cpu_has_bfloat16', lambda: supported)
    model = nn.Linear(3, 2)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapper.optim_context(model):
        output = model(torch.ones(1, 3))
    assert output.dtype == dtype
    before = model.weight.detach().clone()
    wrapper.update_params(output.float().sum())
    # The gradient of a sum of outputs to every weight is its input: 1.
    torch.testing.assert_close(model.weight.detach(), before - 0.1)
    assert model.weight.dtype == torch.float32


@pytest.mark.parametrize(('has', 'dtype'), [(True, torch.bfloat16), (False, torch.float16)])
def test_half_precision_of_a_gpu(monkeypatch, has, dtype):
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: has)
    assert half_dtype(torch.device('cuda', 1)) == dtype


def test_half_precision_of_a_processor_is_its_own_or_none(monkeypatch):
    monkeypatch.setattr(bfloat16, 'cpu_has_bfloat16', lambda: True)
    assert half_dtype(torch.device('cpu')) == torch.bfloat16
    monkeypatch.setattr(bfloat16, 'cpu_has_bfloat16', lambda: False)
    with pytest.raises(ConfigError, match='slower here than full'):
        half_dtype(torch.device('cpu'))
