"""What is measured: every operator with inputs as a trained layer sees them, forward and backward.

The same code makes inputs for every layer and for both sides of a comparison; it needs torch and whichever
`asiarc.kernels` is loaded, nothing else. Axes: B batch, T tokens, H heads, D channels a head, W taps.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from asiarc.core.seeds import seed_of

Call = Callable[..., Any]
Tensors = dict[str, Tensor]

GATES = {"simple_gla": "head", "gla": "channel", "gated_delta_rule": "head", "kda": "channel"}
ERASING = ("delta_rule", "gated_delta_rule", "kda", "delta_product")
SEQUENCE = ("linear_attention", "retention", *GATES, "delta_rule", "delta_product")
TAPS = {"short_convolution": 4, "fir": 32}
NORMS = ("l2_norm", "gated_rms_norm")
OPERATORS = (*SEQUENCE, *TAPS, *NORMS)
FAMILIES = ("open", "moderate", "strong", "reset")
"""Gates: no decay; mostly remembering; e^-20 a token; moderate with one token in ten clearing the state."""


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
        family = f" {self.family}" if self.operator in GATES else ""
        return f"{self.operator} {self.B}x{self.T}x{self.H}x{self.D} {self.dtype}{family}"

    def inputs(self) -> Tensors:
        """Every differentiable argument by name; values are those of the dtype, gates and states float32 or wider."""
        dtype = getattr(torch, self.dtype)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        coarse = dtype if dtype != torch.float64 else torch.float32
        made = self.sequence() if self.operator in SEQUENCE else self.pointwise()
        narrow = {"q", "k", "v", "x", "gate", "weight", "x_BTD", "weight_DW", "weight_DK", "bias"}
        return {
            name: x.to(coarse).to(dtype if name in narrow else wide).requires_grad_()
            for name, x in made.items()
        }

    def sequence(self) -> Tensors:
        """Arguments of a recurrence with a matrix state: unit queries and keys, strengths in (0, 1)."""
        B, T, H, D = self.B, self.T, self.H, self.D
        rows = T * (2 if self.operator == "delta_product" else 1)
        made = {
            "q": F.normalize(self.normal("q", B, T, H, D), dim=-1),
            "k": F.normalize(self.normal("k", B, rows, H, D), dim=-1),
            "v": self.normal("v", B, rows, H, D),
        }
        if self.operator in GATES:
            made["g"] = self.gates(B, T, H, *((D,) if GATES[self.operator] == "channel" else ()))
        if self.operator in ERASING:
            made["beta"] = torch.sigmoid(self.normal("beta", B, rows, H))
        return made | {"initial_state": self.normal("state", B, H, D, D)}

    def pointwise(self) -> Tensors:
        """Arguments of a filter or a norm over H * D channels."""
        B, T, H, D = self.B, self.T, self.H, self.D
        if self.operator == "l2_norm":
            return {"x": self.normal("x", B, T, H, D)}
        if self.operator == "gated_rms_norm":
            return {
                "x": self.normal("x", B, T, H, D),
                "gate": self.normal("gate", B, T, H, D),
                "weight": 1 + 0.1 * self.normal("weight", D),
            }
        W = TAPS[self.operator]
        taps = self.normal("taps", H * D, W) / W**0.5
        made = {
            "x_BTD": self.normal("x", B, T, H * D),
            "initial_state": self.normal("state", B, H * D, W - 1),
        }
        if self.operator == "fir":
            return made | {"weight_DK": taps}
        return made | {"weight_DW": taps, "bias": 0.1 * self.normal("bias", H * D)}

    def gates(self, *shape: int) -> Tensor:
        """Natural logarithms of decays."""
        moderate = F.logsigmoid(self.normal("g", *shape) + 3)
        if self.family == "reset":
            return torch.where(self.normal("reset", *shape) > 1.28, -torch.inf, moderate)
        return {"open": 0 * moderate, "moderate": moderate, "strong": moderate - 20}[self.family]

    def upstream(self) -> list[Tensor]:
        """What the gradients of the outputs are: o, and the final state where there is one."""
        B, T, H, D = self.B, self.T, self.H, self.D
        if self.operator in NORMS:
            return [self.normal("do", B, T, H, D)]
        if self.operator in TAPS:
            shapes: tuple[tuple[int, ...], ...] = ((B, T, H * D), (B, H * D, TAPS[self.operator] - 1))
        else:
            shapes = (B, T, H, D), (B, H, D, D)
        return [self.normal(f"upstream {i}", *shape) for i, shape in enumerate(shapes)]

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normal values of an address."""
        address = seed_of("speed case", self.operator, self.seed, purpose)
        return torch.randn(shape, generator=torch.Generator().manual_seed(address), dtype=torch.float64)


def function_of(operator: str) -> Call:
    """The public function of whichever `asiarc.kernels` is loaded."""
    found: Call = getattr(importlib.import_module(f"asiarc.kernels.{operator}"), operator)
    return found


def reference_of(operator: str) -> Call:
    """Its definition, token by token, for float64 inputs."""
    if operator in NORMS:
        formula = importlib.import_module(f"asiarc.kernels.{operator}.reference").formula
        return lambda **inputs: formula(**inputs, eps=1e-6)
    function = function_of(operator)
    return lambda **inputs: function(**inputs, backend="reference")


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
    return outcome(reference_of(case.operator), wide, [d.double() for d in case.upstream()])


def error_of(actual: Tensors, expected: Tensors) -> dict[str, float]:
    """The error of every tensor by `asiarc.kernels.accuracy`: the larger of the global and the largest local one."""
    from asiarc.kernels.accuracy import errors

    def shaped(tensors: Tensors) -> Tensors:
        # A parameter has neither tokens nor a batch; a name that ends in state says the first to the metric.
        flat = {name: x for name, x in tensors.items() if x.dim() < 3}
        return {n: x for n, x in tensors.items() if n not in flat} | {
            f"{name} without state": x.reshape(1, 1, -1) for name, x in flat.items()
        }

    found = errors(shaped(actual), shaped(expected))
    return {name.removesuffix(" without state"): value for name, value in found.items()}
