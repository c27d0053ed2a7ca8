"""Finite numbers, and parameters that take part."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import nn

from asiarc.core.drawing import choice, whole
from asiarc.engineer.gates.gate import Cost, Finding, Gate, PropertyGate, Violation
from asiarc.engineer.gates.subject import MOVED, Subject, relative_error, run

LOUD = 1e6  # the largest output that inputs of unit variance may have


class FiniteCase(NamedTuple):
    """Inputs of `scale` times unit variance (0: all zero); the backward pass runs unless they are all zero."""

    tokens: int
    batch: int
    scale: float
    as_initialised: bool


class Finite(PropertyGate[FiniteCase]):
    """Outputs and gradients are finite, at the initial weights and near them, for quiet, normal and loud inputs.

    For normal ones the outputs are of a size beside which others count.

    Cannot see what training does to the weights.
    """

    name = "finite"
    cost = Cost.BACKWARD

    def cases(self, subject: Subject) -> SearchStrategy[FiniteCase]:
        """T up to 160; scales from silence to thirty times unit variance."""
        return st.builds(FiniteCase, whole(1, 160), whole(1, 3), choice((1.0, 0.0, 30.0, 1e-3)), choice((False, True)))

    def known(self, subject: Subject) -> tuple[FiniteCase, ...]:
        """One token, a chunk edge and a longer sequence."""
        return (FiniteCase(1, 1, 1.0, True), FiniteCase(65, 2, 30.0, True), FiniteCase(300, 1, 1.0, False))

    def violation(self, subject: Subject, case: FiniteCase) -> Violation | None:
        """The first thing that is not finite."""
        mixer = subject.make(train=True, moved=0 if case.as_initialised else MOVED)
        x_BTD = (case.scale * subject.inputs(case.batch, case.tokens, "finite")).requires_grad_(case.scale > 0)
        y_BTD, _ = run(mixer, x_BTD)
        if not y_BTD.isfinite().all():
            return Violation("the output is not finite", "finite", f"{int((~y_BTD.isfinite()).sum())} values")
        if case.scale == 1 and (largest := float(y_BTD.detach().abs().max())) > LOUD:
            return Violation(
                "the output is too large for anything beside it to count", f"at most {LOUD:.0e}", f"{largest:.2g}"
            )
        if case.scale == 0:
            return None
        y_BTD.square().mean().backward()
        gradients = {"the input": x_BTD.grad, **{name: p.grad for name, p in mixer.named_parameters()}}
        broken = [name for name, g in gradients.items() if g is not None and not g.isfinite().all()]
        return Violation("gradients are not finite for " + ", ".join(broken)) if broken else None


def without_gradient(mixer: nn.Module) -> list[str]:
    """The trainable parameters that no backward pass so far has given a gradient other than zero."""
    named = mixer.named_parameters()
    return [name for name, p in named if p.requires_grad and (p.grad is None or not p.grad.any())]


class Gradients(Gate):
    """Every parameter receives gradient from the output.

    A parameter that only a regulariser reaches is dead: the mixer returns (output, state) and no loss term.
    Cannot see single elements of a parameter that stay without gradient.
    """

    name = "gradients"
    cost = Cost.BACKWARD

    def check(self, subject: Subject) -> Finding | None:
        """Sums |gradient| over a call of one token, one of 70, and a continued one."""
        mixer = subject.make(train=True)
        _, state = run(mixer, subject.inputs(2, 70, "gradients", 0))
        for i, (tokens, start) in enumerate(((70, None), (1, None), (5, state))):
            y_BTD, _ = run(mixer, subject.inputs(2, tokens, "gradients", 1 + i), start)
            y_BTD.mul(subject.inputs(2, tokens, "gradients", "weights")).sum().backward(retain_graph=True)
        if not (dead := without_gradient(mixer)):
            return None
        return self.finds(
            "these parameters receive no gradient from the output: " + ", ".join(dead) + "; use them or remove them",
            example={"batch": 2, "tokens": 70},
            expected="a non-zero gradient for each parameter",
            actual="no gradient",
        )


class InertParts(Gate):
    """A change of each parameter moves the output: found, for example, a positive scalar gate before a norm.

    A warning: a part may matter at other weights. Cannot see inert elements inside a parameter that matters.
    """

    name = "inert_parts"
    cost = Cost.FORWARD
    severity = "warn"
    MOVES = 2e-3  # relative change of the output for a parameter moved by its own size

    def check(self, subject: Subject) -> Finding | None:
        """Moves one parameter at a time by noise of its own size."""
        mixer = subject.make(dtype=subject.exact)
        x_BTD = subject.inputs(2, 70, "inert", dtype=subject.exact)
        with torch.no_grad():
            y_BTD, _ = run(mixer, x_BTD)
            inert = []
            for i, (name, parameter) in enumerate(mixer.named_parameters()):
                kept = parameter.clone()
                generator = torch.Generator().manual_seed(i)
                size = kept.square().mean().sqrt().clamp(min=0.1)
                parameter.add_(size * torch.randn(kept.shape, generator=generator).to(kept.dtype))
                if relative_error(run(mixer, x_BTD)[0], y_BTD) < self.MOVES:
                    inert.append(name)
                parameter.copy_(kept)
        if not inert:
            return None
        return self.finds(
            "moving these parameters does not move the output: " + ", ".join(inert),
            example={"batch": 2, "tokens": 70},
            expected=f"relative change >= {self.MOVES}",
        )
