"""What a mixer is made of, read from its source; and which mixers have nothing but filters."""

from __future__ import annotations

import pytest

from asiarc.analyst.compare import analyse
from asiarc.analyst.sources import is_local, parts_of
from asiarc.archive.gains import Gains
from asiarc.loop.findings import observed
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


class Kept:
    """An archive of sources by address."""

    def candidate(self, address):
        return {"address": address, "source": SOURCES[address], "motivation": f"The idea of {address}, in a line."}


SOURCES = {"start": baseline_source("delta_net"), "child": LOCAL}
SCORES = {("text", 60): {("start", "0"): -2.0, ("start", "1"): -2.1, ("child", "0"): -1.8, ("child", "1"): -1.9}}


def told(*genomes):
    rows = [
        {"address": a, "name": a, "genome": g, "scores": {}} for a, g in zip(("start", "child"), genomes, strict=True)
    ]
    gains = Gains(SCORES, ("text",))
    start, child = observed(Kept(), rows, gains, "start")
    return child, analyse(child, start, (), {}, gains, start=start).text


def test_where_one_has_no_genome_both_are_told_by_what_they_call_and_the_result_comes_first():
    child, text = told({"memory": "delta"}, None)
    assert child.tags == parts_of(LOCAL)
    assert text.startswith("child is 0.200 [0.200, 0.200] bits a byte ahead of start at 60 steps, seeds 0 and 1.")
    assert "It has nothing instead of calls=delta_rule, calls=l2_norm." in text
    assert "Its idea: The idea of child, in a line." in text


def test_where_all_have_a_genome_the_grammar_says_it():
    child, text = told({"memory": "delta"}, {"memory": "gla"})
    assert child.tags == {"memory=gla"} and "calls=" not in text and "Its idea" not in text
