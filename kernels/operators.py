"""The operators as one table: what each takes, in which shapes, and what a trained layer gives it.

Everything that goes over operators (benches, goldens, compile report, tests, the speed gate) reads it. An operator is
imported when it is first asked for, and so is torch. Axes: B batch, T tokens, H key heads, HV value heads, K key
channels, V value channels, W taps.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, Literal

from asiarc.core.axes import shape


@dataclasses.dataclass(frozen=True)
class Operator:
    """A public function of ``asiarc.kernels``.

    A "sequence" is one of `definitions`; one "apart" takes `more` than they do, tensors by name and axes, and may keep
    several `memories`. `gate` is the decay of a state: none, one that the operator makes itself, or what g holds, a
    number a head or a key channel. `steps` are the rows of k, v and beta a token, and `taps` the length of a filter,
    where it is measured.
    """

    name: str
    kind: Literal["sequence", "apart", "filter", "norm"] = "sequence"
    gate: Literal["", "fixed", "head", "channel"] = ""
    erases: bool = False
    steps: int = 1
    taps: int = 0
    more: tuple[tuple[str, str], ...] = ()
    memories: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def gated(self) -> bool:
        """Whether it takes log-decays g."""
        return self.gate in ("head", "channel")

    @property
    def optional(self) -> tuple[str, ...]:
        """Tensor arguments that are left out where it is measured."""
        return ("g",) if self.name == "delta_product" else ()

    @property
    def direct(self) -> bool:
        """Whether the shared algebra takes its arguments as they are; the others run binaries of these."""
        return self.kind == "sequence" and self.gate != "fixed" and self.steps == 1

    @property
    def gate_axes(self) -> int:
        """The gate as the GPU kernels count it: 0 none, 1 a head, 2 a channel."""
        return 2 if self.gate == "channel" else int(bool(self.gate))

    @property
    def call(self) -> Callable[..., Any]:
        """The public function of whichever ``asiarc.kernels`` is loaded."""
        return self.attribute(self.name)

    @property
    def reference(self) -> Callable[..., Any]:
        """Its definition under the same arguments, for float64: token by token, or its formula."""
        if self.kind != "norm":
            return lambda **inputs: self.attribute(self.name)(**inputs, backend="reference")
        return lambda **inputs: self.attribute("formula")(**inputs, eps=1e-6)

    def attribute(self, name: str) -> Callable[..., Any]:
        """A function of the operator's module."""
        found: Callable[..., Any] = getattr(importlib.import_module(f"asiarc.kernels.{self.name}"), name)
        return found

    def axes(self, V: str = "V", HV: str = "H") -> dict[str, str]:
        """The axes of every tensor argument by name, as a kernel declares them; D stands for K where V is D."""
        K, rows = ("D" if V == "D" else "K"), "T" if self.steps == 1 else f"{self.steps}*T"
        if self.kind == "filter":
            x = {"x_BTD": f"B T H*{K}", "initial_state": f"B H*{K} {self.taps - 1}"}
            taps = f"H*{K} {self.taps}"
            return x | ({"weight_DK": taps} if self.name == "fir" else {"weight_DW": taps, "bias": f"H*{K}"})
        if self.kind == "norm":
            gate = {"gate": f"B T H {K}", "weight": K} if self.name == "gated_rms_norm" else {}
            return {"x": f"B T H {K}", **gate}
        made = {"q": f"B T H {K}", "k": f"B {rows} H {K}", "v": f"B {rows} {HV} {V}"}
        if self.gated:
            made["g"] = f"B T {HV}" + (f" {K}" if self.gate == "channel" else "")
        if self.erases:
            made["beta"] = f"B {rows} {HV}"
        made |= {name: axes.format(rows=rows, HV=HV, K=K) for name, axes in self.more}
        return made | {"initial_state": f"B {HV} {K if self.memories == 1 else f'{self.memories}*{K}'} {V}"}

    def shapes(
        self, B: int, T: int, H: int, K: int, *, V: int = 0, groups: int = 1, steps: int = 0
    ) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor argument by name; V is K and `steps` the operator's own where they are 0.

        A sequence operator has H * `groups` value heads, a filter H * K channels.
        """
        own = dataclasses.replace(self, steps=steps or self.steps)
        sizes = dict(B=B, T=T, H=H, K=K, V=V or K, HV=H * groups)
        return {name: shape(axes, sizes) for name, axes in own.axes(HV="HV").items()}


GATES_OF_MOMENTUM = (("m", "B T {HV}"), ("eta", "B T {HV}"))
OPERATORS = {
    operator.name: operator
    for operator in (
        Operator("linear_attention"),
        Operator("retention", gate="fixed"),
        Operator("simple_gla", gate="head"),
        Operator("gla", gate="channel"),
        Operator("delta_rule", erases=True),
        Operator("gated_delta_rule", gate="head", erases=True),
        Operator("kda", gate="channel", erases=True),
        Operator("delta_product", gate="head", erases=True, steps=2),
        Operator("dplr", "apart", gate="channel", steps=2, more=(("p", "B {rows} {HV} {K}"),)),
        Operator("momentum_delta_rule", "apart", gate="head", erases=True, memories=2, more=GATES_OF_MOMENTUM),
        Operator("short_convolution", "filter", taps=4),
        Operator("fir", "filter", taps=32),
        Operator("l2_norm", "norm"),
        Operator("gated_rms_norm", "norm"),
    )
}
SEQUENCE = tuple(name for name, operator in OPERATORS.items() if operator.kind == "sequence")
