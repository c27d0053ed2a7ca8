"""What is measured and judged: a declared kernel with inputs as a trained layer sees them, forward and backward.

The same code makes inputs for every layer and for both sides of a comparison; it needs torch and what the kernel needs.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from asiarc.core.axes import shape
from asiarc.core.kernel import Input, Kernel
from asiarc.core.seeds import seed_of
from asiarc.kernels.accuracy import errors
from asiarc.kernels.kernel_operators import KERNELS
from asiarc.kernels.ranges import ranged

Call = Callable[..., Any]
Tensors = dict[str, Tensor]
NAMES = ("o", "final_state")
"""What an operator with a state returns."""


def resolved(function: Call | str) -> Call:
    """A function, imported where it is named ``"package.module:function"``."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    found: Call = getattr(importlib.import_module(module), name)
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One kernel at one shape, dtype and family of ranges; `seed` picks the values."""

    name: str
    kernel: Kernel
    sizes: dict[str, int]
    dtype: str = "float32"
    family: str = "moderate"
    seed: int = 0

    def __str__(self) -> str:
        family = f" {self.family}" if len(self.kernel.families) > 1 else ""
        return f"{self.name} {'x'.join(map(str, self.sizes.values()))} {self.dtype}{family}"

    def at(self, **changes: Any) -> Case:
        """The same case with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def plain(self) -> dict[str, Any]:
        """All that fixes it besides the declaration, as plain data."""
        return {name: getattr(self, name) for name in ("name", "sizes", "dtype", "family", "seed")}

    @property
    def call(self) -> Call:
        """The kernel."""
        return resolved(self.kernel.function)

    @property
    def place(self) -> str:
        """The case in words, for a message: ``B=1 T=3 D=4 float32 seed 7``."""
        sizes = " ".join(f"{name}={n}" for name, n in self.sizes.items())
        family = f" {self.family}" if len(self.kernel.families) > 1 else ""
        return f"{sizes} {self.dtype}{family} seed {self.seed}"

    def inputs(self) -> Tensors:
        """Every argument by name, leaves where gradients are asked for."""
        return {name: self.argument(name, given) for name, given in self.kernel.inputs.items()}

    def argument(self, name: str, given: Input) -> Tensor:
        """One argument; its values are those of the dtype or coarser, 'wide' ones float32 or wider."""
        x = self.values(name, given)
        if not given.differentiable:
            return x.floor().to(getattr(torch, given.dtype)) if given.dtype != "bool" else x > 0
        dtype = getattr(torch, self.dtype)
        wide, coarse = (dtype, torch.float32) if dtype == torch.float64 else (torch.float32, dtype)
        return x.to(coarse).to(wide if given.dtype == "wide" else dtype).requires_grad_()

    def values(self, name: str, given: Input) -> Tensor:
        """An argument's values in float64, in the range of the family where it has that one."""
        values = self.family if self.family in given.also else given.values
        size = shape(given.axes, self.sizes)
        return ranged(values, self.normal(name, *size), self.normal(f"{name} again", *size))

    def upstream(self) -> list[Tensor]:
        """What the gradients of the outputs are."""
        made = self.kernel.made.values()
        return [self.normal(f"upstream {i}", *shape(axes, self.sizes)) for i, axes in enumerate(made)]

    def normal(self, purpose: str, *size: int) -> Tensor:
        """Standard normal values of an address."""
        address = seed_of("speed case", self.name, self.seed, purpose)
        return torch.randn(size, generator=torch.Generator().manual_seed(address), dtype=torch.float64)

    def outcome(self, call: Call | None = None, inputs: Mapping[str, Tensor] | None = None) -> Tensors:
        """The outputs and the gradient of every leaf."""
        given = self.inputs() if inputs is None else inputs
        return outcome(call or self.call, given, self.upstream(), tuple(self.kernel.made))


def measured_case(name: str, kernel: Kernel, **changes: Any) -> Case:
    """A kernel where its operators, bytes and time are measured."""
    return Case(name, kernel, kernel.measured(), kernel.dtypes[0]).at(**changes)


def shipped(operator: str, B: int = 2, T: int = 256, H: int = 2, D: int = 32, **changes: Any) -> Case:
    """One of our operators at a shape."""
    return Case(operator, KERNELS[operator], dict(B=B, T=T, H=H, D=D)).at(**changes)


def outputs_of(result: Any, names: Sequence[str] = NAMES) -> Tensors:
    """A result, one tensor or several, by name."""
    parts = result if isinstance(result, tuple | list) else (result,)
    return dict(zip(names, parts, strict=False))


def outcome(
    call: Call, inputs: Mapping[str, Tensor], upstream: Sequence[Tensor], names: Sequence[str] = NAMES
) -> Tensors:
    """The outputs and the gradient of every leaf, named d + its name; a missing gradient is zero."""
    outputs = outputs_of(call(**inputs), names)
    leaves = {name: x for name, x in inputs.items() if x.requires_grad}
    pairs = [(o, d.to(o.dtype)) for o, d in zip(outputs.values(), upstream, strict=True) if o.requires_grad]
    return {name: o.detach() for name, o in outputs.items()} | gradients(pairs, leaves)


def gradients(pairs: Sequence[tuple[Tensor, Tensor]], leaves: Mapping[str, Tensor]) -> Tensors:
    """The gradient of every leaf, from (output, gradient) pairs; zero where none arrives."""
    if not pairs or not leaves:
        return {f"d{name}": torch.zeros_like(x) for name, x in leaves.items()}
    found = torch.autograd.grad(
        [o for o, _ in pairs], list(leaves.values()), [d for _, d in pairs], allow_unused=True, materialize_grads=True
    )
    return {f"d{name}": d for name, d in zip(leaves, found, strict=True)}


def exact(case: Case, inputs: Mapping[str, Tensor]) -> Tensors:
    """The outcome of the reference in float64 on the very same values."""
    wide = {n: x.detach().double().requires_grad_() if x.is_floating_point() else x for n, x in inputs.items()}
    return outcome(resolved(case.kernel.reference), wide, case.upstream(), tuple(case.kernel.made))


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
