"""Where the time and the memory of an operator go: by function, by torch operator, and tensor by tensor at the peak.

Three runs of the same work on the same inputs. One under a Python profiler gives CPU time by function (what it calls in
torch counts for it); one under torch's profiler gives CPU time by torch operator; one under a dispatch mode keeps a
ledger of every storage: its size, its shape and the line that asked for it. The ledger misses temporaries inside single
torch operators and sees arguments until their operator returns: its peak is near that of torch's allocator, not at it.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.rigs.kernels.structure import muted, peak_bytes, saved_bytes

MODULES = ("asiarc.kernels.", "transformers.models.", "fla.ops.")
"""Whose lines are named."""
PARTS = {
    "products": ("mm", "matmul", "dot", "conv", "triangular"),
    "copies": ("copy", "contiguous", "clone", "cat", "pad", "index", "stack", "fill", "zero"),
    "views and allocation": ("view", "stride", "select", "slice", "reshape", "transpose", "expand", "permute", "empty",
                             "squeeze", "unbind", "split", "narrow", "detach", "unflatten", "diagonal"),
}  # fmt: skip
"""Kinds of torch operators by what their names hold; the rest is arithmetic element by element."""

MIB = 2**20

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Held:
    """What is alive at the peak and was asked for by one line in one shape."""

    where: str
    shape: tuple[int, ...]
    count: int
    size: int


class Ledger(TorchDispatchMode):
    """Every storage that is alive, and the list of them when they were most; `given` storages are not counted."""

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self.given = {x.untyped_storage().data_ptr() for x in given}
        self.alive: dict[int, tuple[int, tuple[int, ...], str]] = {}
        self.watched: dict[int, Any] = {}
        self.held = self.top = 0
        self.peak: list[tuple[int, tuple[int, ...], str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self.note(x, str(func.overloadpacket))
        return out

    def note(self, x: Tensor, operator: str) -> None:
        """Enters the storage of a tensor unless it is known."""
        storage = x.untyped_storage()
        key = storage._cdata
        if key in self.alive or storage.data_ptr() in self.given:
            return
        self.alive[key] = storage.nbytes(), tuple(x.shape), here(operator)
        self.watched[key] = weakref.ref(storage, lambda _: self.forget(key))
        self.held += storage.nbytes()
        if self.held > self.top:
            self.top, self.peak = self.held, list(self.alive.values())

    def forget(self, key: int) -> None:
        """Strikes out a storage that died."""
        self.held -= self.alive.pop(key)[0]
        del self.watched[key]

    def at_peak(self) -> list[Held]:
        """The list at the peak, equal entries together, largest first."""
        counts = Counter((where, shape) for _, shape, where in self.peak)
        sizes: dict[tuple[str, tuple[int, ...]], int] = defaultdict(int)
        for size, shape, where in self.peak:
            sizes[where, shape] += size
        return sorted((Held(*k, counts[k], sizes[k]) for k in counts), key=lambda held: -held.size)


def here(operator: str) -> str:
    """Forward or backward, and the innermost line of `MODULES`; the torch operator where there is none."""
    node = torch._C._current_autograd_node()
    when = "forward" if node is None else "backward"
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not frame.f_globals.get("__name__", "").startswith(MODULES):
        frame = frame.f_back
    if frame is None or frame.f_globals["__name__"].startswith("tests.rigs.kernels.bench"):
        return f"{when} {node.name() if node is not None else operator}"
    return f"{when} {frame.f_code.co_name}:{frame.f_lineno}"


def seconds_by_function(work: Callable[[], object]) -> dict[str, tuple[int, float]]:
    """Calls and CPU-seconds of every function of `MODULES`, that of what it calls elsewhere included."""
    found: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    stack = ["elsewhere"]
    last = time.process_time()

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal last
        if event not in ("call", "return"):
            return
        now = time.process_time()
        found[stack[-1]][1] += now - last
        if event == "call":
            ours = frame.f_globals.get("__name__", "").startswith(MODULES)
            stack.append(frame.f_code.co_qualname if ours else stack[-1])
            found[stack[-1]][0] += ours
        elif len(stack) > 1:
            stack.pop()
        last = time.process_time()

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return {name: (int(calls), s) for name, (calls, s) in found.items()}


def seconds_by_operator(work: Callable[[], object]) -> dict[str, tuple[int, float]]:
    """Calls and CPU-seconds of every torch operator, its own only."""
    with muted(), profile(activities=[ProfilerActivity.CPU]) as record:
        work()
    return {e.key: (e.count, e.self_cpu_time_total * 1e-6) for e in record.key_averages() if e.key.startswith("aten::")}


def kind_of(operator: str) -> str:
    """The kind of a torch operator."""
    return next((kind for kind, names in PARTS.items() if any(n in operator for n in names)), "element by element")


def shares(found: dict[str, tuple[int, float]], lines: int = 8) -> Iterator[str]:
    """The largest entries as text, with their share of the whole."""
    whole = sum(s for _, s in found.values())
    for name, (calls, s) in sorted(found.items(), key=lambda item: -item[1][1])[:lines]:
        yield f"    {s / whole:5.1%} {s * 1e3:9.2f} ms {calls:6d} calls  {name}"


def time_lines(forward: Callable[[], object], both: Callable[[], object]) -> Iterator[str]:
    """Where the time goes, forward alone and both ways."""
    for title, work in (("forward", forward), ("forward and backward", both)):
        by_operator = seconds_by_operator(work)
        kinds: dict[str, tuple[int, float]] = {}
        for name, (calls, s) in by_operator.items():
            before = kinds.get(kind_of(name), (0, 0.0))
            kinds[kind_of(name)] = before[0] + calls, before[1] + s
        yield f"  {title}, by kind of torch operator:"
        yield from shares(kinds)
        yield f"  {title}, by torch operator:"
        yield from shares(by_operator)
    yield "  forward and backward, by function (with what it calls in torch):"
    yield from shares(seconds_by_function(both), 12)


@dataclass(frozen=True)
class Memory:
    """Bytes of one forward and backward pass: at the peak beyond the inputs, in the results, kept for the backward."""

    peak: int
    results: int
    kept: int


def memory_of(call: Callable[..., Tensor], both: Callable[[], Tensors], inputs: Tensors) -> Memory:
    """Three runs' numbers."""
    results = sum(x.nbytes for x in both().values())
    return Memory(peak_bytes(both), results, saved_bytes(lambda: call(**inputs), inputs))


def memory_lines(found: Memory, both: Callable[[], Tensors], inputs: Tensors, lines: int = 14) -> Iterator[str]:
    """What is held at the peak, and by whom."""
    with Ledger(list(inputs.values())) as ledger:
        both()
    yield (
        f"  memory: peak {found.peak / MIB:.1f} MiB beyond the inputs; the results themselves (output and gradients) "
        f"are {found.results / MIB:.1f}, kept for the backward pass {found.kept / MIB:.1f}"
    )
    yield f"  the ledger at its peak of {ledger.top / MIB:.1f} MiB:"
    for held in ledger.at_peak()[:lines]:
        shape = "x".join(map(str, held.shape))
        share, size = held.size / ledger.top, held.size / MIB
        yield f"    {share:5.1%} {size:8.2f} MiB {held.count:4d} of {shape:20s} {held.where}"


def against_the_goal(ours: Memory, theirs: Memory) -> str:
    """What stands between our peak and a third of transformers'."""
    third = theirs.peak / 3
    return (
        f"our peak is {ours.peak / theirs.peak:.2f} of transformers'. A third of theirs is {third / MIB:.1f} MiB; the "
        f"results take {ours.results / MIB:.1f} of that, which leaves {(third - ours.results) / MIB:.1f} where "
        f"{ours.kept / MIB:.1f} are kept for the backward pass: it would have to compute them again"
    )


def report(operator: str, shape: str, names: tuple[str, ...]) -> Iterator[str]:
    """The anatomy of an operator at a shape ("BxTxHxD"), for each implementation named."""
    from asiarc.speed.cases import shipped
    from tests.rigs.kernels import bench

    case = shipped(operator, *bench.sizes(shape))
    inputs = {name: x for name, x in case.inputs().items() if name != "initial_state"}
    upstream = case.upstream()[0].float()
    calls, missing = bench.implementations(operator, shape)
    yield from (row.line() for row in missing if row.implementation in names)
    memory: dict[str, Memory] = {}
    for name in names:
        if name not in calls:
            continue
        call = calls[name]

        def both(call: bench.Call = call) -> Tensors:
            return bench.results(call, inputs, upstream)

        forward = torch.no_grad()(lambda call=call: call(**inputs))
        both()
        yield f"{operator} {shape} by {name}"
        yield from time_lines(forward, both)
        memory[name] = memory_of(call, both, inputs)
        yield from memory_lines(memory[name], both, inputs)
        yield ""
    if {"ours", "transformers"} <= memory.keys():
        yield against_the_goal(memory["ours"], memory["transformers"]) + "\n"
