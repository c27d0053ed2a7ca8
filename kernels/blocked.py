"""Launching the kernels of `blocks`: plans, configurations, and the autograd function over them.

A call makes a plan (where chunks and sequences begin), sums the gates, and launches `scores`, `forward` and, on the
way back, `backward_states` and `backward_rows`. Saved between the two are the inputs, y, the scores, and one state a
chunk in the inputs' dtype; without gradients nothing is.

Unusual: there is no autotuning at run time, whose choice, and with it the last bits of a result, would differ from
process to process. `CONFIGS` lists what each kernel may be launched with and `chosen` picks by widths and dtype; the
compile report and the GPU benchmark go over all of them.

Triton is imported here, so only a caller who asks for this backend imports this module.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from asiarc.core.errors import KernelInputError
from asiarc.kernels import blocks
from asiarc.kernels.chunked import step, without_autocast

CHUNK = 64
WIDEST = 256
"""Key channels; wider states do not fit the registers of a program."""


TYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Widths of a program's blocks of key and value channels, its warps, and the depth of its load pipeline."""

    warps: int
    stages: int
    BK: int = 0
    BV: int = 0

    def __str__(self) -> str:
        widths = "".join(f"{name}{n}" for name, n in (("k", self.BK), ("v", self.BV)) if n)
        return f"{widths}w{self.warps}s{self.stages}"


@dataclasses.dataclass(frozen=True)
class Variant:
    """What a kernel is compiled for, besides its configuration."""

    gate: int  # 0 none, 1 a head, 2 a channel
    erases: bool
    K: int
    V: int
    dtype: torch.dtype
    C: int = CHUNK

    @property
    def precision(self) -> str:
        """How products of two tiles are taken: float32 as three TF32 products."""
        return "tf32x3" if self.dtype == torch.float32 else "tf32"


CONFIGS: Mapping[str, tuple[Config, ...]] = {
    "accumulate_gate": (Config(4, 1, BK=32),),
    "scores": (Config(4, 1, BK=64), Config(8, 1, BK=32)),
    "forward": (Config(4, 2, BV=32), Config(8, 2, BV=64), Config(8, 1, BV=16)),
    "backward_states": (Config(4, 2, BV=32), Config(8, 2, BV=64), Config(8, 1, BV=16)),
    "backward_scores": (Config(8, 2, BK=64, BV=64), Config(4, 1, BK=32, BV=32)),
    "backward_rows": (Config(8, 2, BK=64, BV=32), Config(8, 1, BK=32, BV=32), Config(4, 1, BK=16, BV=32)),
}
"""What each kernel may be launched with; the last takes the least memory."""


def kernels(variant: Variant) -> tuple[str, ...]:
    """The kernels that a variant takes, in the order of their launch."""
    return tuple(CONFIGS) if variant.gate else tuple(CONFIGS)[1:]


def width(D: int) -> int:
    """Channels of a tile that holds all D: a power of two, at least 16."""
    return max(16, triton.next_power_of_2(D))


def configurations(kernel: str, variant: Variant) -> list[Config]:
    """What a kernel may be launched with; blocks are no wider than the channels, and none is listed twice."""
    K, V = width(variant.K), width(variant.V)
    cut = (dataclasses.replace(c, BK=min(c.BK, K), BV=min(c.BV, V)) for c in CONFIGS[kernel])
    return list(dict.fromkeys(cut))


def chosen(kernel: str, variant: Variant) -> Config:
    """The configuration that a call uses."""
    found = configurations(kernel, variant)
    channel_scores = variant.gate == 2 and kernel in ("scores", "backward_rows")
    smallest = variant.dtype == torch.float32 or variant.K > 128 or channel_scores
    return found[-1] if smallest else found[0]


@dataclasses.dataclass(frozen=True)
class Constants:
    """What the kernels know at compile time: channels, tokens a chunk, widths of blocks, and what is computed."""

    K: int
    V: int
    C: int
    KP: int
    BK: int
    BV: int
    LEVELS: int
    GATE: int
    ERASES: bool
    SAVES: bool
    PRECISION: str

    @staticmethod
    def of(variant: Variant, config: Config, saves: bool = True) -> Constants:
        """Those of a launch; `saves`: a backward pass will follow."""
        K, V, C = variant.K, variant.V, variant.C
        return Constants(K, V, C, width(K), config.BK, config.BV, C.bit_length() - 1, variant.gate, variant.erases,
                         saves, variant.precision)  # fmt: skip


def programs(kernel: str, variant: Variant, config: Config, sequences: int, chunks: int, heads: int) -> int:
    """How many programs a launch has; they lie along the one axis of the grid that has no small limit."""
    if kernel == "accumulate_gate":
        return chunks * -(-heads * (variant.K if variant.gate == 2 else 1) // config.BK)
    if kernel in ("scores", "backward_scores"):
        return chunks * heads
    if kernel == "backward_rows":
        return chunks * heads * -(-variant.K // config.BK)
    return sequences * heads * -(-variant.V // config.BV)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where chunks and sequences begin, on the device; see `blocks`."""

    chunks: Tensor
    bounds: Tensor

    @staticmethod
    def of(bounds: Sequence[int], C: int, device: torch.device) -> Plan:
        """The plan of sequences that lie end to end between `bounds`."""
        ends = torch.tensor(bounds, dtype=torch.int64)
        begin, end = ends[:-1], ends[1:]
        counts = (end - begin + C - 1) // C
        first_chunk = counts.cumsum(0) - counts
        of_sequence = torch.repeat_interleave(torch.arange(len(counts)), counts)
        place = torch.arange(len(of_sequence)) - first_chunk[of_sequence]
        chunks = torch.stack((begin[of_sequence] + place * C, end[of_sequence]), dim=1)
        return Plan(chunks.to(device), torch.stack((begin, end, first_chunk), dim=1).to(device))

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def regular(B: int, T: int, C: int, device: torch.device) -> Plan:
        """The plan of B sequences of T tokens, kept from call to call: it depends on nothing but these numbers."""
        return Plan.of([b * T for b in range(B + 1)], C, device)


@dataclasses.dataclass(frozen=True)
class Launch:
    """How the kernels of one call are launched."""

    variant: Variant
    plan: Plan
    H: int
    HV: int
    scale: float
    configs: Mapping[str, Config]

    def config(self, kernel: str) -> Config:
        """The configuration of a kernel in this call."""
        return self.configs.get(kernel) or chosen(kernel, self.variant)

    def walked(self, x: Mapping[str, Tensor]) -> dict[str, Any]:
        """The queries and keys as `forward` and `backward_states` take them: decayed where the gate is a channel's."""
        if self.variant.gate < 2:
            return {"keys": x["k"]}
        return {"q": x["q_in"], "k": x["k_in"], "keys": x["k_out"], "H": self.HV}

    def __call__(self, kernel: str, given: Mapping[str, Any], *, saves: bool = True) -> None:
        """Launch a kernel of `blocks` with what it takes of the arguments given and of those that all kernels share."""
        function, config, plan = getattr(blocks, kernel), self.config(kernel), self.plan
        shared = {
            "chunks": plan.chunks,
            "bounds": plan.bounds,
            "H": self.H,
            "HV": self.HV,
            "scale": self.scale,
            "p": Constants.of(self.variant, config, saves),
        }
        tensors = blocks.TENSORS[kernel]
        every = {**shared, **given, "x": tensors(*(given[name] for name in tensors._fields))}
        taken = {name: x for name, x in every.items() if name in function.arg_names}
        size = programs(kernel, self.variant, config, len(plan.bounds), len(plan.chunks), self.HV)
        with torch.cuda.device_of(plan.chunks):
            function[(size,)](**taken, num_warps=config.warps, num_stages=config.stages)


class Blocked(torch.autograd.Function):
    """The kernels of `blocks` with their way back; tensors are flat over tokens, contiguous, of one dtype.

    An argument that a kernel has and an operator has not (g, beta) is given q, which is then not read.
    """

    @staticmethod
    def forward(
        ctx: Any, launch: Launch, q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns o [T, HV, V] and the final state [N, HV, K, V]."""
        (T, HV, V), K, C = v.shape, q.shape[-1], launch.variant.C
        saves, erases = any(ctx.needs_input_grad), beta is not None
        G = q
        if g is not None:
            G = torch.empty_like(g, dtype=torch.float64 if q.dtype == torch.float32 else torch.float32)
            launch("accumulate_gate", {"g": g, "G": G, "R": g[0].numel()})
        x: dict[str, Tensor] = {
            "q": q, "k": k, "v": v, "G": G, "beta": q if beta is None else beta, "state": state,
            "P": q.new_empty(T, HV, C), "A": q.new_empty(T, HV, C) if erases else q,
            "o": torch.empty_like(v), "final": torch.empty_like(state),
            "y": torch.empty_like(v) if erases and saves else v,
            "S": q.new_empty(len(launch.plan.chunks) if saves else 0, HV, K, V),
        }  # fmt: skip
        x |= {name: q.new_empty(T, HV, K) if launch.variant.gate == 2 else k for name in ("q_in", "k_in", "k_out")}
        launch("scores", x)
        launch("forward", {**x, **launch.walked(x)}, saves=saves)
        ctx.launch, ctx.gate_dtype = launch, None if g is None else g.dtype
        ctx.save_for_backward(*(x[name] for name in SAVED))
        return x["o"], x["final"]

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, do: Tensor, dfinal: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of the arguments of `forward`."""
        x, launch = dict(zip(SAVED, ctx.saved_tensors, strict=True)), ctx.launch
        q, (T, HV, _), H, K = x["q"], x["y"].shape, launch.H, launch.variant.K
        gate, erases = launch.variant.gate, launch.variant.erases
        splits = -(-K // launch.config("backward_rows").BK)
        dtype = q.dtype if H == HV else torch.float32
        x |= {
            "do": do.contiguous(), "dfinal": dfinal.contiguous(), "dstate": dfinal.new_empty(dfinal.shape),
            "dv": torch.empty_like(x["y"]), "dS": torch.empty_like(x["S"]),
            "Dq": torch.empty_like(x["P"]), "Dk": torch.empty_like(x["P"]) if erases else q,
            "dq": q.new_empty(T, HV, K, dtype=dtype), "dk": q.new_empty(T, HV, K, dtype=dtype),
            "dg": dfinal.new_empty((T, HV, K) if gate == 2 else (splits + 1, T, HV)) if gate else q,
            "dbeta": dfinal.new_empty(splits, T, HV) if erases else q,
        }  # fmt: skip
        launch("backward_states", {**x, **launch.walked(x)})
        launch("backward_scores", x)
        launch("backward_rows", {**x, "T": T})
        dq, dk, dg = x["dq"], x["dk"], x["dg"]
        if H != HV:
            dq, dk = (d.view(T, H, HV // H, K).sum(2).to(q.dtype) for d in (dq, dk))
        dg = (dg if gate == 2 else dg.sum(0)).to(ctx.gate_dtype) if gate else None
        return None, dq, dk, x["dv"], dg, x["dbeta"].sum(0) if erases else None, x["dstate"]


SAVED = ("q", "k", "q_in", "k_in", "k_out", "y", "G", "beta", "P", "A", "S")


def runs_on(device: torch.device) -> bool:
    """Whether Triton can run on a device: a GPU, or any device in its interpreter."""
    return device.type == "cuda" or bool(triton.knobs.runtime.interpret)


def blocked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    scale: float,
    state: Tensor | None,
    bounds: Sequence[int] | None = None,
    *,
    C: int = CHUNK,
    configs: Mapping[str, Config] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the algebra of `blocks`: q, k [B, T, H, K], v [B, T, HV, V] of one dtype, HV a multiple of H.

    g is None, [B, T, HV] or [B, T, HV, K]; with beta [B, T, HV] it is a delta rule. `state` [B or N, HV, K, V] is
    zero where None; `bounds` are those of N sequences packed into one row. C, a power of two from 16, is the chunk
    length; `configs` names other configurations than the chosen ones, by kernel.

    Returns o [B, T, HV, V] in the dtype of v and the final state in float32; differentiable once in every tensor.
    Raises `KernelInputError` for float64, more than 256 key channels, or a device that Triton cannot run on.
    """
    (B, T, H, K), (HV, V) = q.shape, v.shape[2:]
    if q.dtype not in TYPES or K > WIDEST or not runs_on(q.device):
        given = f"{q.dtype} with {K} key channels on {q.device}"
        raise KernelInputError(
            f"backend 'triton': q is {given}; allowed: float32, bfloat16 or float16, at most {WIDEST} key channels, "
            "a CUDA device (or TRITON_INTERPRET=1 in the environment). backend='chunk' runs anywhere."
        )
    sequences = B if bounds is None else len(bounds) - 1
    start = q.new_zeros(sequences, HV, K, V, dtype=torch.float32) if state is None else state.float()
    if T == 1 and bounds is None:
        q_, k_ = (x.float().repeat_interleave(HV // H, dim=2) for x in (q, k))
        g_, beta_ = (None if x is None else x.float() for x in (g, beta))
        o, final = step(q_, k_, v.float(), g_, beta_, scale, start)
        return o.to(v.dtype), final
    gate = 0 if g is None else g.dim() - 2
    plan = Plan.regular(B, T, C, q.device) if bounds is None else Plan.of(bounds, C, q.device)
    launch = Launch(Variant(gate, beta is not None, K, V, q.dtype, C), plan, H, HV, scale, configs or {})
    flat = [
        None if x is None else x.flatten(0, 1).contiguous()
        for x in (q, k, v, g, None if beta is None else beta.float())
    ]
    o, final = Blocked.apply(launch, *flat, start.contiguous())
    return o.view(B, T, HV, V), final


def every_configuration(variant: Variant) -> list[dict[str, Config]]:
    """Sets of configurations, one for each kernel, in which every configuration of every kernel takes part."""
    lists = {kernel: configurations(kernel, variant) for kernel in kernels(variant)}
    longest = max(map(len, lists.values()))
    return [{kernel: found[i % len(found)] for kernel, found in lists.items()} for i in range(longest)]
