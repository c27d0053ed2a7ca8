"""``python -m asiarc.cognition``: checks the base and measures its retrieval on the labelled weaknesses."""

from __future__ import annotations

import click

from asiarc.cognition.verbs import check_report


@click.command()
def main() -> None:
    """Prints what is wrong with the base, or recall at 3 with intervals; fails if anything is wrong."""
    text, sound = check_report()
    click.echo(text)
    if not sound:
        raise click.ClickException("the base has problems")


if __name__ == "__main__":
    main()
