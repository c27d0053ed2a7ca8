"""The sizes by which candidates are matched: parameters, state and FLOPs per token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from asiarc.engineer.gates.counting import count
from asiarc.engineer.gates.parameters import numbers_in
from asiarc.engineer.gates.subject import Subject, run, state_bytes

TOKENS = 128  # length at which FLOPs are counted


@dataclass(frozen=True)
class Measures:
    """Three sizes of one candidate.

    `parameters`: trainable numbers. `state_bytes`: one sequence's float32 state, the larger of after 1 and after 256
    tokens. `flops_per_token`: of a forward pass at T = 128, elementwise operators counted one an element.
    """

    parameters: int
    state_bytes: int
    flops_per_token: float


def measure(source: str, d_model: int, num_heads: int) -> Measures:
    """Measures of a candidate at one size (in the sandbox only)."""
    subject = Subject(source, d_model, num_heads, seed=0)
    mixer = subject.make()
    with torch.no_grad():
        states = [run(mixer, subject.inputs(1, tokens, "measure"))[1] for tokens in (1, 2 * TOKENS)]
        flops = count(run, mixer, subject.inputs(1, TOKENS, "measure")).flops
    parameters = numbers_in(p for p in nn.Module.parameters(mixer) if p.requires_grad)
    return Measures(parameters, max(map(state_bytes, states)), flops / TOKENS)
