"""``python -m tests.rigs.sandbox.cost [CALLS]``: what the wall adds to a job whose worker is warm, torch loaded.

A job that returns what it was given, timed from giving it to having its result checked: a fork, every layer entered, a
channel and a supervisor, the scratch folder made and removed. Wants a quiet machine.
"""

from __future__ import annotations

import math
import statistics
import sys
import time

from asiarc.execution.job import Job
from asiarc.execution.local import LocalExecutor
from tests.rigs.sandbox.attacks import echo


def overhead_s(calls: int) -> list[float]:
    """Wall-seconds of each of so many empty jobs, one after another, after one that warms up."""
    job = Job(f"{echo.__module__}:echo", {"value": 1.0})
    with LocalExecutor(workers=1, preload=("torch",)) as executor:
        executor.run([job])
        return [_timed(executor, job) for _ in range(calls)]


def _timed(executor: LocalExecutor, job: Job) -> float:
    began_s = time.perf_counter()
    (result,) = executor.run([job])
    assert result.status == "ok", result.reason
    return time.perf_counter() - began_s


def main(arguments: list[str]) -> int:
    """Prints median and 95th percentile."""
    calls = int(arguments[0]) if arguments else 200
    spent_s = sorted(overhead_s(calls))
    late_s = spent_s[math.ceil(0.95 * len(spent_s)) - 1]
    median = f"{1000 * statistics.median(spent_s):.1f} ms"
    sys.stdout.write(
        f"the wall adds {median} to a call, the 95th percentile {1000 * late_s:.1f} ms ({calls} calls)\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
