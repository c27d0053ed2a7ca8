"""``python -m asiarc.execution``: which layers this machine offers, and every attack with what became of it.

Exit code 1 if an attack that a layer should have held went through, or left something behind.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from asiarc.execution import doctor
from asiarc.execution.attacks import ATTACKS, Attack, Targets, echo, targets
from asiarc.execution.job import Job, Result
from asiarc.execution.local import LocalExecutor


def main() -> int:
    """Print both tables."""
    console = Console()
    layers = Table("layer", "here", "what it holds", title="The wall on this machine", box=None)
    for name, offered, detail in doctor():
        layers.add_row(name, "yes" if offered else "[red]no", detail)
    console.print(layers)
    table = Table("attack", "ended as", "verdict", title="Attacks", box=None)
    failed = 0
    with targets() as aim, LocalExecutor(workers=1) as executor:
        held = executor.run([Job(f"{echo.__module__}:echo", {})])[0].layers
        for attack in ATTACKS.values():
            ended, verdict = _verdict(attack, aim, executor, held)
            failed += verdict.startswith("[red]")
            table.add_row(attack.name, ended, verdict)
        alive = executor.run([Job(f"{echo.__module__}:echo", {})])[0].status == "ok"
    console.print(table)
    console.print(
        f"{len(ATTACKS)} attacks, {failed} wrong; the worker {'still serves' if alive else '[red]is lost'}"
    )
    return 1 if failed or not alive else 0


def _verdict(attack: Attack, aim: Targets, executor: LocalExecutor, held: tuple[str, ...]) -> tuple[str, str]:
    if not attack.contained(held):
        return "not run", f"[yellow]not contained here: needs {' or '.join(attack.held_by)}"
    result: Result = executor.run([attack.job(aim)])[0]
    wrong = attack.breached(result) or aim.harm()
    return result.status, f"[red]{escape(wrong)}" if wrong else "contained"


if __name__ == "__main__":
    sys.exit(main())
