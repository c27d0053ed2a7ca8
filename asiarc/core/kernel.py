"""The declaration of a kernel: a function, what it should equal, what it takes, what holds, and what it may cost.

A ``kernel_<name>.py`` file declares it, ``pytest`` collects it. Light on purpose: neither torch nor numpy is imported,
and a function may be named (``"package.module:function"``, beside the file or installed) instead of imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from asiarc.core.axes import AXIS, NAME, axis_of
from asiarc.core.declared import Declaration, at_field
from asiarc.core.errors import DeclarationError, KernelError, unknown_name

Property = Literal["causal", "hand_over", "packing", "batch", "deterministic", "gradients"]
HOLDS: tuple[str, ...] = get_args(Property)
DTYPES = ("float32", "bfloat16", "float16", "float64")
NARROW = ("", "wide", "int64", "int32", "bool")
VALUES = ("normal", "unit", "log_decay", "open", "strong", "reset", "share", "taps", "near_one", "small")
"""What a trained layer gives an argument: standard normal values; rows of length one; a log-decay that mostly
remembers, one that forgets nothing, e^-20 a token, one token in ten clearing all; a share in (0, 1); taps of a length
near one; values near one; a tenth of a normal value."""
T = TypeVar("T")


class KernelDeclaration(Declaration):
    """A part of a kernel's declaration."""

    refused = KernelError


def _known_axes(axes: str) -> str:
    bad = [axis for axis in axes.split() if not AXIS.match(axis)]
    if bad or not axes.strip():
        raise ValueError(f"{bad[0] if bad else axes!r} is no axis; write names and numbers, e.g. 'B T H*D' or '2*T'")
    return axes


class Input(KernelDeclaration):
    """One argument: its axes, its values as a trained layer gives them, its dtype."""

    axes: str = Field(description="names of its axes in order, e.g. 'B T H D'")
    values: str | tuple[float, float] = Field(default="normal", description="a named range, or (low, high)")
    also: tuple[str, ...] = Field(default=(), description="other ranges to check it with, e.g. ('open', 'reset')")
    dtype: str = Field(default="", description="the case's own; 'wide' never below float32; 'int64', 'int32', 'bool'")

    @field_validator("axes")
    @classmethod
    def _axes(cls, axes: str) -> str:
        return _known_axes(axes)

    @field_validator("values", "also")
    @classmethod
    def _known_values(cls, values: Any) -> Any:
        if isinstance(values, tuple) and values and not isinstance(values[0], str):
            if values[0] >= values[1]:
                raise ValueError(f"a range goes from low to high, given {values}")
            return values
        for name in (values,) if isinstance(values, str) else values:
            if name not in VALUES:
                raise ValueError(unknown_name("range of values", name, VALUES, then="Or give (low, high)."))
        return values

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, dtype: str) -> str:
        if dtype not in NARROW:
            raise ValueError(unknown_name("dtype of an input", dtype, [name for name in NARROW if name]))
        return dtype

    @property
    def differentiable(self) -> bool:
        """Whether gradients are asked for it."""
        return self.dtype in ("", "wide")


class Limits(KernelDeclaration):
    """What a kernel must not exceed; operators and bytes are counted at the declared `sizes`, forward and backward."""

    error: dict[str, float] = Field(description="largest error against float64, a number or one a dtype")
    operators: int | None = Field(default=None, ge=1, description="torch operators that one call and its gradient run")
    bytes: int | None = Field(default=None, ge=1, description="most bytes held at once beyond the inputs")

    @field_validator("error", mode="before")
    @classmethod
    def _error_by_dtype(cls, error: Any) -> Any:
        return {"": error} if isinstance(error, int | float) else error

    @field_validator("error")
    @classmethod
    def _known_dtypes(cls, error: dict[str, float]) -> dict[str, float]:
        for dtype, bound in error.items():
            if dtype and dtype not in DTYPES:
                raise ValueError(unknown_name("dtype", dtype, DTYPES))
            if not 0 <= bound < 1:
                raise ValueError(f"an error is a share of the right value, from 0 to below 1; given {bound}")
        return error


class Speed(KernelDeclaration):
    """What the time is held against: a commit of this repository, or a peer.

    Green while time over the other side's is at most `at_most` (a committed ratio goes there), within the margins of
    `asiarc.speed.paired`.
    """

    commit: str = Field(default="", description="a commit, branch or tag whose kernel file is the other side")
    peer: Any = Field(default=None, description="a function of the same arguments, or its name 'module:function'")
    at_most: float = Field(default=1.0, gt=0, description="time over the other side's, e.g. a committed ratio")

    @model_validator(mode="after")
    def _one_side(self) -> Speed:
        if bool(self.commit) == (self.peer is not None):
            raise ValueError("give one of commit='main' and peer=function: times are taken against something")
        if self.peer is not None:
            _function("peer", self.peer)
        return self


def _refused(field: str, text: str) -> DeclarationError:
    return at_field(field, KernelError(f"Kernel: {text}"))


def _within(field: str, make: Callable[[], T]) -> T:
    """What `make` makes; its error is told where the field stands."""
    try:
        return make()
    except KernelError as error:
        raise at_field(field, error) from None


def _input(name: str, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return Input(axes=given)
    except KernelError as error:
        raise at_field("inputs", KernelError(f"inputs[{name!r}]: {error}")) from None


def _function(field: str, given: Any) -> Any:
    if isinstance(given, str) and not re.match(r"^[\w.]+:\w+$", given):
        raise ValueError(f"{field}={given!r} names no function; write 'package.module:function'")
    if not isinstance(given, str) and not callable(given):
        raise ValueError(f"{field} is a {type(given).__name__}; give a function, or its name 'package.module:function'")
    return given


class Kernel(KernelDeclaration):
    """A kernel and what is asked of it.

    `function` takes the `inputs` by name and returns the `outputs` in order (a tensor, or a tuple of them); `reference`
    has the same signature and is run in float64. Axes are names: `sizes` says how long they are where operators, bytes
    and time are measured, `ranges` between what lengths properties are drawn.
    """

    function: Any = Field(description="the kernel, or its name 'package.module:function'")
    reference: Any = Field(description="what it should equal, with the same arguments; run in float64")
    inputs: dict[str, Input] = Field(min_length=1, description="its arguments by name: Input('B T H D', values='unit')")
    outputs: dict[str, str] = Field(default_factory=dict, description="axes by name; default: o, like the first input")
    states: dict[str, str] = Field(default_factory=dict, description="the output that continues an input: {in: out}")
    holds: tuple[Property, ...] = Field(default=("deterministic",), description=f"of {', '.join(HOLDS)}")
    at_most: Limits = Field(description="Limits(error=1e-5), and operators= and bytes= if they are to be held")
    speed: Speed | None = Field(default=None, description="Speed(commit='main') or Speed(peer=function, at_most=0.8)")
    sizes: dict[str, int] = Field(default_factory=dict, description="lengths of axes where it is measured")
    ranges: dict[str, tuple[int, int]] = Field(default_factory=dict, description="lengths of axes that are drawn")
    dtypes: tuple[str, ...] = Field(default=("float32",), min_length=1, description="what it is checked in")
    time: str = Field(default="T", description="the axis that counts tokens")
    batch: str = Field(default="B", description="the axis that counts sequences")
    packing: str = Field(default="cu_seqlens", description="the argument that takes boundaries of packed sequences")
    runs: tuple[str, ...] = Field(default=(), description="torch operators that it is said to run on, e.g. ('bmm',)")
    examples: int = Field(default=25, ge=1, description="cases drawn for each property")

    @field_validator("function", "reference")
    @classmethod
    def _functions(cls, given: Any, info: ValidationInfo) -> Any:
        return _function(str(info.field_name), given)

    @field_validator("inputs", mode="before")
    @classmethod
    def _inputs(cls, inputs: Any) -> Any:
        if not isinstance(inputs, Mapping):
            return inputs
        return {name: _input(name, given) for name, given in inputs.items()}

    @field_validator("at_most", mode="before")
    @classmethod
    def _limits(cls, given: Any) -> Any:
        return _within("at_most", lambda: Limits(**given)) if isinstance(given, Mapping) else given

    @field_validator("outputs")
    @classmethod
    def _outputs(cls, outputs: dict[str, str]) -> dict[str, str]:
        return {name: _known_axes(axes) for name, axes in outputs.items()}

    @field_validator("holds", mode="before")
    @classmethod
    def _known_properties(cls, names: Any) -> Any:
        for name in [names] if isinstance(names, str) else names:
            if name not in HOLDS:
                raise ValueError(unknown_name("property", str(name), HOLDS))
        return (names,) if isinstance(names, str) else names

    @field_validator("dtypes")
    @classmethod
    def _known_dtypes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in DTYPES:
                raise ValueError(unknown_name("dtype", name, DTYPES))
        return names

    @model_validator(mode="after")
    def _known_lengths(self) -> Kernel:
        for field, given in (("sizes", self.sizes), ("ranges", self.ranges)):
            for name, found in given.items():
                low, high = found if isinstance(found, tuple) else (found, found)
                if name not in self.axes:
                    raise _refused(field, unknown_name(f"axis in {field}", name, self.axes))
                if not 1 <= low <= high:
                    raise _refused(field, f"{field}[{name!r}] = {found}: lengths are at least 1, the lower one first")
        return self

    @model_validator(mode="after")
    def _possible(self) -> Kernel:
        for given, made in self.states.items():
            for kind, name, known in (("input", given, self.inputs), ("output", made, self.made)):
                if name not in known:
                    raise _refused("states", unknown_name(kind, name, known))
        for dtype in self.dtypes:
            if not {dtype, ""} & self.at_most.error.keys():
                raise _refused("at_most", f"at_most names no error for {dtype}; name one, or one number for all dtypes")
        if missing := self._lacks():
            raise _refused("holds", missing)
        return self

    def _lacks(self) -> str:
        """What a property that is said to hold would need."""
        timed = [name for name, given in self.inputs.items() if axis_of(self.time, given.axes) is not None]
        if {"causal", "hand_over", "packing"} & set(self.holds) and not timed:
            return f"no input has the axis {self.time!r}, along which {', '.join(self.holds)} would hold"
        if "hand_over" in self.holds and not self.states:
            return "hand_over needs states={'initial_state': 'final_state'}: which output continues which input"
        if "batch" in self.holds and not any(axis_of(self.batch, one.axes) == 0 for one in self.inputs.values()):
            return f"no input begins with the axis {self.batch!r}, along which batch would hold"
        return ""

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of all axes, in the order in which the inputs name them."""
        text = " ".join(one.axes for one in self.inputs.values())
        return tuple(dict.fromkeys(NAME.findall(text)))

    @property
    def made(self) -> dict[str, str]:
        """The axes of the outputs by name."""
        return self.outputs or {"o": next(iter(self.inputs.values())).axes}

    @property
    def families(self) -> tuple[str, ...]:
        """The ranges that the inputs are checked with: their own, called moderate, and the others."""
        return tuple(dict.fromkeys(["moderate", *(name for one in self.inputs.values() for name in one.also)]))

    def measured(self) -> dict[str, int]:
        """The lengths of the axes where operators, bytes and time are measured."""
        usual = {self.batch: 2, self.time: 256}
        return {name: self.sizes.get(name, usual.get(name, 16)) for name in self.axes}

    def drawn(self) -> dict[str, tuple[int, int]]:
        """Between what lengths each axis is drawn."""
        usual = {self.batch: (1, 3), self.time: (1, 130)}
        return {name: self.ranges.get(name, usual.get(name, (1, 20))) for name in self.axes}

    def bound(self, dtype: str) -> float:
        """The largest error that a dtype may have."""
        error = self.at_most.error
        return error[dtype] if dtype in error else error[""]


def kernels_in(module: object) -> dict[str, Kernel]:
    """The kernels of a module by name."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Kernel)}
