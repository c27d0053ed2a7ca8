"""Ratios for history: ``python -m tests.rigs kernels yardstick`` (named so that ordinary test runs do not collect it).

Every operator, forward and backward, beside a fixed batched product and beside other people's implementation where
there is one, slices in turn. An operator whose results are wrong gets no time.
"""

from __future__ import annotations

import platform

import pytest
import torch

from asiarc.kernels.operators import OPERATORS
from asiarc.speed.cases import error_of, exact, outcome, outputs_of, shipped
from asiarc.speed.machine import Watch, require_own_process
from asiarc.speed.paired import paired_ratio, timed
from tests.rigs.kernels import peers
from tests.rigs.kernels.trees import TOLERANCE, wrong

PAIRS = (16,)
pytestmark = pytest.mark.filterwarnings("ignore:Flash Attention is not installed")


@pytest.fixture(autouse=True)
def one_thread_of_its_own():
    require_own_process()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def product():
    x = torch.randn(64, 128, 128, generator=torch.Generator().manual_seed(0))
    return lambda: torch.bmm(x, x)


def peer_of(operator):
    """Another implementation of the operator as (name, call), without an initial state."""
    tables = ("transformers", peers.TRANSFORMERS), ("fla naive", peers.FLA), ("plain torch", peers.PLAIN)
    for name, table in tables:
        if operator in table:
            return name, table[operator]
    return None


@pytest.mark.parametrize("operator", OPERATORS)
def test_over_yardsticks(operator, benchmark):
    case = shipped(operator, 8, 256, 4, 32)
    inputs, upstream, function = case.inputs(), case.upstream(), case.call
    bad = wrong(error_of(outcome(function, inputs, upstream), exact(case, inputs)), TOLERANCE)
    if bad:
        pytest.fail(f"wrong results are not timed: {bad}")

    def ours():
        outcome(function, inputs, upstream)

    watch = Watch()
    benchmark.pedantic(ours, rounds=10, warmup_rounds=2)
    contests = {"bmm 64x128x128x128": (timed(product()), timed(ours))}
    peer = peer_of(operator)
    if peer is not None:
        name, call = peer
        plain = {n: x for n, x in inputs.items() if n != "initial_state"}

        def theirs():
            outcome(lambda **x: call(*x.values()), plain, upstream[:1])

        def ours_alike():
            outcome(lambda **x: outputs_of(function(**x))["o"], plain, upstream[:1])

        contests[name] = timed(theirs), timed(ours_alike)
    ratios = {}
    for name, (a, b) in contests.items():
        found = paired_ratio(a, b, looks=PAIRS)
        ratios[name] = {"ratio": found.ratio, "low": found.low, "high": found.high, "pairs": found.pairs}
    if reason := watch.disturbance():
        pytest.skip(f"not measured: {reason}")
    benchmark.extra_info |= {"ratios": ratios, "torch": torch.__version__, "platform": platform.platform()}
