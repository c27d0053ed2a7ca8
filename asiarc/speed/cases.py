"""What is measured: every operator with inputs as a trained layer sees them, forward and backward.

The same code makes inputs for every layer and for both sides of a comparison; it needs torch and whichever
`asiarc.kernels` is loaded, nothing else. Axes: B batch, T tokens, H heads, D channels a head, W taps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from asiarc.core.seeds import seed_of
from asiarc.kernels.accuracy import errors
from asiarc.kernels.operators import OPERATORS, Operator, trained

Call = Callable[..., Any]
Tensors = dict[str, Tensor]

FAMILIES = ("open", "moderate", "strong", "reset")
"""Gates: no decay; mostly remembering; e^-20 a token; moderate with one token in ten clearing the state."""
ADDRESSES = {"initial_state": "state", "x_BTD": "x", "weight_DW": "taps", "weight_DK": "taps"}
"""The purpose that the values of an argument are drawn for, where it is not its name."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One operator at one shape, dtype and family of gates; `seed` picks the values."""

    operator: str
    B: int = 2
    T: int = 256
    H: int = 2
    D: int = 32
    dtype: str = "float32"
    family: str = "moderate"
    seed: int = 0

    def __str__(self) -> str:
        family = f" {self.family}" if "g" in self.shapes() else ""
        return f"{self.operator} {self.B}x{self.T}x{self.H}x{self.D} {self.dtype}{family}"

    @property
    def op(self) -> Operator:
        """The operator's row of the table."""
        return OPERATORS[self.operator]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every argument that is given."""
        made = self.op.shapes(self.B, self.T, self.H, self.D)
        return {name: shape for name, shape in made.items() if name not in self.op.optional}

    def inputs(self) -> Tensors:
        """Every differentiable argument by name; values are those of the dtype, gates and states float32 or wider."""
        dtype = getattr(torch, self.dtype)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        coarse = dtype if dtype != torch.float64 else torch.float32
        return {
            name: self.values(name, shape)
            .to(coarse)
            .to(wide if name in ("g", "beta", "initial_state") else dtype)
            .requires_grad_()
            for name, shape in self.shapes().items()
        }

    def values(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """An argument's values in float64: those of a trained layer, its gates brought to the family."""
        x = trained(name, self.normal(ADDRESSES.get(name, name), *shape))
        if name != "g" or self.family == "moderate":
            return x
        if self.family == "reset":
            return torch.where(self.normal("reset", *shape) > 1.28, -torch.inf, x)
        return {"open": 0 * x, "strong": x - 20}[self.family]

    def upstream(self) -> list[Tensor]:
        """What the gradients of the outputs are: o, and the final state where there is one."""
        shapes = self.op.shapes(self.B, self.T, self.H, self.D)
        if self.op.kind == "norm":
            return [self.normal("do", *shapes["x"])]
        o = shapes["x_BTD" if self.op.kind == "filter" else "q"]
        return [self.normal(f"upstream {i}", *shape) for i, shape in enumerate((o, shapes["initial_state"]))]

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normal values of an address."""
        address = seed_of("speed case", self.operator, self.seed, purpose)
        return torch.randn(shape, generator=torch.Generator().manual_seed(address), dtype=torch.float64)


def families(operator: str) -> tuple[str, ...]:
    """The families of gates that an operator is measured under."""
    return FAMILIES if "g" in Case(operator).shapes() else ("moderate",)


def outputs_of(result: Any) -> Tensors:
    """A result by name: o, and the final state where there is one."""
    parts = result if isinstance(result, tuple) else (result,)
    return dict(zip(("o", "final_state"), parts, strict=False))


def outcome(call: Call, inputs: Mapping[str, Tensor], upstream: list[Tensor]) -> Tensors:
    """The outputs and the gradient of every input, named d + its name; a missing gradient is zero."""
    outputs = outputs_of(call(**inputs))
    found = torch.autograd.grad(
        list(outputs.values()),
        list(inputs.values()),
        [d.to(o.dtype) for d, o in zip(upstream, outputs.values(), strict=True)],
        allow_unused=True,
        materialize_grads=True,
    )
    return {name: o.detach() for name, o in outputs.items()} | {
        f"d{name}": d for name, d in zip(inputs, found, strict=True)
    }


def exact(case: Case, inputs: Mapping[str, Tensor]) -> Tensors:
    """The outcome of the definition in float64 on the very same values."""
    wide = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    return outcome(case.op.reference, wide, [d.double() for d in case.upstream()])


def error_of(actual: Tensors, expected: Tensors) -> dict[str, float]:
    """The error of every tensor by `asiarc.kernels.accuracy`: the larger of the global and the largest local one."""

    def shaped(tensors: Tensors) -> Tensors:
        # A parameter has neither tokens nor a batch; a name that ends in state says the first to the metric.
        flat = {name: x for name, x in tensors.items() if x.dim() < 3}
        return {n: x for n, x in tensors.items() if n not in flat} | {
            f"{name} without state": x.reshape(1, 1, -1) for name, x in flat.items()
        }

    found = errors(shaped(actual), shaped(expected))
    return {name.removesuffix(" without state"): value for name, value in found.items()}
