"""The front door of every operator over sequences: one contract, checked once, and one way to a backend.

A `Recurrence` checks what it is given, repeats grouped key heads, brings packed sequences into batches, computes in
float32 (float64 for float64 inputs and for the reference) with autocast off, and hands back the caller's dtype.
`causal_filter` does the same for depthwise filters. `described_by` completes the docstrings of the operators from
those of these two. Triton, and the modules that import it, are imported inside functions only: here and in
`delta_product`, once they are chosen.

Axes: B batch, T tokens, H key heads, HV value heads (a multiple of H), K key channels, V value channels,
N packed sequences.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from asiarc.core.axes import shape
from asiarc.core.errors import KernelInputError, unknown_name
from asiarc.kernels.chunked import chunked, no_autocast
from asiarc.kernels.definitions import recurrence

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

# (q, k, v, g, beta, scale, state, *more) -> (o, final_state): heads are equal by now, the dtype the one to compute in.
Implementation = Callable[..., tuple[Tensor, Tensor]]
F = TypeVar("F", bound=Callable[..., Any])


def described_by(shared: Callable[..., Any]) -> Callable[[F], F]:
    """Complete an operator's docstring, before its source, by what that of `shared` says of symbols, results, errors.

    Arguments come in the operator's own order; what it says of one itself holds.
    """

    def complete(operator: F) -> F:
        if operator.__doc__ and shared.__doc__:
            own, common = (inspect.cleandoc(x.__doc__ or "").split("\n\n") for x in (operator, shared))
            texts = {m[1]: m[0] for part in (*common, *own) if part.startswith("Args:")
                     for m in re.finditer(r"^    (\w+): .*(?:\n     .*)*", part, re.MULTILINE)}  # fmt: skip
            taken = [texts[name] for name in inspect.signature(operator).parameters]
            common = ["\n".join(("Args:", *taken)) if x.startswith("Args:") else x for x in common[1:]]
            own = [part for part in own if not part.startswith("Args:")]
            operator.__doc__ = "\n\n".join((*own[:-1], *common, own[-1]))
        return operator

    return complete


def refuse(operator: str, argument: str, given: object, allowed: str) -> KernelInputError:
    """The one wording of every contract error: operator, argument, what was given, what is allowed."""
    return KernelInputError(f"{operator}: {argument} is {given}; allowed: {allowed}.")


def check_tensor(
    operator: str, argument: str, x: object, shape: Sequence[int | None], axes: str, like: Tensor | None = None
) -> Tensor:
    """A floating tensor of the given shape (None: any length >= 1) on the device of `like`, or an error."""
    if not isinstance(x, Tensor):
        raise refuse(operator, argument, f"a {type(x).__name__}", f"a tensor of shape {axes}")
    if x.dtype not in DTYPES:
        raise refuse(operator, argument, f"of dtype {x.dtype}", "float32, bfloat16, float16 or float64")
    if x.dim() != len(shape) or any(n < 1 if m is None else n != m for n, m in zip(x.shape, shape, strict=True)):
        wanted = ", ".join("any >= 1" if m is None else str(m) for m in shape)
        raise refuse(operator, argument, f"of shape {tuple(x.shape)}", f"{axes} = [{wanted}]")
    if like is not None and x.device != like.device:
        raise refuse(operator, argument, f"on {x.device}", f"the device of the other inputs, {like.device}")
    return x


def check_boundaries(operator: str, cu_seqlens: Tensor, x_BT: Tensor) -> list[int]:
    """The boundaries 0 = c_0 <= c_1 <= ... <= c_N = T of sequences packed into one row, as integers."""
    integers = isinstance(cu_seqlens, Tensor) and cu_seqlens.dtype in (torch.int32, torch.int64)
    if not integers or cu_seqlens.dim() != 1:
        raise refuse(operator, "cu_seqlens", repr(cu_seqlens), "a one-dimensional int32 or int64 tensor")
    if x_BT.shape[0] != 1:
        raise refuse(operator, "the batch size", x_BT.shape[0], "1 with cu_seqlens (sequences lie end to end)")
    bounds: list[int] = cu_seqlens.tolist()
    ascending = all(a <= b for a, b in itertools.pairwise(bounds))
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != x_BT.shape[1] or not ascending:
        raise refuse(operator, "cu_seqlens", bounds, f"non-decreasing from 0 to T = {x_BT.shape[1]}")
    return bounds


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed to compile the GPU kernels; does not import it."""
    return importlib.util.find_spec("triton") is not None


def choose(operator: str, backend: str | None, backends: Collection[str], x: Tensor) -> str:
    """The backend to run: the one asked for, or the best one for the device, dtype and width."""
    if backend is None:
        suits = x.is_cuda and x.dtype != torch.float64 and x.shape[-1] <= 256
        return "triton" if suits and "triton" in backends and has_triton() else "chunk"
    offered = [name for name in backends if name != "triton" or has_triton()]
    if backend not in offered:
        message = unknown_name("backend", backend, offered, then="None picks one.")
        raise KernelInputError(f"{operator}: {message}")
    return backend


def check_decay(operator: str, argument: str, g: Tensor) -> None:
    """Refuse a log-decay above zero; reads the data, therefore skipped where there is none to read."""
    if torch.compiler.is_compiling() or g.device.type == "meta":
        return
    top = float(g.detach().amax())
    if top > 0:
        raise refuse(
            operator, argument, f"positive (maximum {top:.4g})",
            f"the natural logarithm of a decay in [0, 1], so {argument} <= 0, e.g. logsigmoid(x) or -softplus(x)",
        )  # fmt: skip


def triton(*given: Any) -> tuple[Tensor, Tensor]:
    """`blocked`; what imports Triton (`blocked`, `blocks`) is imported inside functions only, nowhere else."""
    from asiarc.kernels.blocked import blocked

    return blocked(*given)


@dataclasses.dataclass(frozen=True)
class Recurrence:
    """The front door of an operator with a matrix state: its name, what it takes, and its backends.

    `several_rows`: rows of k, v and beta a token may be more than one. `more` are the axes of further tensors by name,
    R rows. A state holds `memories` matrices one below the other. "triton", where there is such, takes heads, sequences
    and dtypes as they come, the other backends what `Implementation` says.
    """

    name: str
    channel_gate: bool = False
    several_rows: bool = False
    more: Mapping[str, str] = dataclasses.field(default_factory=dict)
    memories: int = 1
    chunk: Implementation = chunked
    reference: Implementation = recurrence
    triton: Implementation | None = triton

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor | None = None,
        beta: Tensor | None = None,
        *more: Tensor,
        scale: float | None,
        initial_state: Tensor | None,
        cu_seqlens: Tensor | None,
        backend: str | None,
    ) -> tuple[Tensor, Tensor]:
        """Check the inputs, run a backend, return (o, final state).

        Symbols: B batch, T >= 1 tokens, H key heads, HV value heads (a multiple of H; each key head serves HV/H of
        them in a row), K key channels, V value channels, N packed sequences.

        Args:
            q: Queries [B, T, H, K].
            k: Keys [B, T, H, K].
            v: Values [B, T, HV, V].
            g: Natural logarithm of the decay, <= 0, [B, T, HV]; -inf clears the state.
            beta: Writing strength [B, T, HV]; in [0, 2] and with ||k|| = 1 (l2_norm) the state does not expand.
            scale: Factor on the output; None is K**-0.5.
            initial_state: State [B, HV, K, V] before the first token ([N, HV, K, V] when packed); None is zero.
            cu_seqlens: Boundaries [N + 1], 0 = c_0 <= ... <= c_N = T, of sequences end to end in a batch of one.
            backend: "chunk" (any device), "triton" (CUDA), "reference" (float64, token by token, slow); None picks.

        Returns:
            o [B, T, HV, V] in the dtype of v, and the final state, shaped as the initial one, in float32 (float64
            for float64 inputs). Both are differentiable in every input, once ("reference": any number of times).

        Raises:
            KernelInputError: A shape, dtype, device, sign of g, boundary or backend outside the above.

        Takes float32, bfloat16, float16 and float64 (q, k, v alike) and computes in float32, float64 for float64.
        """
        bounds = self.check(q, k, v, g, beta, cu_seqlens, more)
        (B, _, H, K), (HV, V) = q.shape, v.shape[2:]
        sequences = B if bounds is None else len(bounds) - 1
        if initial_state is not None:
            sizes = (sequences, HV, self.memories * K, V)
            check_tensor(self.name, "initial_state", initial_state, sizes, "[B or N, HV, K, V]", q)
        backends = ("chunk", "reference") if self.triton is None else ("chunk", "reference", "triton")
        name = choose(self.name, backend, backends, q)
        factor = K**-0.5 if scale is None else float(scale)
        if name == "triton" and self.triton is not None:
            with no_autocast(q):
                return self.triton(q, k, v, g, beta, factor, initial_state, bounds)
        body = self.reference if name == "reference" else self.chunk
        state_dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
        dtype = torch.float64 if name == "reference" else state_dtype
        if HV != H:
            q, k = q.repeat_interleave(HV // H, dim=2), k.repeat_interleave(HV // H, dim=2)
        tensors = [None if x is None else x.to(dtype) for x in (q, k, v, g, beta, *more)]
        rows = self.memories * K
        state = q.new_zeros(sequences, HV, rows, V, dtype=dtype) if initial_state is None else initial_state.to(dtype)

        def run(x: Sequence[Any], start: Tensor) -> tuple[Tensor, Tensor]:
            q, k, v, g, beta, *more = x
            return body(q, k, v, g, beta, factor, start, *more)

        with no_autocast(q):
            o, final = run(tensors, state) if bounds is None else over_sequences(run, tensors, state, bounds)
        return o.to(v.dtype), final.to(state_dtype)

    def check(
        self,
        q_: Tensor,
        k_: Tensor,
        v_: Tensor,
        g: Tensor | None,
        beta: Tensor | None,
        cu_seqlens: Tensor | None,
        more: Sequence[Tensor],
    ) -> list[int] | None:
        """Refuse what is outside the contract; returns the boundaries of packed sequences."""
        operator = self.name
        q = check_tensor(operator, "q", q_, (None,) * 4, "[B, T, H, K]")
        B, T, H, K = q.shape
        rows = k_.shape[1] if self.several_rows and isinstance(k_, Tensor) and k_.dim() == 4 else T
        if rows < T or rows % T:
            raise refuse(operator, "the number of rows of k", rows, f"a multiple of the {T} of q")
        k = check_tensor(operator, "k", k_, (B, rows, H, K), "[B, T, H, K]", q)
        v = check_tensor(operator, "v", v_, (B, rows, None, None), "[B, T, HV, V]", q)
        HV = v.shape[2]
        if HV % H:
            raise refuse(operator, "the number of value heads", HV, f"a multiple of the {H} key heads")
        if not q.dtype == k.dtype == v.dtype:
            raise refuse(operator, "the dtype of q, k, v", (q.dtype, k.dtype, v.dtype), "one and the same")
        if g is not None:
            axes = "[B, T, HV, K]" if self.channel_gate else "[B, T, HV]"
            sizes = (B, T, HV, K)[: 3 + self.channel_gate]
            check_decay(operator, "g", check_tensor(operator, "g", g, sizes, axes, q))
        if beta is not None:
            check_tensor(operator, "beta", beta, (B, rows, HV), "[B, T, HV]", q)
        for (name, axes), x in zip(self.more.items(), more, strict=True):
            sizes = shape(axes, dict(B=B, T=T, R=rows, HV=HV, K=K))
            check_tensor(operator, name, x, sizes, f"[{axes.replace(' ', ', ')}]", q)
            if name == "m":
                check_decay(operator, name, x)
        return None if cu_seqlens is None else check_boundaries(operator, cu_seqlens, q)


def over_sequences(
    run: Callable[[Sequence[Tensor | None], Tensor], tuple[Tensor, Tensor]],
    tensors: Sequence[Tensor | None],
    state: Tensor,
    bounds: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Run packed sequences as padded batches of similar length (lengths within a factor of two share a batch).

    The zero rows that pad a sequence neither write (k = 0, beta = 0) nor decay (g = 0), so the state at its end is
    exact. Tensors are [1, T * steps, ...]; a tensor's own number of rows a token is read off its length.
    """
    total = bounds[-1]
    spans = list(itertools.pairwise(bounds))
    groups: dict[int, list[int]] = {}
    for i, (a, b) in enumerate(spans):
        groups.setdefault((b - a - 1).bit_length() if b > a else -1, []).append(i)
    outputs, tokens, states, order = [], [], [], []
    for size, members in groups.items():
        order += members
        if size < 0:
            states.append(state[members])
            continue
        longest = max(spans[i][1] - spans[i][0] for i in members)
        first, last = torch.tensor([spans[i] for i in members], device=state.device).T[:, :, None]
        at = first + torch.arange(longest, device=state.device)
        inside = at < last
        rows = torch.where(inside, at, total)
        padded = [None if x is None else padded_rows(x[0], rows, total) for x in tensors]
        o, final = run(padded, state[members])
        outputs.append(o[inside])
        tokens.append(at[inside])
        states.append(final)
    o = torch.cat(outputs)[torch.argsort(torch.cat(tokens))]
    return o[None], torch.cat(states)[torch.argsort(torch.tensor(order, device=state.device))]


def padded_rows(x_T: Tensor, rows_NL: Tensor, total: int) -> Tensor:
    """Gather rows [N, L] of a packed tensor [T * steps, ...]; row number `total` is zero."""
    steps = x_T.shape[0] // total
    tokens = x_T.reshape(total, steps, *x_T.shape[1:])
    tokens = torch.cat((tokens, tokens.new_zeros(1, *tokens.shape[1:])))
    return tokens[rows_NL].reshape(rows_NL.shape[0], rows_NL.shape[1] * steps, *x_T.shape[1:])


def last_inputs(x_TD: Tensor, state_NDP: Tensor, bounds: Tensor) -> Tensor:
    """The last P inputs of each packed sequence, [N, D, P], which reach into its state where it is shorter."""
    P = state_NDP.shape[2]
    since_start = (bounds[1:] - bounds[:-1])[:, None] - P + torch.arange(P, device=bounds.device)
    own = x_TD[(bounds[:-1, None] + since_start).clamp(min=0)].mT
    before = state_NDP.gather(2, (since_start + P).clamp(max=max(P - 1, 0))[:, None].expand(state_NDP.shape))
    return torch.where((since_start >= 0)[:, None], own, before)


# (x, weight, state) -> (y, final_state), dtype already the one to compute in.
Filter = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def causal_filter(
    operator: str,
    backends: Mapping[str, Filter],
    x_BTD: Tensor,
    weight_DW: Tensor,
    *,
    bias: Tensor | None = None,
    activation: str | None = None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    backend: str | None,
) -> tuple[Tensor, Tensor]:
    """Check the inputs of a causal depthwise filter, run it, return (y, last inputs).

    Symbols: B batch, T >= 1 tokens, D channels, W >= 1 taps, N packed sequences.

    Args:
        x_BTD: Inputs.
        weight_DW: Taps of each channel.
        initial_state: The W-1 inputs before the first token, oldest first, [B, D, W-1] ([N, D, W-1] when packed); None
            is zeros.
        cu_seqlens: Boundaries [N + 1], 0 = c_0 <= ... <= c_N = T, of sequences end to end in a batch of one.
        backend: "chunk" (any device), "reference" (token by token in float64, slow); None picks.

    Returns:
        y_BTD in the dtype of x, and the last W-1 inputs [B, D, W-1] in float32 (float64 for float64 inputs).

    Raises:
        KernelInputError: A shape, dtype, device, boundary, activation or backend outside the above.
    """
    x = check_tensor(operator, "x", x_BTD, (None,) * 3, "[B, T, D]")
    D = x.shape[2]
    weight = check_tensor(operator, "weight", weight_DW, (D, None), "[D, W]", x)
    if bias is not None:
        check_tensor(operator, "bias", bias, (D,), "[D]", x)
    if activation not in (None, "silu"):
        message = unknown_name("activation", str(activation), ["silu"], then="Or None.")
        raise KernelInputError(f"{operator}: {message}")
    bounds = None if cu_seqlens is None else check_boundaries(operator, cu_seqlens, x)
    shape = (x.shape[0] if bounds is None else len(bounds) - 1, D, weight.shape[1] - 1)
    if initial_state is not None and (shape[2] or initial_state.shape != shape):
        check_tensor(operator, "initial_state", initial_state, shape, "[B or N, D, W-1]", x)

    name = choose(operator, backend, backends, x)
    state_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    dtype = torch.float64 if name == "reference" else state_dtype
    state = x.new_zeros(shape, dtype=dtype) if initial_state is None else initial_state.to(dtype)
    taps = weight.to(dtype)

    def run(tensors: Sequence[Tensor | None], start: Tensor) -> tuple[Tensor, Tensor]:
        assert tensors[0] is not None
        return backends[name](tensors[0], taps, start)

    with no_autocast(x):
        wide = [x.to(dtype)]
        y, final = run(wide, state) if bounds is None else over_sequences(run, wide, state, bounds)
        if bounds is not None:  # the zero rows that pad a sequence are inputs, too
            final = last_inputs(wide[0][0], state, torch.tensor(bounds, device=x.device))
        y = y if bias is None else y + bias.to(dtype)
        y = y if activation is None else torch.nn.functional.silu(y)
    return y.to(x.dtype), final.to(state_dtype)
