"""Construction, shapes and dtypes, and how the output holds up in bfloat16.

B batch, T tokens, D model width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from asiarc.core.drawing import choice, whole
from asiarc.engineer.gates.gate import Cost, Finding, Gate, PropertyGate, Violation
from asiarc.engineer.gates.gradients import without_gradient
from asiarc.engineer.gates.subject import Subject, plain_copy, relative_error, run


class Construction(Gate):
    """The Mixer can be built at the size asked for and at twice its width.

    Cannot see widths that it does not try.
    """

    name = "construction"
    cost = Cost.CONSTRUCT

    def check(self, subject: Subject) -> Finding | None:
        """Builds; an exception becomes the finding through `guarded` in `admit`."""
        for d_model in (subject.d_model, 2 * subject.d_model):
            mixer = subject.at(d_model, subject.num_heads).make(moved=0)
            if not any(p.requires_grad for p in mixer.parameters()):
                return self.finds("has no trainable parameter", example={"d_model": d_model})
        return None


class ShapeCase(NamedTuple):
    """A batch of B sequences of T tokens."""

    tokens: int
    batch: int
    train: bool


class Shapes(PropertyGate[ShapeCase]):
    """Any B and T >= 1 give an output of the input's shape and dtype, a plain tensor, and a state of plain tensors.

    Cannot see lengths over 200.
    """

    name = "shapes"
    cost = Cost.FORWARD

    def cases(self, subject: Subject) -> SearchStrategy[ShapeCase]:
        """T up to 200 and B up to 5."""
        return st.builds(ShapeCase, whole(1, 200), whole(1, 5), choice((False, True)))

    def known(self, subject: Subject) -> tuple[ShapeCase, ...]:
        """One token, an odd length, and lengths around the usual chunks."""
        lengths = (1, 2, 3, 17, 63, 64, 65)
        return tuple(ShapeCase(tokens, 1 + i % 3, i % 2 == 0) for i, tokens in enumerate(lengths))

    def violation(self, subject: Subject, case: ShapeCase) -> Violation | None:
        """Shape, dtype and type of the output; the state's parts."""
        mixer = subject.mixer(train=case.train)
        x_BTD = subject.inputs(case.batch, case.tokens, "shapes")
        y_BTD, state = run(mixer, x_BTD)
        plain_copy(state)
        if type(y_BTD) is not Tensor:
            return Violation("the output is not a plain tensor", "torch.Tensor", type(y_BTD).__name__)
        if y_BTD.shape != x_BTD.shape:
            return Violation("the output's shape is not the input's", str([*x_BTD.shape]), str([*y_BTD.shape]))
        if y_BTD.dtype != x_BTD.dtype:
            return Violation("the output's dtype is not the input's", str(x_BTD.dtype), str(y_BTD.dtype))
        return None


class DtypeLadder(Gate):
    """In bfloat16 the mixer runs, and errs by no more than a multiple of what rounding its inputs and weights costs.

    A warning: a CPU search trains in float32. Cannot see overflow at activations larger than a normalised
    layer's.
    """

    name = "dtype_ladder"
    cost = Cost.BACKWARD
    severity = "warn"
    HONEST_MULTIPLE = 16.0

    def check(self, subject: Subject) -> Finding | None:
        """bfloat16 against the same rounded numbers computed wide, then gradients that vanish in bfloat16 only."""
        example = {"batch": 2, "tokens": 65, "dtype": "bfloat16"}
        x_BTD = subject.inputs(2, 65, "dtype")
        wide_BTD, _ = run(subject.mixer(dtype=subject.exact), x_BTD.to(subject.exact))
        half = subject.make(dtype=torch.bfloat16)
        half_BTD, _ = run(half, x_BTD.bfloat16())
        rounded = subject.make(dtype=torch.bfloat16).to(subject.exact)
        rounded_BTD, _ = run(rounded, x_BTD.bfloat16().to(subject.exact))
        honest = max(relative_error(rounded_BTD, wide_BTD), 2.0**-8)
        error = relative_error(half_BTD, wide_BTD)
        if not error <= self.HONEST_MULTIPLE * honest:
            limit = f"relative error <= {self.HONEST_MULTIPLE * honest:.2g}"
            return self.finds(
                "bfloat16 loses far more than rounding explains", example=example, expected=limit, actual=f"{error:.2g}"
            )
        if silent := sorted(_silent(subject, torch.bfloat16) - _silent(subject, torch.float32)):
            return self.finds("these parameters get no gradient in bfloat16: " + ", ".join(silent), example=example)
        return None


def _silent(subject: Subject, dtype: torch.dtype) -> set[str]:
    """Parameters without gradient at the initial weights."""
    mixer = subject.make(dtype=dtype, moved=0)
    run(mixer, subject.inputs(2, 65, "dtype").to(dtype))[0].float().square().sum().backward()
    return set(without_gradient(mixer))
