"""Where trials run: jobs in fresh processes behind the wall, on this machine's warm workers.

`Job` in, `Result` out, through any `Executor`. `wall.md`-level questions (what is held, what is not) are
answered by `doctor()` for this machine, by ``python -m asiarc.execution`` with the attack table, and in
`inside.py`.
"""

from asiarc.execution.job import Executor, InlineExecutor, Job, Limits, Result
from asiarc.execution.local import LocalExecutor

__all__ = ["Executor", "InlineExecutor", "Job", "Limits", "LocalExecutor", "Result"]
