"""An exported folder where asiarc is not: the same numbers as asiarc's own model gives, for every mixer and use."""

from __future__ import annotations

import pytest

from asiarc.models.baselines import BASELINE_NAMES, baseline_source
from tests.export.conftest import exported

BIASED = '''"""A squashed running sum of gated values."""
import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.v, self.out = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, x, state=None):
        v = torch.sigmoid(self.v(x))
        s = v.cumsum(1) if state is None else state[:, None] + v.cumsum(1)
        return self.out(s / (1 + s)), s[:, -1]
'''
COUNTED = '''"""A running mean, of buffers and names that are also the file's own."""
import torch
from torch import nn
from asiarc.kernels.short_convolution import short_convolution as F
import asiarc.kernels.l2_norm


def recurrence(x):
    return asiarc.kernels.l2_norm.l2_norm(x)


class Decay(nn.Linear):
    pass


class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.register_buffer("sign", torch.randn(d_model).sign(), persistent=False)
        self.taps = nn.Parameter(torch.randn(d_model, 3))
        self.v, self.out = Decay(d_model, d_model, bias=False), Decay(d_model, d_model, bias=False)

    @torch.compile
    def forward(self, x, state=None):
        past, n, conv = (0, 0, None) if state is None else (state[0][:, None], state[1], state[2])
        v, conv = F(self.v(x), self.taps, initial_state=conv)
        s = past + (self.sign.type_as(v) * v).cumsum(1)
        count = torch.arange(n + 1, n + 1 + x.shape[1], dtype=x.dtype)[:, None]
        return self.out(recurrence(s / count)), (s[:, -1], n + x.shape[1], conv)
'''
EQUAL = ("logits", "pickled", "saved", "saved again")
ROUNDING = ("cached", "left padding", "right padding")
TRUE = ("greedy", "padded text", "tokens", "learns")


def grammar_source():
    from asiarc.researcher.designs import BASELINES
    from asiarc.researcher.render import render

    return render(BASELINES["gated_delta_net"])


OF_THE_PANEL = ("rwkv7", "momentum_delta_net")  # an operator apart each, of which one brings a neighbour along
SOURCES = {name: lambda name=name: baseline_source(name) for name in (*BASELINE_NAMES, *OF_THE_PANEL)} | {
    "biased": lambda: BIASED,
    "counted": lambda: COUNTED,
    "A winner, of the grammar's": grammar_source,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory, elsewhere):
    """What each model does elsewhere: all in one process, which costs less than one each."""
    root = tmp_path_factory.mktemp("exported")
    folders = {name: exported(root / str(n), name, source()) for n, (name, source) in enumerate(SOURCES.items())}
    checked = elsewhere("stranger.py", *folders.values())
    return {name: checked[str(folder)] for name, folder in folders.items()}


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_where_asiarc_is_not(found, name):
    checks = found[name]
    assert set(checks) == {*EQUAL, *ROUNDING, *TRUE, "bfloat16"}
    assert {check: checks[check] for check in EQUAL} == dict.fromkeys(EQUAL, 0.0)
    assert {check: checks[check] for check in ROUNDING if checks[check] > 2e-5} == {}
    assert all(checks[check] is True for check in TRUE), checks
    assert checks["bfloat16"] < (0.03 if name in OF_THE_PANEL else 0.02), "operators apart round more often"
