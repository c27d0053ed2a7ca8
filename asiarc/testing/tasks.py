"""`check_task`: the rules of `asiarc.tasks.own`, as a test asks them."""

from __future__ import annotations

from asiarc.core.errors import TaskError
from asiarc.tasks.declared import DeclaredTask
from asiarc.tasks.own import check
from asiarc.tasks.source import source_of
from asiarc.testing.rules import broken


def check_task(task: DeclaredTask) -> None:
    """Check a generator below ``@asiarc.task``, at all of its levels: what is checked when a campaign is collected.

    Shapes, tokens, determinism, that splits differ, that no answer is told, and that `chance` is no lie; also that jobs
    could load it from its file. Raises `BrokenRuleError`.
    """
    if not isinstance(task, DeclaredTask):
        broken("check_task", "a task is declared", f"it was given {task!r}; put @asiarc.task(chance=...) above it")
    try:
        source_of(task.file, task.name)
        check(task)
    except TaskError as error:
        broken(task.name, "a task is what it declares", str(error))
