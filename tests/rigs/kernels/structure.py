"""The exact layer: what one forward and backward pass asks of torch. No noise, so any change must be blessed.

Metrics: `operators` that run (views and wrappers included), FLOPs of matrix products, calls of Python functions,
bytes allocated in all and held at the peak beyond the inputs, and bytes that autograd keeps for the backward pass.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from asiarc.kernels.operators import OPERATORS
from asiarc.speed.cases import Case, outcome, shipped
from asiarc.speed.lean import allocations, highest, muted, profiled
from tests.rigs.kernels.goldens import Values, ratio_text

CASES = tuple(shipped(operator, 2, T, 2, D) for operator in OPERATORS for T, D in ((128, 32), (200, 64)))


def structure_of(case: Case) -> dict[str, float]:
    """The metrics of a case, warm (what is only done once has been done)."""
    call, inputs, upstream = case.call, case.inputs(), case.upstream()

    def work() -> None:
        outcome(call, inputs, upstream)

    work()
    return profiled(work) | {
        "python_calls": python_calls(work),
        "saved_bytes": saved_bytes(lambda: call(**inputs), inputs),
    }


def map_from(size: int = 32 * 2**20) -> None:
    """glibc's allocator takes blocks of at least `size` bytes from the system and gives them back when freed.

    By default that size grows with what was freed before, up to 32 MiB; a fixed one makes runs alike. No effect
    elsewhere.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, size)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2 * size)  # M_TRIM_THRESHOLD


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes that one run holds beyond what was there; cheap where hundreds of thousands of operators run."""
    map_from(2**20)  # the profiler's own small blocks would lodge in every large one that is freed
    try:
        with muted(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            work()
    finally:
        map_from()
    return highest(allocations(record))


def python_calls(work: Callable[[], None]) -> int:
    """How many Python functions one run enters: the cost of being written in Python, and every turn of a loop."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    gc.disable()
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


def saved_bytes(forward: Callable[[], object], inputs: dict[str, Tensor]) -> int:
    """Bytes of distinct storages that autograd keeps, the inputs aside."""
    given = {x.untyped_storage().data_ptr() for x in inputs.values()}
    kept: dict[int, int] = {}
    alive = []

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in given:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(x)  # a freed storage's address may come again
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        forward()
    return sum(kept.values())


def measure(operators: tuple[str, ...] = ()) -> Values:
    """The metrics of every case, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {str(c): structure_of(c) for c in CASES if not operators or c.name in operators}
    finally:
        torch.set_num_threads(threads)


def rule(golden: float, measured: float) -> str:
    """Equal, or else."""
    return "" if golden == measured else ratio_text(golden, measured)
