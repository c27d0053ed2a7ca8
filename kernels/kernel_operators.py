"""Our operators as kernels: what each takes, what it should equal, what holds; ``pytest kernels`` checks them all.

The benches, the goldens, the speed gate and the judge read them here. Axes: B batch, T tokens, H heads, D channels.
"""

from __future__ import annotations

from asiarc.core.kernel import Input, Kernel, Limits, Property
from asiarc.kernels.operators import OPERATORS, Operator
from asiarc.kernels.ranges import INPUTS, STATE

ERROR = {"float32": 8e-6, "bfloat16": 1.5e-2, "float16": 2e-3, "float64": 1e-14}
# Two memories that feed each other: longer sums, and without a decay they grow, which no layer lets them do.
COUPLED = {"float32": 2e-5, "bfloat16": 2e-2, "float16": 4e-3, "float64": 1e-12}
DECAYING = {"g": INPUTS["g"] | {"also": ("strong", "reset")}}


def declared(operator: Operator) -> Kernel:
    """An operator as a kernel."""
    axes = {name: text for name, text in operator.axes("D").items() if name not in operator.optional}
    has_state, coupled = STATE in axes, operator.memories > 1
    ranges = INPUTS | DECAYING if coupled else INPUTS
    carries: tuple[Property, ...] = ("causal", "hand_over", "packing") if has_state else ()
    first = next(iter(axes.values()))
    return Kernel(
        function=f"asiarc.kernels.{operator}:{operator}",
        reference=operator.reference,
        inputs={name: Input(axes=text, **ranges.get(name, {})) for name, text in axes.items()},
        outputs={"o": first} | ({"final_state": axes[STATE]} if has_state else {}),
        states={STATE: "final_state"} if has_state else {},
        holds=(*carries, "batch", "deterministic", "gradients"),
        at_most=Limits(error=COUPLED if coupled else ERROR),
        sizes=dict(B=4, T=256, H=4, D=32),
        ranges=dict(H=(1, 3), D=(1, 39)),
        dtypes=tuple(ERROR),
    )


KERNELS = {name: declared(operator) for name, operator in OPERATORS.items()}
vars().update(KERNELS)
