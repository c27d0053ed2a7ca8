"""The accuracy layer: errors against float64 by operator, dtype and family of gates, which must not grow.

The inputs are rounded to the dtype first, so that the error is the implementation's alone. A value is the largest
error of any output (`outputs`) or gradient (`gradients`) by `asiarc.kernels.accuracy`; a golden holds the median
over three seeds, and fails at twice that plus one unit of the dtype: another processor sums in another order (1.45
times was seen between an Intel Xeon and an AMD EPYC), while a product in fewer bits errs many times as much.
"""

from __future__ import annotations

import statistics

import torch

from asiarc.kernels.kernel_operators import KERNELS
from asiarc.speed.cases import Case, error_of, exact, outcome, shipped
from tests.rigs.kernels.goldens import Rule, Values, ratio_text

DTYPES = ("float64", "float32", "bfloat16", "float16")
SEEDS = 3
MOST_GROWTH = 2.0
CASES = tuple(
    shipped(operator, 2, 70, 2, 16, dtype=dtype, family=family)
    for operator in KERNELS
    for dtype in DTYPES
    for family in KERNELS[operator].families
)


def errors_of(case: Case) -> dict[str, float]:
    """The largest error of outputs and of gradients."""
    inputs = case.inputs()
    found = error_of(outcome(case.call, inputs, case.upstream()), exact(case, inputs))
    gradients = {name for name in found if name.startswith("d")}
    return {
        "outputs": max(found[name] for name in found.keys() - gradients),
        "gradients": max(found[name] for name in gradients),
    }


def measure(operators: tuple[str, ...] = ()) -> Values:
    """The median over seeds of every case's errors, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {str(c): over_seeds(c) for c in CASES if not operators or c.name in operators}
    finally:
        torch.set_num_threads(threads)


def over_seeds(case: Case) -> dict[str, float]:
    """Three seeds, so that one lucky rounding sets no golden."""
    several = [errors_of(case.at(seed=seed)) for seed in range(SEEDS)]
    return {name: float(f"{statistics.median(e[name] for e in several):.3g}") for name in several[0]}


def rule_for(case: str) -> Rule:
    """The bound for a case; its name holds the dtype, one unit of which is the floor."""
    dtype = next(name for name in DTYPES if f" {name}" in case)
    floor = torch.finfo(getattr(torch, dtype)).eps

    def rule(golden: float, measured: float) -> str:
        return "" if measured <= MOST_GROWTH * golden + floor else "error " + ratio_text(golden, measured)

    return rule
