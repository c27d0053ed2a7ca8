"""What this machine's executors stand: each command shows one property; exit code 1 where it does not hold."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape, render
from rich.table import Table

from asiarc.core.recipe import TIERS, Tier
from asiarc.execution import Job, LocalExecutor, doctor
from tests.rigs.cases import CASES, keep
from tests.rigs.sandbox import endurance as stands
from tests.rigs.sandbox import overhead as costs
from tests.rigs.sandbox.attacks import ATTACKS, ECHO, MODULE, Attack, Targets, targets

REAL = click.option("--real", is_flag=True, help="train for real, at tier smoke (slower), instead of stand-ins")


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="asiarc-") as name:
        yield Path(name)


# --- attacks ----------------------------------------------------------------------------------------------------------


@click.command()
@CASES
def attacks(kept: Path | None) -> None:
    """Layers of the sandbox on this machine, and every attack with what became of it."""
    console = Console()
    layers = Table("layer", "here", "what it holds", title="The sandbox on this machine", box=None)
    for name, offered, detail in doctor():
        layers.add_row(name, "yes" if offered else "[red]no", detail)
    console.print(layers)
    table = Table("attack", "ended as", "verdict", title="Attacks", box=None)
    failed, cases = 0, list[tuple[str, str, str]]()
    with targets() as aim, LocalExecutor(workers=1, preload=("torch", MODULE)) as executor:
        held = executor.run([Job(ECHO, {})])[0].layers
        for attack in ATTACKS.values():
            ended, verdict = _verdict(attack, aim, executor, held)
            failed += verdict.startswith("[red]")
            cases.append((attack.name, "contained", render(verdict).plain))
            table.add_row(attack.name, ended, verdict)
        alive = executor.run([Job(ECHO, {})])[0].status == "ok"
    console.print(table)
    keep(kept, "attacks contained by the sandbox", cases)
    console.print(f"{len(ATTACKS)} attacks, {failed} wrong; the worker {'still serves' if alive else '[red]is lost'}")
    sys.exit(1 if failed or not alive else 0)


def _verdict(attack: Attack, aim: Targets, executor: LocalExecutor, held: tuple[str, ...]) -> tuple[str, str]:
    if not attack.contained(held):
        return "not run", f"[yellow]not contained here: needs {' or '.join(attack.held_by)}"
    result = executor.run([attack.job(aim)])[0]
    wrong = attack.breached(result) or aim.harm()
    return result.status, f"[red]{escape(wrong)}" if wrong else "contained"


# --- endurance --------------------------------------------------------------------------------------------------------


@click.group()
def endurance() -> None:
    """Does a campaign's answer survive what may happen to it?"""


@endurance.command()
@click.option("--times", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="draws the moments")
@REAL
def kills(times: int, seed: int, real: bool) -> None:
    """Kill the harness at random moments, run the same command again, and compare with an uninterrupted run."""
    with _folder() as folder:
        found = stands.kills(folder, times, seed, click.echo, real=real)
    wrong = [kill for kill in found if kill.wrong]
    click.echo(f"{len(found)} kills, {len(found) - len(wrong)} identical reports")
    sys.exit(1 if wrong else 0)


@endurance.command()
@REAL
def spread(real: bool) -> None:
    """One campaign with 1, 2 and 4 workers, stage by stage, after a kill, and on Ray with two nodes."""
    with_ray = importlib.util.find_spec("ray") is not None
    with _folder() as folder:
        found = stands.sameness(folder, click.echo, real=real, with_ray=with_ray)
    if not with_ray:
        click.echo("Ray, two nodes: not run, the extra asiarc[ray] is not installed")
    sys.exit(1 if any(found.values()) else 0)


# --- overhead ---------------------------------------------------------------------------------------------------------


@click.group()
def overhead() -> None:
    """What the harness costs; all want a quiet machine."""


@overhead.command()
@click.option("--calls", type=click.IntRange(min=1), default=200, show_default=True)
def job(calls: int) -> None:
    """What the sandbox adds to a job whose worker is warm, torch loaded."""
    click.echo(costs.told(costs.empty_jobs(calls)))


@overhead.command()
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--times", type=click.IntRange(min=1), default=3, show_default=True)
def twenty(workers: int, times: int) -> None:
    """Twenty candidates that cost nothing, from the command's start to its end."""
    for _ in range(times):
        with _folder() as folder:
            seconds, jobs = costs.twenty(folder, workers)
        click.echo(f"twenty candidates with stand-ins, sandbox on: {seconds:.2f} s, {jobs} jobs")


@overhead.command()
@click.option("--candidates", type=click.IntRange(min=4), default=8, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--tier", type=click.Choice(TIERS), default="quick", show_default=True)
def explore(candidates: int, workers: int, tier: Tier) -> None:
    """A real explore stage, its CPU-seconds taken apart."""
    with _folder() as folder:
        for line in costs.explore(folder, candidates, workers, tier).lines():
            click.echo(line)
