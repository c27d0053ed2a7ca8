"""Unusual programs in the release's form: the sound ones hold everything, one fault breaks its property and no other.

`programs/` holds sound ones, each of another make; a fault is a change of one of them. Where a fault implies others
(who sees the future depends on the length, too, and cannot be decoded) they may break as well, and nothing else may.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from asiarc.audit import PROPERTIES
from asiarc.audit.released import examine

HERE = Path(__file__).parent / "programs"
SOUND = sorted(HERE.glob("*.py"))
FUTURE = ("independent_of_total_length", "cached_decoding")
LENGTH = ("cached_decoding",)
ROWS = ("batch_independent_with_mask",)
FAULTS = {
    "filter padded on both sides": (
        "fused_paths", "causal", FUTURE,
        [("F.pad(x, (self.taps - 1, 0))", "F.pad(x, (self.taps - 2, 1))")],
    ),
    "gate centred over time": (
        "fused_paths", "causal", FUTURE,
        [("# BEFORE SOFTMAX", "logits = logits - logits.mean(1, keepdim=True)")],
    ),
    "reversed path behind a closed gate": (
        "fused_paths", "causal", FUTURE,
        [("self.temperature =", "self.closed = nn.Parameter(torch.zeros(1))\n        self.temperature ="),
         ("# AFTER NORM", "mixed = mixed + self.closed * mixed.flip(1)")],
    ),
    "packed rows as one": (
        "fused_paths", "batch_independent_with_mask", (),
        [("rows.split(cu_seqlens.diff().tolist())", "[rows]")],
    ),
    "long filter forgets": (
        "fused_paths", "cached_decoding", (),
        [("((cq, ck, cv), (fs, fl))", "((cq, ck, cv), (fs, None))")],
    ),
    "state stored at prefill only": (
        "fused_paths", "cached_decoding", (),
        [("past_key_values is not None and use_cache:", "past_key_values is not None and length > 1:")],
    ),
    "two types multiplied": (
        "fused_paths", "float32", (),
        [("# AFTER DELTA", "delta = delta.to(torch.bfloat16) @ torch.eye(delta.shape[-1])")],
    ),
    "floor annealed by calls": (
        "fused_paths", "stateless_in_eval", (),
        [("# BEFORE SOFTMAX", "self.floor = max(0.0, self.floor - 1e-7)")],
    ),
    "schedule that begins after 2000 calls": (
        "fused_paths", "stateless_in_eval", (),
        [("self.use_beta, self.use_gate =", "self.calls = 0\n        self.use_beta, self.use_gate ="),
         ("# BEFORE SOFTMAX", "self.calls += 1\n        logits = logits * (2 if self.calls > 2000 else 1)")],
    ),
    "noise in evaluation": (
        "two_averages", "stateless_in_eval", (),
        [("# AVERAGED", "average = average - 0.1 * torch.rand_like(average).log()")],
    ),
    "history in a global": (
        "gated_operator", "stateless_in_eval", (),
        [("class DeltaNet", "SEEN = []\n\n\nclass DeltaNet"),
         ("if use_cache and", "SEEN.append(1)\n        o = o + 0.1 * len(SEEN)\n        if use_cache and")],
    ),
    "running mean in a buffer": (
        "gated_operator", "stateless_in_eval", (),
        [("self.o = ", 'self.register_buffer("calls", torch.zeros(()))\n        self.o = '),
         ("if use_cache and", "self.calls += 1\n        o = o + self.calls\n        if use_cache and")],
    ),
    "rate by the length": (
        "gated_operator", "independent_of_total_length", LENGTH,
        [("2 * self.b(hidden_states)", "2 / hidden_states.shape[1] ** 0.5 * self.b(hidden_states)")],
    ),
    "decay by the length": (
        "grown_table", "independent_of_total_length", LENGTH,
        [("memory = self.decay * memory", "memory = self.decay ** (32 / q.shape[1]) * memory")],
    ),
    "positions begin anew": (
        "grown_table", "cached_decoding", (),
        [("# POSITIONS", "q, k = self.rotary(q, 0), self.rotary(k, 0)"),
         ("self.rotary(torch.relu(q), start), self.rotary(torch.relu(k), start)", "torch.relu(q), torch.relu(k)")],
    ),
    "experts balanced over the batch": (
        "inner_modules", "batch_independent", ROWS,
        [("# ROUTED", "weights = weights / (1 + weights.square().sum(0, keepdim=True))")],
    ),
    "experts of the neighbour": (
        "inner_modules", "batch_independent", ROWS,
        [("# ROUTED", "weights = weights.roll(1, 0)")],
    ),
    "decay shared by the batch": (
        "relative_imports", "batch_independent", ROWS,
        [("o, state = chunk", "g = g.mean(0, keepdim=True).expand_as(g)\n        o, state = chunk")],
    ),
    "chunk begins anew": (
        "whole_chunks", "cached_decoding", (),
        [('["recurrent_state"]\n', '["recurrent_state"][0], 0\n')],
    ),
    "operator without bounds": (
        "packed_operator", "batch_independent_with_mask", (),
        [("cu_seqlens=cu_seqlens,\n            use_qk", "use_qk")],
    ),
    "circular filter": (
        "filter_by_transform", "causal", FUTURE, [("size = 2 * length", "size = length")],
    ),
    "leak beyond 128 tokens behind a closed gate": (
        "two_averages", "causal", FUTURE,
        [("# AVERAGED", "if length > 128:\n                average = average + average.mean(1, keepdim=True)")],
    ),
    "window one token ahead": (
        "window_attention", "causal", FUTURE, [("(then <= now)", "(then <= now + 1)")],
    ),
    "first state handed on": (
        "own_state", "cached_decoding", (), [("(h,) if use_cache", "(out[:, 0],) if use_cache")],
    ),
    "cache left as it was": (
        "token_shift", "cached_decoding", (), [("past_key_values.update(", "dict(")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.stem)
def test_a_sound_program_holds_every_property(path):
    found = examine({"program": path.read_text()})
    assert found["properties"] == dict.fromkeys(PROPERTIES, True), found["reasons"]
    assert found["dead_parameters"] == [] and found["failure"] == "" and found["reasons"] == {}
    assert found["cost"] > 0 and found["parameters"] > 0


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_breaks_its_property_and_no_other(fault):
    name, broken, implied, changes = FAULTS[fault]
    program = (HERE / f"{name}.py").read_text()
    for old, new in changes:
        assert program.count(old) == 1, old
        program = program.replace(old, new)
    found = examine({"program": program})
    assert found["properties"][broken] is False, found
    untouched = set(PROPERTIES) - {broken, *implied}
    assert {name: found["properties"][name] for name in untouched} == dict.fromkeys(untouched, True), found
    assert found["reasons"][broken]


def test_there_are_many_kinds():
    assert len(SOUND) >= 12 and len(FAULTS) >= 12
    assert {broken for _, broken, _, _ in FAULTS.values()} == set(PROPERTIES)


def test_what_cannot_be_asked_is_null_with_its_reason():
    program = "\n".join(
        (
            "from torch import nn",
            "class DeltaNet(nn.Module):",
            "    def __init__(self, hidden_size, num_heads=1):",
            "        super().__init__()",
            "        self.out = nn.Linear(hidden_size, hidden_size)",
            "    def forward(self, hidden_states):",
            "        return self.out(hidden_states)",
        )
    )
    found = examine({"program": program})
    asked = ("causal", "independent_of_total_length", "stateless_in_eval", "batch_independent", "float32")
    assert found["properties"] == {name: True if name in asked else None for name in PROPERTIES}
    assert "takes no attention mask" in found["reasons"]["batch_independent_with_mask"]
    assert "takes no cache" in found["reasons"]["cached_decoding"]


def test_a_helper_without_an_equivalent_is_not_held_against_the_program():
    unused = "from fla.ops.rwkv7 import chunk_rwkv7\nfrom fla.modules import BitLinear\n"
    program = (HERE / "own_state.py").read_text()
    assert examine({"program": unused + program})["properties"]["causal"] is True
    used = program.replace("self.step = 0", "self.step = 0\n        self.extra = BitLinear(4, 4)")
    found = examine({"program": unused + used})
    assert set(found["properties"].values()) == {None}
    assert "fla.modules.BitLinear has no CPU equivalent" in found["failure"]


def test_a_program_for_whole_chunks_only_is_asked_at_those():
    program = (HERE / "two_averages.py").read_text()
    refusing = program.replace("# AVERAGED", "assert length % 32 == 0 or past_key_values is not None")
    found = examine({"program": refusing})
    assert found["properties"] == dict.fromkeys(PROPERTIES, True), found["reasons"]
