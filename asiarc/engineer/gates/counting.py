"""Counts what a call costs, operator by operator, without a clock.

Every aten operator that runs is counted: contractions by their formula, transforms by n log n, the rest by
one operation an element. Memory is the bytes of all tensors that operators allocate.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from asiarc.engineer.gates.guard import CANDIDATE_FILE


class Counted(NamedTuple):
    """Floating-point operations, bytes allocated in all, bytes of the largest tensor, and how many operators ran."""

    flops: float
    allocated_bytes: float
    largest_bytes: float
    operators: int


class Counter(TorchDispatchMode):
    """Counts operators while active; `cost` holds the sum, `narrowest` the narrowest floating type that was made."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0
        self.allocated_bytes = 0.0
        self.largest_bytes = 0.0
        self.operators = 0
        self.narrowest = torch.float64

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Skipping it would import the compiler, which takes longer than an admission.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the operator and adds its cost."""
        result = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if func.is_view or not made:
            return result
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.operators += 1
        self.flops += _flops(func, args, kwargs or {}, result, given, made)
        for tensor in made:
            size = tensor.numel() * tensor.element_size()
            self.allocated_bytes += size
            self.largest_bytes = max(self.largest_bytes, size)
            if tensor.is_floating_point() and tensor.dtype.itemsize < self.narrowest.itemsize:
                self.narrowest = tensor.dtype
        return result

    @property
    def cost(self) -> Counted:
        """What has been counted so far."""
        return Counted(self.flops, self.allocated_bytes, self.largest_bytes, self.operators)


def count(call: Callable[..., object], *arguments: Any) -> Counted:
    """The cost of `call(*arguments)` in operations and bytes: what torch runs, autograd included, and no Python."""
    with Counter() as counter:
        call(*arguments)
    return counter.cost


def count_lines(call: Callable[..., object], *arguments: Any) -> int:
    """How many lines of candidates `call(*arguments)` runs: what Python does itself, no operator shows."""
    lines = 0

    def within(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return within

    def enters(frame: FrameType, event: str, _: object) -> Any:
        return within if frame.f_code.co_filename.startswith(CANDIDATE_FILE) else None

    before = sys.gettrace()
    sys.settrace(enters)
    try:
        call(*arguments)
    finally:
        sys.settrace(before)
    return lines


def _flops(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, given: list[Tensor], made: list[Tensor]
) -> float:
    packet = func.overloadpacket
    if packet in flop_registry:
        return float(flop_registry[packet](*args, **kwargs, out_val=result))
    name = packet.__name__
    elements = max(tensor.numel() for tensor in (*given, *made))
    if "fft" in name:
        return 5.0 * elements * max(1.0, math.log2(max(tensor.shape[-1] for tensor in (*given, *made))))
    if name in _SOLVERS:
        return float(elements * max(tensor.shape[-1] for tensor in given))
    if name in ("empty", "empty_like", "new_empty", "empty_strided"):
        return 0.0
    return float(elements)


_SOLVERS = frozenset({
    "linalg_solve_triangular", "triangular_solve", "linalg_inv_ex", "_linalg_solve_ex", "linalg_lu_factor_ex",
    "linalg_cholesky_ex", "cholesky_inverse", "linalg_qr", "_linalg_svd", "_linalg_eigh", "linalg_matrix_exp",
})  # fmt: skip
