"""Whether this machine, now, can time anything: load, stolen time, other people's processes, parallel test workers."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from asiarc.speed import NotMeasuredError, SpeedError

MOST_LOAD = 1.5
"""Load average of the last minute, a core."""
MOST_STOLEN = 0.05
"""Share of all time that the hypervisor may keep."""
MOST_OTHER = 0.25
"""Cores that other processes may keep busy meanwhile."""


def require_own_process() -> None:
    """Refuses to time under pytest-xdist, where every benchmark would run once beside the others and pass."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        raise SpeedError("times taken beside parallel test workers mean nothing: run again with -n0.")


def cpu_times() -> tuple[float, float, float]:
    """CPU-seconds of the whole machine since it started: busy, stolen, all."""
    tick = os.sysconf("SC_CLK_TCK")
    fields = [int(n) / tick for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, stolen, whole = fields[3] + fields[4], fields[7], sum(fields)
    return whole - idle - stolen, stolen, whole


def cpu_clock(pid: int) -> float:
    """CPU-seconds of another process, by a clock that it cannot patch."""
    return time.clock_gettime((~pid << 3) | 2)


class Watch:
    """What else ran since this object was made; `own_s` gives the CPU-seconds of what is being timed."""

    def __init__(self, own_s: Callable[[], float] = time.process_time) -> None:
        self.own_s = own_s
        self.start = (*cpu_times(), own_s(), time.perf_counter())

    def disturbance(self) -> str:
        """Why times taken meanwhile cannot be trusted; empty when they can."""
        busy, stolen, whole = (now - then for now, then in zip(cpu_times(), self.start[:3], strict=True))
        other = busy - (self.own_s() - self.start[3])
        elapsed = time.perf_counter() - self.start[4]
        if whole > 0 and stolen / whole > MOST_STOLEN:
            return f"the hypervisor kept {stolen / whole:.0%} of the time (at most {MOST_STOLEN:.0%})"
        if other > MOST_OTHER * elapsed + 0.02:
            return f"other processes kept {other / elapsed:.2f} cores busy (at most {MOST_OTHER})"
        return ""


def require_quiet(seconds: float = 1.0) -> None:
    """Raises `NotMeasuredError` where the machine is loaded already."""
    if platform.system() != "Linux":
        raise NotMeasuredError("not measured: whether the machine is quiet is known on Linux only.")
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > MOST_LOAD * cores:
        raise NotMeasuredError(
            f"not measured: load average {load:.1f} on {cores} cores, at most {MOST_LOAD * cores:.1f}; try later."
        )
    watch = Watch()
    time.sleep(seconds)
    if reason := watch.disturbance():
        raise NotMeasuredError(f"not measured: {reason}; try later.")
