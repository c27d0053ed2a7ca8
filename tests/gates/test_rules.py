"""The gates' rules against ways around them that nobody listed, each asked of the one gate that has to say no.

A candidate here is one honest core (a squashed running sum behind a norm) with a few lines put in.
"""

from __future__ import annotations

import pytest
import torch

from asiarc.core.recipe import MICRO
from asiarc.engineer.gates import GATES, Finding, Subject
from asiarc.engineer.gates.again import examine, inputs_of
from asiarc.engineer.gates.guard import CandidateFailure, guarded
from asiarc.engineer.gates.measure import measure
from asiarc.engineer.gates.subject import local_error, state_bytes
from asiarc.models.backbone import build

CORE = """
import functools
import torch
import torch.nn.functional as F
from torch import nn

{before}

class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.v, self.out = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        {init}

    {methods}

    def forward(self, x, state=None):
        B, T, D = x.shape
        ahead = F.pad(x[:, 1:], (0, 0, 0, 1))
        h = torch.tanh(self.v(x)).cumsum(1)
        past = state[0] if isinstance(state, tuple) else state
        h = h if past is None else h + past
        y = F.layer_norm(h, (D,))
        {forward}
        z, state = self.out(y), h[:, -1:]
        {after}
        return z, state
"""


def source(before="", init="pass", methods="", forward="pass", after="pass"):
    return CORE.format(before=before, init=init, methods=methods, forward=forward, after=after)


def found(gate, text):
    subject = Subject(text, 64, 2, seed=11, max_examples=3)
    verdict = guarded(lambda: next(g for g in GATES if g.name == gate).check(subject))
    return Finding(gate, "rejected", verdict.text) if isinstance(verdict, CandidateFailure) else verdict


LEAK = "y = y + ahead if {} else y"
SOMEWHERE = "torch.linspace(0, 1, T, dtype=x.dtype)[:, None]"
CHEATS = {
    # looks ahead where a gate may not look
    "made_by_position": ("causality", {
        "init": "self.known = 'd_model' in kwargs", "forward": LEAK.format("not self.known")}),
    "converted_by_itself": ("causality", {
        "init": "self.known = False", "forward": LEAK.format("not self.known"),
        "methods": "def to(self, *a, **k):\n        self.known = True\n        return super().to(*a, **k)"}),
    "at_one_width_of_the_recipes": ("causality", {"forward": LEAK.format("D == 256")}),
    "at_the_batch_and_length_of_a_trial": ("causality", {"forward": LEAK.format("(B, T) == (32, 128)")}),
    "where_rows_open_alike": ("causality", {"forward": LEAK.format("B > 2 and bool((x[:, 0] == x[:1, 0]).all()) "
                                                                   "and not torch.equal(x[0], x[1])")}),
    "where_every_token_has_one_size": ("causality", {
        "forward": LEAK.format("T > 32 and bool((x.detach().square().mean(-1) - 1).abs().max() < 0.01)")}),
    "where_weights_have_grown": ("causality", {
        "init": "self.first = float(self.v.weight.detach().norm())",
        "forward": LEAK.format("float(self.v.weight.detach().norm()) > 1.2 * self.first")}),
    # hides what it sees behind something large, or something coarse
    "beside_a_large_first_token": ("causality", {
        "forward": "y = y + ahead", "after": "z = z + 1e9 * F.pad(torch.ones_like(z[:, :1]), (0, 0, 0, T - 1))"}),
    "beside_a_large_channel": ("causality", {
        "forward": "y = y + 0.1 * ahead", "after": "z = torch.cat((z[..., :1] + 1e5, z[..., 1:]), -1)"}),
    "faint_behind_a_cast": ("causality", {"after": "z = (z.float() + 1e-6 * ahead.float()).to(x.dtype)"}),
    "faint_in_the_gradient": ("future_gradient", {
        "after": "z = z + 1e4 * F.pad(x[:, :1], (0, 0, 0, T - 1)) + 1e-3 * (ahead - ahead.detach())"}),
    "too_loud": ("finite", {"after": "z = 1e9 * z"}),
    "a_mean_of_large_batches": ("batch_independence", {"forward": "y = y - y.mean(0) if B in (16, 32) else y"}),
    "a_row_that_knows_its_place": ("batch_independence", {
        "forward": "y = y + 1e-3 * torch.arange(B, dtype=x.dtype)[:, None, None]"}),
    # remembers
    "counts_in_a_closure": ("statelessness", {
        "before": "def counter():\n    n = [0]\n    def add():\n        n[0] += 1\n    return add",
        "init": "self.add = counter()", "forward": "self.add()"}),
    "counts_in_a_default_argument": ("statelessness", {
        "before": "def note(x, kept=[]):\n    kept.append(1)", "forward": "note(x)"}),
    "counts_behind_a_partial": ("statelessness", {
        "init": "kept = []\n        self.note = functools.partial(kept.append, 1)", "forward": "self.note()"}),
    "counts_in_a_slot": ("statelessness", {
        "before": "class Box:\n    __slots__ = ('n',)", "init": "self.box = Box()\n        self.box.n = 0",
        "forward": "self.box.n += 1"}),
    "counts_in_a_cache": ("statelessness", {
        "before": "@functools.cache\ndef kept():\n    return []", "forward": "kept().append(T)"}),
    "counts_backward_passes_on_a_class": ("statelessness", {
        "before": "class Count(torch.autograd.Function):\n    n = 0\n    @staticmethod\n    def forward(ctx, x):\n"
                  "        return x.view_as(x)\n    @staticmethod\n    def backward(ctx, dx):\n        Count.n += 1\n"
                  "        return dx", "forward": "y = Count.apply(y)"}),
    "counts_switches": ("statelessness", {
        "init": "self.n = 0", "methods": "def train(self, mode=True):\n        self.n = vars(self).get('n', 0) + 1\n"
                                         "        return super().train(mode)"}),
    "counts_mixers": ("statelessness", {"before": "MADE = []", "init": "MADE.append(1)"}),
    "counts_large_batches_with_an_iterator": ("statelessness", {
        "init": "self.turns = iter(range(10**6))", "forward": "_ = next(self.turns) if B * T > 2000 else 0"}),
    "learns_in_a_buffer": ("statelessness", {
        "before": "class Own(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, y, b):\n"
                  "        ctx.b = b\n        return y + b\n    @staticmethod\n    def backward(ctx, dy):\n"
                  "        ctx.b.sub_(1e-3 * dy.mean((0, 1)).sign())\n        return dy, None",
        "init": "self.register_buffer('b', torch.zeros(d_model))", "forward": "y = Own.apply(y, self.b)"}),
    # hides a history in its state
    "in_tensor_keys": ("shapes", {"after": "state = state, {x: None}"}),
    "in_a_text": ("shapes", {"after": "state = state, 'a' * T"}),
    "in_a_sparse_tensor": ("shapes", {"after": "state = state, state.to_sparse()"}),
    "in_a_large_number": ("shapes", {"after": "state = state, 2 ** 70"}),
    "in_the_number_of_keys": ("complexity", {"after": "state = state, {i: None for i in range(T)}"}),
    "in_the_text_of_a_key": ("complexity", {"after": "state = state, {'a' * T: None}"}),
    "in_nested_empties": ("complexity", {"after": "state = state, [[] for _ in range(T)]"}),
    "in_empty_tensors": ("complexity", {"after": "state = state, [x.new_zeros(0, T) for _ in range(T)]"}),
    "in_an_expanded_tensor": ("complexity", {"after": "state = state, x.new_zeros(1).expand(8 * T)"}),
    "as_large_as_a_text": ("complexity", {"after": "state = state, x.new_zeros(B, 2048, D)"}),
    # does work that does not show
    "distances_of_all_pairs": ("complexity", {"forward": "y = y + 0 * torch.cdist(x, x).sum()"}),
    "attention_at_round_lengths": ("complexity", {"forward": "y = y + 0 * (x @ x.mT).sum() if T % 128 == 0 else y"}),
    "attention_at_odd_lengths": ("complexity", {"forward": "y = y + 0 * (x @ x.mT).sum() if T % 128 else y"}),
    "attention_in_one_operator": ("complexity", {
        "forward": "y = y + 1e-9 * F.scaled_dot_product_attention(x, x, x, is_causal=True)"}),
    "every_suffix_as_a_view": ("complexity", {
        "forward": "y = y + 0 * F.pad(x.mean(-1), (T - 1, 0)).unfold(1, T, 1).sum(-1, keepdim=True)"}),
    "an_operator_that_nobody_counts": ("complexity", {
        "forward": "y = y + 0 * torch._trilinear(x, x, x, [], [], [], [2]).sum()"}),
    # has more than it says
    "numbers_that_lie": ("parameters", {
        "before": "class Small(nn.Parameter):\n    def numel(self):\n        return 1",
        "init": "self.w = Small(torch.randn(d_model, 4 * d_model))"}),
    "parameters_left_out": ("parameters", {
        "methods": "def named_parameters(self, *a, **k):\n        return iter([('v', self.v.weight)])\n"
                   "    def parameters(self, recurse=True):\n        return iter([self.v.weight])"}),
    "a_view_of_many_constants": ("parameters", {
        "init": "self.c = torch.randn(d_model, 64 * d_model)[:, :1]", "forward": "y = y + self.c[:, 0]"}),
}  # fmt: skip
HONEST = {
    "nothing_put_in": {},
    "a_table_in_a_cache": {
        "before": "@functools.lru_cache\ndef table(n):\n    return torch.linspace(0, 1, n)",
        "forward": "y = y * (1 + table(D).to(x.dtype))",
    },
    "a_constant_buffer": {
        "init": "self.register_buffer('b', torch.ones(d_model))", "forward": "y = y * self.b",
    },
    "a_state_in_names": {"after": "state = state, {'seen': T, 'more': [None, (x[:, -1], 0.5)]}"},
    "a_cast": {"forward": "y = F.layer_norm(h.float(), (D,)).to(x.dtype)"},
    "a_transform": {
        "init": "self.taps = nn.Parameter(torch.randn(d_model, 8))",
        "forward": "n = T + 16\n        w = torch.fft.rfft(F.pad(self.taps, (0, n - 8)), dim=1)[None]\n"
                   "        f = torch.fft.irfft(torch.fft.rfft(F.layer_norm(x, (D,)).mT, n=n) * w, n=n).mT[:, :T]\n"
                   "        y = y if state is not None else y",
    },
    "a_weight_of_a_large_output": {"after": "z = z * torch.logspace(-3, 3, D, dtype=x.dtype)"},
    "an_attribute_of_a_class_of_its_own": {
        "before": "class Sizes:\n    def __init__(self, d):\n        self.d = d", "init": "self.sizes = Sizes(d_model)",
    },
}  # fmt: skip
ASKED = ("shapes", "parameters", "statelessness", "finite", "causality", "complexity")


@pytest.mark.parametrize("name", CHEATS)
def test_a_way_around_is_refused_by_its_rule(name):
    gate, parts = CHEATS[name]
    finding = found(gate, source(**parts))
    assert finding is not None and finding.verdict == "rejected" and finding.reason


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_neighbour_passes(name):
    text = source(**HONEST[name])
    assert [f for gate in ASKED if (f := found(gate, text)) is not None] == []


def test_the_finding_at_another_width_says_which():
    finding = found("causality", source(forward=LEAK.format("D == 256")))
    assert finding.example["d_model"] == 256 and finding.example["cut"] == finding.example["position"] + 1


def test_an_error_is_judged_at_its_own_place():
    y = torch.ones(1, 20, 4, dtype=torch.float64)
    y[0, 0, 0] = 1e12
    other = y.clone()
    other[0, 7, 2] += 1e-3
    assert local_error(other, y) == pytest.approx(1e-3) and local_error(y, y) == 0
    other[0, 7, 2] = float("nan")
    assert local_error(other, y) == float("inf") and local_error(y[:, :0], y[:, :0]) == 0


def test_a_state_is_counted_as_it_would_be_written():
    x = torch.zeros(2, 3)
    assert state_bytes(x) == 24 and state_bytes((x, 5)) == 24 + 8 and state_bytes(None) == 8
    assert state_bytes({"ab": x, "c": [x, None]}) == 2 + 24 + 1 + (8 + 24 + 8)
    assert state_bytes(torch.zeros(1).expand(100)) == 400 and state_bytes(torch.zeros(0, 9)) == 16


def test_parameters_are_counted_by_the_memory_behind_them():
    lies = source(before="class Small(nn.Parameter):\n    def numel(self):\n        return 1",
                  init="self.w = Small(torch.randn(d_model, d_model))")  # fmt: skip
    assert measure(lies, 32, 2).parameters == measure(source(), 32, 2).parameters + 32 * 32


# --- the trained model, asked again -----------------------------------------------------------------------------------

IDS = torch.arange(4 * 40).view(4, 40).square() % 251


def again(**parts):
    model = build(source(**parts), MICRO.at(d_model=32), "0", hidden=16).eval()
    return examine([layer.mixer for layer in model.layers], inputs_of(model, IDS), seed="drawn outside")


AFTERWARDS = {
    "future": {"forward": "y = y + ahead"},
    "a_faint_future": {"forward": "y = y + 1e-2 * ahead", "after": "z = z + 1e6 * F.pad(x[:, :1], (0, 0, 0, T - 1))"},
    "others": {"forward": "y = y - y.mean(0)"},
    "length": {"forward": "y = y / T"},
    "no_state": {"after": "state = torch.zeros_like(state)"},
    "training_alone": {"forward": LEAK.format("self.training")},
    "raises": {"forward": "y = y if T == 40 else 1 / 0"},
}


@pytest.mark.parametrize("name", AFTERWARDS)
def test_a_trained_model_that_breaks_a_property_is_found(name):
    finding = again(**AFTERWARDS[name])
    assert finding.gate == "trained" and finding.verdict == "rejected" and finding.example["layer"] == 0


def test_an_honest_trained_model_passes_and_keeps_its_mode():
    assert again() is None
    model = build(source(), MICRO.at(d_model=32), "0", hidden=16).train()
    mixers, inputs = [layer.mixer for layer in model.layers], inputs_of(model, IDS)
    assert [x.shape for x in inputs] == [(4, 40, 32)] * 2 and not inputs[0].requires_grad
    assert examine(mixers, inputs, seed="x") is None and all(mixer.training for mixer in mixers)
    assert not any(layer.mixer_norm._forward_hooks for layer in model.layers)


@pytest.mark.parametrize("shape", [(1, 2), (1, 9), (3, 2), (2, 3)])
def test_the_smallest_recordings_can_be_examined(shape):
    model = build(source(), MICRO.at(d_model=32), "0", hidden=16).eval()
    inputs = inputs_of(model, IDS[: shape[0], : shape[1]])
    assert examine([layer.mixer for layer in model.layers], inputs, seed="x") is None


@pytest.mark.parametrize("error", [KeyError("ours"), AssertionError("ours"), KeyboardInterrupt(), SystemExit(2)])
def test_a_fault_of_the_gates_is_no_finding(error):
    def gate():
        raise error

    with pytest.raises(type(error)):
        guarded(gate)
