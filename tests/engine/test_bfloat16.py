import pytest
import torch
from torch import nn

from mmcell.engine import bfloat16
from mmcell.engine.bfloat16 import BFloat16OptimWrapper


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
