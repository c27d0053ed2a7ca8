"""What one run asks of torch: operators, FLOPs of products, bytes, by torch's own record. No noise in it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.profiler import ProfilerActivity, profile

from asiarc.core.kernel import Kernel
from asiarc.speed.cases import measured_case


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Nothing reaches stderr: the profiler's C++ part writes a line there at every start and stop."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def profiled(work: Callable[[], object]) -> dict[str, float]:
    """Operators, FLOPs and bytes by torch's own record of one run."""
    activities = [ProfilerActivity.CPU]
    with muted(), profile(activities=activities, profile_memory=True, with_flops=True, record_shapes=True) as record:
        work()
    changes = allocations(record)
    operators = [e for e in record.events() if e.name.startswith("aten::")]
    return {
        "operators": len(operators),
        "product_flops": sum(e.flops or 0 for e in operators if "mm" in e.name),
        "allocated_bytes": sum(max(n, 0) for n in changes),
        "peak_bytes": highest(changes),
    }


def allocations(record: profile) -> list[int]:
    """Bytes taken (above zero) and given back (below), in order."""
    assert record.profiler is not None and record.profiler.kineto_results is not None
    raw: list[Any] = record.profiler.kineto_results.events()
    events = sorted((e for e in raw if e.name() == "[memory]"), key=lambda e: e.start_ns())
    return [e.nbytes() for e in events]


def highest(changes: Iterable[int]) -> int:
    """The most bytes held at once."""
    return max(itertools.accumulate(changes, initial=0))


def counted(name: str, kernel: Kernel) -> dict[str, float]:
    """The counts of one call and its gradient where the kernel is measured, warm."""
    case = measured_case(name, kernel)
    call, inputs = case.call, case.inputs()

    def work() -> None:
        case.outcome(call, inputs)

    work()
    return profiled(work)


def too_much(name: str, kernel: Kernel) -> list[str]:
    """What a kernel uses more of than it declares."""
    found = counted(name, kernel)
    limits = {"operators": ("operators", kernel.at_most.operators), "bytes": ("peak_bytes", kernel.at_most.bytes)}
    return [
        f"{limit}: {found[key]:,.0f}, at most {most:,} at {measured_case(name, kernel).place}"
        for limit, (key, most) in limits.items()
        if most is not None and found[key] > most
    ]
