"""``asiarc audit``: programs that somebody wrote, before the gates. Nothing heavy is imported before it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

Row = dict[str, Any]


@click.command()
@click.argument("target", metavar="PATH")
@click.option("--adapter", metavar="MODULE:FUNCTION", help="builds a module:Class: (class, width, heads) -> nn.Module")
@click.option("--json", "as_json", is_flag=True, help="rows and totals as JSON on stdout; progress goes to stderr")
@click.option("--figure", "drawing", type=click.Path(path_type=Path), help="draw the totals (.svg, .png, .pdf)")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="programs at once")
def audit(target: str, adapter: str | None, as_json: bool, drawing: Path | None, workers: int) -> None:
    """Examine programs, all of them in the sandbox: admitted, or rejected by which gate and why.

    PATH is a candidate file, a folder of them, the release of ASI-Arch (data/106.json), a model's folder (config.json
    and .safetensors), or a class named as module:Class. Exits with 1 unless all are admitted.

    A candidate meets the gates of a campaign; others are asked for the same properties, one by one (--json has them
    all). Parameters are counted in the configuration that the records call 340M, FLOPs a token against DeltaNet's.
    """
    from asiarc.audit.table import audit_rows, figure, name_of, preloaded, summary, table, totals
    from asiarc.audit.targets import read
    from asiarc.execution import LocalExecutor

    programs = read(target, adapter)
    done = 0

    def progress(index: int, row: Row) -> None:
        nonlocal done
        done += 1
        said = f"{name_of(row)}: {row['verdict']} {row['gate']}"
        click.echo(f"[{done}/{len(programs)}] {said}"[:80], err=True)

    readable = [program.readable for program in programs if program.readable]
    with LocalExecutor(workers, preloaded(programs), readable=readable) as executor:
        rows = audit_rows(programs, executor, progress)
    if drawing:
        figure(rows, drawing)
    if as_json:
        click.echo(json.dumps({"rows": rows, "totals": totals(rows)}, indent=1, allow_nan=False))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 80).print(table(rows))
        click.echo(summary(rows))
    sys.exit(0 if all(row["verdict"] == "admitted" for row in rows) else 1)
