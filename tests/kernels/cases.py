"""What the kernel tests share: the operators as a table and drawn cases.

Hypothesis draws a case as (shape, seed, families): tensors are made from it deterministically, so that shrinking finds
the smallest shape that fails. `ASIARC_KERNEL_EXAMPLES` raises the number of examples for a nightly run.
"""

from __future__ import annotations

import dataclasses
import os

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from torch import Tensor

from asiarc.core.seeds import seed_of
from asiarc.kernels.accuracy import errors
from asiarc.kernels.operators import OPERATORS as ALL
from asiarc.kernels.operators import SEQUENCE, Operator

GATES = ("zero", "tiny", "moderate", "strong", "reset", "mixed")
BETAS = ("zero", "one", "two", "random")
KEYS = ("unit", "repeated", "orthogonal", "zero")

examples = settings(
    max_examples=int(os.environ.get("ASIARC_KERNEL_EXAMPLES", "12")),
    derandomize=True,
    deadline=None,
    database=None,
    phases=[phase for phase in Phase if phase is not Phase.shrink or os.environ.get("ASIARC_KERNEL_SHRINK") != "0"],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


OPERATORS = tuple(ALL[name] for name in SEQUENCE)
GATED = tuple(op for op in OPERATORS if op.gated)
ERASING = tuple(op for op in OPERATORS if op.erases)


@dataclasses.dataclass(frozen=True)
class Case:
    op: Operator
    seed: int
    B: int = 2
    T: int = 40
    H: int = 2
    groups: int = 1  # value heads per key head
    K: int = 16
    V: int = 16
    steps: int = 1
    gate: str = "moderate"
    beta: str = "random"
    keys: str = "unit"
    state: str = "random"

    def __post_init__(self) -> None:
        assert self.gate in GATES and self.beta in BETAS and self.keys in KEYS

    def tensors(self, dtype: torch.dtype = torch.float64, requires_grad: bool = False) -> dict[str, Tensor]:
        """Every tensor argument of the operator by name; the values are those of float32 or coarser."""
        shapes = self.op.shapes(self.B, self.T, self.H, self.K, V=self.V, groups=self.groups, steps=self.steps)
        made = {"k": self.key, "g": self.log_decay, "beta": self.strength, "initial_state": self.start}
        x = {
            name: made[name](*shape) if name in made else self.normal(name, *shape)
            for name, shape in shapes.items()
            if name != "initial_state" or self.state != "none"
        }
        coarse = dtype if dtype in (torch.bfloat16, torch.float16) else torch.float32
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return {
            name: value.to(coarse).to(dtype if name in "qkv" else wide).requires_grad_(requires_grad)
            for name, value in x.items()
        }

    def start(self, *shape: int) -> Tensor:
        return self.normal("state", *shape) * (self.state == "random")

    def normal(self, purpose: str, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator(purpose), dtype=torch.float64)

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator(purpose), dtype=torch.float64)

    def generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of("kernel case", self.op.name, self.seed, purpose))

    def key(self, *shape: int) -> Tensor:
        k = self.normal("k", *shape)
        if self.keys == "zero":
            return torch.zeros_like(k)
        if self.keys == "repeated":
            k = k[:, :1].expand_as(k).contiguous()
        if self.keys == "orthogonal":
            k = torch.eye(self.K, dtype=torch.float64)[torch.arange(shape[1]) % self.K][None, :, None].expand_as(k)
        return torch.nn.functional.normalize(k, dim=-1)

    def log_decay(self, *shape: int) -> Tensor:
        moderate = torch.nn.functional.logsigmoid(self.normal("g", *shape) + 1)
        if self.gate == "mixed":
            kind = torch.randint(5, shape, generator=self.generator("kind"))
            values = (torch.zeros(()), torch.full((), -1e-6), None, torch.full((), -60.0), torch.full((), -torch.inf))
            for i, value in enumerate(values):
                moderate = moderate if value is None else torch.where(kind == i, value.double(), moderate)
            return moderate
        factor = {"zero": 0.0, "tiny": 1e-6, "moderate": 1.0, "strong": 0.0, "reset": 1.0}[self.gate]
        g = moderate * factor - (60.0 if self.gate == "strong" else 0.0)
        if self.gate == "reset":
            g = torch.where(self.uniform("reset", *shape) < 0.1, -torch.inf, g)
        return g

    def strength(self, *shape: int) -> Tensor:
        if self.beta == "random":
            return 2 * self.uniform("beta", *shape)
        return torch.full(shape, {"zero": 0.0, "one": 1.0, "two": 2.0}[self.beta], dtype=torch.float64)


# Lengths near the multiples of every chunk length, and anything short.
LENGTHS = st.sampled_from((1, 2, 3, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 128, 129, 130)) | st.integers(1, 20)


@st.composite
def cases(draw: st.DrawFn, op: Operator, **fixed: object) -> Case:
    drawn = dict(
        B=st.integers(1, 3),
        T=LENGTHS,
        H=st.integers(1, 3),
        groups=st.sampled_from((1, 1, 2, 3)),
        K=st.sampled_from((1, 3, 8, 16, 17, 32, 60)),
        V=st.sampled_from((1, 3, 8, 16, 20, 32)),
        steps=st.integers(1, 3) if op.steps > 1 else st.just(1),
        gate=st.sampled_from(GATES) if op.gated else st.just("moderate"),
        beta=st.sampled_from(BETAS) if op.erases else st.just("random"),
        keys=st.sampled_from(KEYS),
        state=st.sampled_from(("random", "zero", "none")),
        seed=st.integers(0, 2**16),
    )
    return Case(op, **{name: fixed.get(name, draw(s) if name not in fixed else None) for name, s in drawn.items()})


def run(case_or_op: Case | Operator, tensors: dict[str, Tensor], **options: object) -> tuple[Tensor, Tensor]:
    op = case_or_op.op if isinstance(case_or_op, Case) else case_or_op
    return op.call(**tensors, **options)


def gradients(case: Case, outputs: tuple[Tensor, Tensor], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients of a random functional of both outputs, by input name."""
    loss = sum((x * case.normal(f"upstream {i}", *x.shape).to(x.dtype)).sum() for i, x in enumerate(outputs))
    found = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(inputs, found, strict=True))


def named(outputs: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return dict(zip(("o", "final_state"), outputs, strict=True))


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], bound: float) -> None:
    found = errors(actual, expected)
    assert max(found.values()) <= bound, found
