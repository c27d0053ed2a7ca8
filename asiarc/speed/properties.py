"""What is declared to hold of a kernel, asked of cases that Hypothesis draws and shrinks to the smallest that fails.

Each property compares two outcomes that must be equal. They are held to ten times the declared error, in units of the
values that a case is made of: a sum of terms that cancel is not wrong by their rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from asiarc.core.axes import axis_of, length, shape
from asiarc.core.drawing import choice, smallest_failing, whole
from asiarc.core.kernel import Kernel
from asiarc.core.seeds import seed_of
from asiarc.execution.attempt import attempt
from asiarc.speed.cases import Case, Tensors, error_of, exact, measured_case, outputs_of

SLACK = 10
EDGES = (1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
"""Lengths near the multiples of usual chunks."""


class Drawn(NamedTuple):
    """What Hypothesis draws: lengths of the axes, family, seed, and where the sequence is cut."""

    sizes: tuple[int, ...]
    family: str
    seed: int
    cut: int

    def case(self, name: str, kernel: Kernel) -> Case:
        """The case of a kernel."""
        sizes = dict(zip(kernel.axes, self.sizes, strict=True))
        return Case(name, kernel, sizes, kernel.dtypes[0], self.family, self.seed)


def drawn(kernel: Kernel) -> st.SearchStrategy[Drawn]:
    """Cases of a kernel; tokens also near the multiples of usual chunks."""

    def lengths(name: str, low: int, high: int) -> st.SearchStrategy[int]:
        edges = [n for n in EDGES if low <= n <= high] if name == kernel.time else []
        return whole(low, high) | choice(edges) if edges else whole(low, high)

    sizes = st.tuples(*(lengths(name, *found) for name, found in kernel.drawn().items()))
    return st.builds(Drawn, sizes, choice(kernel.families), whole(0, 2**16), whole(0, 2**16))


# --- one case ---------------------------------------------------------------------------------------------------------


def apart(actual: Tensors, expected: Tensors, bound: float) -> str:
    """The tensor that is farther off than a bound allows, in words; nothing where all are close."""
    for name, right in expected.items():
        found = actual.get(name)
        if found is None or found.shape != right.shape:
            return f"{name} has the shape {None if found is None else tuple(found.shape)}, not {tuple(right.shape)}"
    unit = max([1.0, *(float(x.double().square().mean().sqrt()) for x in expected.values() if x.numel())])
    for name, right in expected.items():
        off = (actual[name].double() - right.double()).abs()
        worst = float(off.max()) / unit if off.numel() else 0.0
        if not worst <= SLACK * bound:  # a NaN is never close
            return f"{name} is off by {worst:.1e}, {SLACK} x the declared error is {SLACK * bound:.1e}"
    return ""


def run(case: Case, inputs: Tensors, **options: Tensor) -> Tensors:
    """The outputs by name."""
    return outputs_of(case.call(**inputs, **options), tuple(case.kernel.made))


def detached(inputs: Tensors) -> Tensors:
    """The same values, no leaves."""
    return {name: x.detach() for name, x in inputs.items()}


def cut_at(case: Case, tensors: Tensors, axes: dict[str, str], start: int, stop: int) -> Tensors:
    """What lies between two tokens of every tensor along time; the others as they are."""
    kernel, found = case.kernel, {}
    for name, x in tensors.items():
        at = axis_of(kernel.time, axes[name])
        if at is not None:
            first, last = (length(axes[name].split()[at], {**case.sizes, kernel.time: t}) for t in (start, stop))
            x = x.narrow(at, first, last - first)
        found[name] = x
    return found


def joined(case: Case, parts: Sequence[Tensors]) -> Tensors:
    """The outputs of consecutive pieces as those of the whole: along time end to end, else the last."""
    made = case.kernel.made
    return {name: end_to_end([part[name] for part in parts], axis_of(case.kernel.time, made[name])) for name in made}


def end_to_end(parts: Sequence[Tensor], axis: int | None) -> Tensor:
    """Pieces joined along an axis; without one, the last."""
    return parts[-1] if axis is None else torch.cat(list(parts), dim=axis)


def in_axes(case: Case) -> dict[str, str]:
    """The axes of the inputs by name."""
    return {name: one.axes for name, one in case.kernel.inputs.items()}


def equals_the_reference(case: Case, cut: int) -> str:
    """Right at any shape, every gradient too where gradients are declared; plain tensors of the declared shapes."""
    inputs = case.inputs()
    wanted = exact(case, inputs)
    actual = case.outcome(inputs=inputs)
    for name, axes in case.kernel.made.items():
        if name in actual and tuple(actual[name].shape) != shape(axes, case.sizes):
            return f"{name} has the shape {tuple(actual[name].shape)}, declared is {shape(axes, case.sizes)}"
    if "gradients" not in case.kernel.holds:
        wanted = {name: x for name, x in wanted.items() if name in case.kernel.made}
    return apart(actual, wanted, case.kernel.bound(case.dtype))


def causal(case: Case, cut: int) -> str:
    """No output before the cut knows what comes after it."""
    tokens = case.sizes[case.kernel.time]
    if tokens < 2:
        return ""
    token, inputs, axes = 1 + cut % (tokens - 1), detached(case.inputs()), in_axes(case)
    others = detached(case.at(seed=case.seed + 1).inputs())
    past, later = cut_at(case, inputs, axes, 0, token), cut_at(case, others, axes, token, tokens)
    along = {name: axis_of(case.kernel.time, text) for name, text in axes.items()}
    changed = {n: inputs[n] if at is None else end_to_end((past[n], later[n]), at) for n, at in along.items()}
    made = {name: text for name, text in case.kernel.made.items() if axis_of(case.kernel.time, text) is not None}
    results = [{n: x for n, x in run(case, given).items() if n in made} for given in (inputs, changed)]
    before, after = (cut_at(case, result, made, 0, token) for result in results)
    wrong = apart(after, before, case.kernel.bound(case.dtype))
    return wrong and f"{wrong}: before token {token}, when only tokens from {token} on changed"


def hands_over(case: Case, cut: int) -> str:
    """A state that one call returns continues the sequence in the next."""
    tokens = case.sizes[case.kernel.time]
    if tokens < 2:
        return ""
    at, inputs, axes = 1 + cut % (tokens - 1), detached(case.inputs()), in_axes(case)
    whole_run = run(case, inputs)
    first = run(case, cut_at(case, inputs, axes, 0, at))
    carried = {given: first[made] for given, made in case.kernel.states.items()}
    second = run(case, cut_at(case, inputs, axes, at, tokens) | carried)
    wrong = apart(joined(case, (first, second)), whole_run, case.kernel.bound(case.dtype))
    return wrong and f"{wrong}: cut after token {at} and handed over"


def packs(case: Case, cut: int) -> str:
    """Sequences that lie end to end, with their boundaries, give what each gives alone."""
    kernel, tokens = case.kernel, case.sizes[case.kernel.time]
    one = case.at(sizes={**case.sizes, kernel.batch: 1})
    inputs = {name: x for name, x in detached(one.inputs()).items() if name not in kernel.states}
    axes = in_axes(one)
    bounds = sorted({0, cut % (tokens + 1), cut // 7 % (tokens + 1), tokens})
    packed = run(one, inputs, **{kernel.packing: torch.tensor(bounds)})
    pieces = [run(one, cut_at(one, inputs, axes, a, b)) for a, b in itertools.pairwise(bounds)]
    alone = joined(one, pieces)
    timed = {name for name, text in kernel.made.items() if axis_of(kernel.time, text) is not None}
    finals = {n: torch.cat([p[n] for p in pieces]) for n in alone if n in kernel.states.values()}
    wanted = {n: x for n, x in (alone | finals).items() if n in timed or n in finals}
    wrong = apart(packed, wanted, kernel.bound(one.dtype))
    return wrong and f"{wrong}: packed with boundaries {bounds}"


def keeps_rows_apart(case: Case, cut: int) -> str:
    """A sequence of a batch gives what it gives alone."""
    kernel, inputs = case.kernel, detached(case.inputs())
    row, axes = cut % case.sizes[kernel.batch], in_axes(case)
    alone = {n: x[row : row + 1] if axis_of(kernel.batch, axes[n]) == 0 else x for n, x in inputs.items()}
    batched = {n for n, text in kernel.made.items() if axis_of(kernel.batch, text) == 0}
    many = {n: x[row : row + 1] for n, x in run(case, inputs).items() if n in batched}
    found = {n: x for n, x in run(case, alone).items() if n in batched}
    wrong = apart(many, found, kernel.bound(case.dtype))
    return wrong and f"{wrong}: row {row} in the batch, and alone"


def is_deterministic(case: Case, cut: int) -> str:
    """Two equal calls give equal bits, gradients included, and leave their inputs as they were."""
    inputs = case.inputs()
    before = {name: x.detach().clone() for name, x in inputs.items()}
    first, second = case.outcome(inputs=inputs), case.outcome(inputs=inputs)
    differ = [n for n in first if not torch.equal(first[n].nan_to_num(), second[n].nan_to_num())]
    changed = [n for n, x in before.items() if not torch.equal(x, inputs[n])]
    if differ:
        return f"{differ[0]} differs from call to call"
    return f"{changed[0]} was changed in place" if changed else ""


ALWAYS = "reference"
PROPERTIES: dict[str, Callable[[Case, int], str]] = {
    ALWAYS: equals_the_reference,
    "causal": causal,
    "hand_over": hands_over,
    "packing": packs,
    "batch": keeps_rows_apart,
    "deterministic": is_deterministic,
}
"""What is wrong with a case, by property; the first is asked of every kernel, gradients with it."""


# --- many cases -------------------------------------------------------------------------------------------------------


def broken(name: str, kernel: Kernel) -> dict[str, str]:
    """Every property that does not hold, with the smallest case found."""
    asked = [prop for prop in PROPERTIES if prop == ALWAYS or prop in kernel.holds]
    found = {prop: smallest(name, kernel, prop) for prop in asked}
    return {prop: text for prop, text in found.items() if text}


def smallest(name: str, kernel: Kernel, prop: str) -> str:
    """The smallest case for which a property does not hold, and what is wrong with it; nothing where it holds."""

    def violation(one: Drawn) -> str | None:
        wrong, failure = attempt(partial(PROPERTIES[prop], one.case(name, kernel), one.cut))
        return wrong or (f"raises {failure}" if failure else None)

    seed = seed_of("kernel property", name, prop)
    failing = smallest_failing(drawn(kernel), violation, seed=seed, max_examples=kernel.examples)
    return f"{failing[1]} at {failing[0].case(name, kernel).place}" if failing else ""


def inaccurate(name: str, kernel: Kernel) -> list[str]:
    """Every dtype and family in which the error against float64, where it is measured, is above the declared one."""
    found = []
    for dtype in kernel.dtypes:
        for family in kernel.families:
            case = measured_case(name, kernel, dtype=dtype, family=family)
            worst, failure = attempt(partial(worst_error, case))
            if failure:
                found.append(f"raises {failure} at {case.place}")
            elif not worst[1] <= kernel.bound(dtype):
                found.append(f"{worst[0]} is off by {worst[1]:.1e}, at most {kernel.bound(dtype):.1e}, at {case.place}")
    return found


def worst_error(case: Case) -> tuple[str, float]:
    """The tensor with the largest error, and the error."""
    inputs = case.inputs()
    wanted = exact(case, inputs)
    if "gradients" not in case.kernel.holds:
        wanted = {name: x for name, x in wanted.items() if name in case.kernel.made}
    actual = {name: x for name, x in case.outcome(inputs=inputs).items() if name in wanted}
    found = error_of(actual, wanted)
    return max(found.items(), key=lambda one: one[1])
