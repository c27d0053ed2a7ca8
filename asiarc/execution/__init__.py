"""Where trials run: jobs in fresh processes behind the wall, on this machine's warm workers.

`Job` in, `Result` out, through any `Executor`. What holds on this machine is what `doctor` returns; what was
tried against it is what ``python -m asiarc.execution`` prints; what one process cannot hold: `inside.py`.
"""

from asiarc.execution.job import Executor, InlineExecutor, Job, Limits, Result
from asiarc.execution.local import LocalExecutor

__all__ = ["Executor", "InlineExecutor", "Job", "Limits", "LocalExecutor", "Result", "doctor"]


def doctor() -> list[tuple[str, bool, str]]:
    """Rows (layer, whether this machine offers it, what it holds), as a job that was just run found them."""
    from asiarc.execution.layers import LAYERS

    with LocalExecutor(workers=1, preload=()) as executor:
        result = executor.run([Job("asiarc.execution.attacks:echo", {})])[0]
    return [(name, name in result.layers, detail) for name, detail in LAYERS.items()]
