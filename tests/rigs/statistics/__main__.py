"""``python -m asiarc.evidence [REPETITIONS]``: coverage, power and false-discovery rates by simulation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tests.rigs.statistics.simulate import Measured, all_checks, measure


@click.command()
@click.argument("repetitions", type=click.IntRange(min=100), default=1_000)
@click.option("--out", type=click.Path(path_type=Path), help="Write the rates as JSON, too.")
def main(repetitions: int, out: Path | None) -> None:
    """Measures every interval and test against known truth; fails if one does less than it promises."""
    click.echo(f"{repetitions:,} repetitions each; rate with its 99.8 % interval\n")
    rows = []
    for check in all_checks():
        row = as_row(measure(check, repetitions))
        rows.append(row)
        click.echo(
            "{check:58} {measures:15} {rate:.3f} [{low:.3f}, {high:.3f}]  {direction} {declared:g}: "
            "{verdict}".format(**row)
        )
    if out:
        out.write_text(json.dumps(rows, indent=1) + "\n")
    if broken := sum(row["verdict"] == "BROKEN" for row in rows):
        raise click.ClickException(f"{broken} promises broken")


def as_row(found: Measured) -> dict[str, Any]:
    """A measured rate beside what was declared, as plain data."""
    check = found.check
    return {
        "check": check.name,
        "measures": check.measures,
        "rate": found.rate,
        "low": found.low,
        "high": found.high,
        "repetitions": found.repetitions,
        "direction": check.direction,
        "declared": check.declared,
        "verdict": "holds" if found.holds else "BROKEN" if check.promised else "short, not promised",
    }


if __name__ == "__main__":
    main()
