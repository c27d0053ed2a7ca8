"""What this machine's executors stand: each command shows one property, and its exit code is 1 where it does not hold.

``python -m asiarc.execution`` the wall's layers, and every attack with what became of it ·
``... kills --times 50`` the harness killed at random moments and run again · ``... same`` the same answer with any
number of workers, stage by stage and on Ray · ``... overhead`` what the harness costs.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from asiarc.core.errors import AsiarcError
from asiarc.core.recipe import TIERS, Tier
from asiarc.execution import doctor
from asiarc.execution.job import Job, Result
from asiarc.execution.local import LocalExecutor
from tests.rigs.sandbox.attacks import ATTACKS, Attack, Targets, echo, targets

REAL = click.option(
    "--real", is_flag=True, help="train for real, at tier smoke (slower), instead of stand-ins"
)


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Layers of the wall, and every attack with what became of it."""
    if context.invoked_subcommand is None:
        sys.exit(attacks())


@main.command()
@click.option("--times", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="draws the moments")
@REAL
def kills(times: int, seed: int, real: bool) -> None:
    """Kill the harness at random moments, run the same command again, and compare with an uninterrupted run."""
    from tests.rigs.sandbox import endurance

    with tempfile.TemporaryDirectory(prefix="asiarc-") as folder:
        found = endurance.kills(Path(folder), times, seed, click.echo, real=real)
    wrong = [kill for kill in found if kill.wrong]
    click.echo(f"{len(found)} kills, {len(found) - len(wrong)} identical reports")
    sys.exit(1 if wrong else 0)


@main.command()
@REAL
def same(real: bool) -> None:
    """One campaign with 1, 2 and 4 workers, stage by stage, after a kill, and on Ray with two nodes."""
    from tests.rigs.sandbox import endurance

    with_ray = importlib.util.find_spec("ray") is not None
    with tempfile.TemporaryDirectory(prefix="asiarc-") as folder:
        found = endurance.sameness(Path(folder), click.echo, real=real, with_ray=with_ray)
    if not with_ray:
        click.echo("Ray, two nodes: not run, the extra asiarc[ray] is not installed")
    sys.exit(1 if any(found.values()) else 0)


@main.command()
@click.option(
    "--candidates", type=click.IntRange(min=4), default=8, show_default=True, help="that train for real"
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "--times", type=click.IntRange(min=0), default=3, show_default=True, help="twenty candidates, this often"
)
@click.option(
    "--tier", type=click.Choice(TIERS), default="quick", show_default=True, help="of the real explore stage"
)
def overhead(candidates: int, workers: int, times: int, tier: Tier) -> None:
    """Twenty candidates that cost nothing, then a real explore stage with its CPU-seconds taken apart."""
    from tests.rigs.sandbox import throughput

    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="asiarc-") as folder:
            seconds, jobs = throughput.twenty(Path(folder), workers)
        click.echo(f"twenty candidates with stand-ins, wall on: {seconds:.2f} s, {jobs} jobs")
    with tempfile.TemporaryDirectory(prefix="asiarc-") as folder:
        for line in throughput.explore(Path(folder), candidates, workers, tier).lines():
            click.echo(line)


def attacks() -> int:
    """Print both tables of the wall; how many attacks went wrong, as an exit code."""
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
    try:
        main()
    except AsiarcError as error:
        sys.exit(f"asiarc: {error}")
