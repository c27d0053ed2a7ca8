"""What a mixer is made of, read from its source; and which mixers have nothing but filters."""

from __future__ import annotations

import pytest

from asiarc.analyst.sources import is_local, parts_of
from asiarc.models.baselines import PANEL_NAMES, baseline_source

LOCAL = """
import torch
from asiarc.kernels.short_convolution import short_convolution
class Mixer(torch.nn.Module):
    def forward(self, x_BTD, state=None):
        y_BTD, state = short_convolution(x_BTD, self.taps_DW, initial_state=state)
        return torch.sigmoid(self.gate(x_BTD)) * y_BTD, state
"""


def test_parts_are_the_operators_and_the_functions_that_tell_mixers_apart():
    assert parts_of(LOCAL) == {"calls=short_convolution", "calls=sigmoid"}
    assert {"calls=delta_rule", "calls=l2_norm"} <= parts_of(baseline_source("delta_net"))
    assert parts_of("class Mixer(:") == frozenset()


def test_no_shipped_mixer_is_local():
    assert not [name for name in PANEL_NAMES if is_local(baseline_source(name))]


@pytest.mark.parametrize(
    "memory",
    [
        "x_BTD = x_BTD.cumsum(1)",
        "x_BTD = (x_BTD * 2).cumsum(1)",
        "x_BTD = x_BTD @ x_BTD.mT",
        "for x_BD in x_BTD.unbind(1): pass",
        "from asiarc.kernels.gla import gla as filtered",
        "x_BTD = torch.einsum('btd,bsd->bts', x_BTD, x_BTD)",
    ],
)
def test_what_remembers_is_not_local(memory):
    assert is_local(LOCAL)
    assert not is_local(LOCAL.replace("        y_BTD", f"        {memory}\n        y_BTD"))


def test_what_has_no_filter_is_not_called_local():
    assert not is_local(LOCAL.replace("short_convolution", "l2_norm"))
