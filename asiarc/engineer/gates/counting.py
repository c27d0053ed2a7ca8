"""Counts what a call costs, operator by operator, without a clock.

Every aten operator that runs is counted: contractions by their formula, transforms by n log n, what is known to touch
each element a fixed number of times by one operation an element; what is known as none of these counts as all pairs.
Memory is the bytes of all tensors that operators allocate; moved are the bytes that they read and write.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from asiarc.engineer.gates.guard import CANDIDATE_FILE
from asiarc.engineer.gates.live import Memory, OperatorMode, tensors_in


class Counted(NamedTuple):
    """Floating-point operations, bytes allocated in all, bytes of the largest tensor, bytes read and written, how many
    operators ran, and the names of those whose work is not known.
    """

    flops: float = 0.0
    allocated_bytes: float = 0.0
    largest_bytes: float = 0.0
    moved_bytes: float = 0.0
    operators: int = 0
    unknown: frozenset[str] = frozenset()

    def with_one(self, func: Any, flops: float | None, given: list[Tensor], made: list[Tensor]) -> Counted:
        """The sum with one operator more; flops None: not known."""
        sizes, unknown = [t.nbytes for t in made], self.unknown
        if flops is None:
            flops = float(math.prod(sorted(t.numel() for t in (*given, *made))[-2:]))
            unknown = unknown | {str(func)}
        allocated = sum(sizes)
        return Counted(
            self.flops + flops,
            self.allocated_bytes + allocated,
            max(self.largest_bytes, *sizes),
            self.moved_bytes + allocated + sum(t.nbytes for t in given),
            self.operators + 1,
            unknown,
        )


class Counter(OperatorMode):
    """Counts operators while active: `cost` is the sum.

    `narrowest` is the narrowest floating type that was made; `spreads` says that a Fourier transform ran, whose
    rounding goes from one position to all. With a `memory`, what is made is followed in it as well.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        super().__init__()
        self.memory = memory
        self.cost = Counted()
        self.narrowest = torch.float64
        self.spreads = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the operator and adds its cost."""
        result = func(*args, **(kwargs or {}))
        made = [*tensors_in(result)]
        if func.is_view or not made:
            return result
        given = [*tensors_in(args), *tensors_in(kwargs)]
        flops = _flops(func, args, kwargs or {}, result, given, made)
        if self.memory is not None:
            self.memory.take(made)
        self.cost = self.cost.with_one(func, flops, given, made)
        self.spreads = self.spreads or _rule(func).name.startswith("fft_")
        for tensor in made:
            if tensor.is_floating_point() and tensor.dtype.itemsize < self.narrowest.itemsize:
                self.narrowest = tensor.dtype
        return result


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
) -> float | None:
    """Operations of one operator, or None where nobody has said what it does."""
    packet, name, each_element = _rule(func)
    if packet in _PRODUCTS:  # as their formula says, without its detours: most operators of a loop
        return 2.0 * made[0].numel() * args[_PRODUCTS[packet]].shape[-1]
    if packet in _CONTRACTIONS:
        return float(_CONTRACTIONS[packet](*args, **kwargs, out_val=result))
    if name in UNFILLED:
        return 0.0
    elements = float(max(Tensor.numel(tensor) for tensor in (*given, *made)))
    if each_element:
        return elements
    if name.startswith("fft_"):
        return 5.0 * elements * max(1.0, math.log2(max(tensor.shape[-1] for tensor in (*given, *made))))
    if name in _EACH_ROW:
        return elements * max(tensor.shape[-1] for tensor in given)
    if name == "mkldnn_rnn_layer":  # every weight once a token of every row
        return 2.0 * math.prod(args[0].shape[:2]) * sum(w.numel() for w in given[1:] if w.ndim == 2)
    return None


class _Rule(NamedTuple):
    """What is looked up of an operator: its packet, in place or not, its plain name, whether it is elementwise."""

    packet: Any
    name: str
    each_element: bool


@cache
def _rule(func: Any) -> _Rule:
    name = func.overloadpacket.__name__
    packet = getattr(torch.ops.aten, name.rstrip("_"), func.overloadpacket)
    name = name.strip("_").removesuffix("_data").removesuffix("_backward").removesuffix("_forward")
    tagged = {torch.Tag.pointwise, torch.Tag.reduction} & set(func.tags)
    return _Rule(packet, name, name in _EACH_ELEMENT or bool(tagged))


_aten = torch.ops.aten
# Matrix products, and which argument is the left factor.
_PRODUCTS = {_aten.mm: 0, _aten.bmm: 0, _aten.addmm: 1, _aten.baddbmm: 1}
_CONTRACTIONS = flop_registry | {
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_aten._scaled_dot_product_flash_attention],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}
UNFILLED = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"})
# Each element of the largest tensor with a whole row: solvers and distances.
_EACH_ROW_NAMES = """
linalg_solve_triangular triangular_solve linalg_inv_ex linalg_solve_ex linalg_lu_factor_ex linalg_lu linalg_lu_solve
linalg_cholesky_ex cholesky_inverse cholesky_solve linalg_det linalg_slogdet linalg_qr linalg_householder_product
linalg_svd linalg_eig linalg_eigh linalg_matrix_exp cdist euclidean_dist
"""
# What touches each element of its largest tensor a fixed number of times, sorting included; an underscore, "_forward",
# "_backward" or "_backward_data" around a name is left away.
_EACH_ELEMENT_NAMES = """
arange bernoulli eye fill full full_like linspace lift_fresh new_full new_ones new_zeros ones ones_like rand randn
randint randn_like rand_like randperm scalar_tensor tril_indices triu_indices uniform normal zero zeros zeros_like
bucketize cat clone complex constant_pad_nd copy detach embedding embedding_dense flip gather index index_add
index_copy index_fill index_put unsafe_index unsafe_index_put index_reduce index_select item local_scalar_dense
linalg_check_errors masked_fill masked_scatter masked_select nonzero polar reflection_pad1d replication_pad1d repeat
repeat_interleave reshape_alias roll scatter scatter_add scatter_reduce searchsorted select select_scatter slice
slice_scatter as_strided_scatter diagonal diagonal_scatter diag_embed sort split stack take to_copy topk transpose
tril triu unfold unsafe_split unsafe_split_with_sizes unsafe_view view_copy where
addmv addr aminmax avg_pool1d avg_pool2d adaptive_avg_pool2d batch_norm_update_stats bincount cummax cummin cumprod
cumsum dot elu floor_divide fused_dropout fused_rms_norm glu hardtanh histc kthvalue leaky_relu linalg_cross
linalg_vector_norm log_sigmoid log_softmax logcumsumexp max_pool2d_with_indices median mode mv native_batch_norm
native_dropout native_group_norm native_layer_norm prelu prelu_kernel renorm safe_softmax segment_reduce softmax
softplus threshold trace unique2 upsample_linear1d upsample_nearest1d vdot weight_norm_interface
"""
_EACH_ROW, _EACH_ELEMENT = frozenset(_EACH_ROW_NAMES.split()), frozenset(_EACH_ELEMENT_NAMES.split())
