"""The sandbox, where trials run: jobs in fresh processes, on this machine's warm workers.

`Job` in, `Result` out, through any `Executor`. What holds on this machine is what `doctor` returns; what one
process cannot hold: `inside.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from asiarc.core.errors import ExecutionError
from asiarc.execution.job import Executor, InlineExecutor, Job, Limits, Result

if TYPE_CHECKING:
    from asiarc.execution.local import LocalExecutor
    from asiarc.execution.round import Warm

__all__ = ["Executor", "InlineExecutor", "Job", "Limits", "LocalExecutor", "Result", "doctor", "executor_on"]


def executor_on(where: str, local: LocalExecutor, *, versions: str, gpus_per_job: float = 0) -> Warm:
    """`local` itself for ``"local"``; for ``"ray"`` or ``"ray:ADDRESS"`` its like on a Ray cluster.

    `versions` names the function (``"package.module:callable"``) whose answer must be the same on every node.

    Raises `ExecutionError` for another place, where Ray is not installed, and where no cluster answers.
    """
    kind, _, address = where.partition(":")
    if where == "local":
        return local
    if kind != "ray":
        raise ExecutionError(f"no executor {where!r}: run on local, on ray, or on ray:ADDRESS of a cluster's head")
    from asiarc.execution.ray import RayExecutor

    readable = [Path(path) for path in local.readable]
    return RayExecutor(
        None, local.preload, readable, versions=versions, address=address or None, gpus_per_job=gpus_per_job
    )


def doctor() -> list[tuple[str, bool, str]]:
    """Rows (layer, whether this machine offers it, what it holds), as a job that was just run found them."""
    from asiarc.execution.layers import LAYERS
    from asiarc.execution.local import LocalExecutor

    with LocalExecutor(workers=1, preload=()) as executor:
        result = executor.run([Job("asiarc.execution.job:echo", {})])[0]
    return [(name, name in result.layers, detail) for name, detail in LAYERS.items()]


def __getattr__(name: str) -> object:
    """`LocalExecutor`, once it is asked for: a machine that runs jobs of another needs less than it does."""
    if name == "LocalExecutor":
        from asiarc.execution.local import LocalExecutor

        return LocalExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
