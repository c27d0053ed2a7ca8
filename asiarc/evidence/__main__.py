"""``python -m asiarc.evidence [REPETITIONS]``: coverage, power and false-discovery rates by simulation."""

from __future__ import annotations

import click

from asiarc.evidence.simulate import all_checks, measure


@click.command()
@click.argument("repetitions", type=click.IntRange(min=100), default=1_000)
def main(repetitions: int) -> None:
    """Measures every interval and test against known truth; fails if one does less than it promises."""
    click.echo(f"{repetitions:,} repetitions each; rate with its 99.8 % interval\n")
    broken = 0
    for check in all_checks():
        found = measure(check, repetitions)
        verdict = "holds" if found.holds else ("BROKEN" if check.promised else "short, not promised")
        broken += check.promised and not found.holds
        click.echo(
            f"{check.name:58} {check.measures:15} {found.rate:.3f} [{found.low:.3f}, {found.high:.3f}]"
            f"  {check.direction} {check.declared:g}: {verdict}"
        )
    if broken:
        raise click.ClickException(f"{broken} promises broken")


if __name__ == "__main__":
    main()
