"""``python -m asiarc.cognition``: checks the base and measures its retrieval on the labelled weaknesses."""

from __future__ import annotations

import click

from asiarc.cognition.base import Base
from asiarc.cognition.quality import report
from asiarc.cognition.verbs import check_report


@click.command()
@click.option(
    "-k", default=3, show_default=True, type=click.IntRange(min=1), help="How many entries an answer has."
)
def main(k: int) -> None:
    """Prints what is wrong with the base, then recall at k with intervals; fails if anything is wrong."""
    text, sound = check_report()
    click.echo(f"{text}\n\n{report(Base.load(), k)}")
    if not sound:
        raise click.ClickException("the base has problems")


if __name__ == "__main__":
    main()
