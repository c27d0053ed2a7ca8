"""The verb of who owns the store; nothing heavy is imported before it runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from asiarc.core.recipe import Tier
from asiarc.harness.options import AS_JSON, STORE, TIER, WORKERS, say, told


@click.command()
@click.option("--socket", "path", type=click.Path(path_type=Path), required=True, help="where agents ask")
@click.option("--listen", metavar="HOST:PORT", help="and over TCP, for who has a token")
@click.option("--tokens", type=click.Path(path_type=Path), help="a line NAME TOKEN for each of them")
@click.option("--no-verdict", is_flag=True, help="leave verify and confirm to: pytest campaigns")
@TIER
@STORE
@WORKERS
@AS_JSON
def referee(
    path: Path, listen: str | None, tokens: Path | None, no_verdict: bool, tier: Tier, store: Path, workers: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Hold the store, the seeds and what is held out, and answer proposals of other users by a socket.

    Agents ask with --referee PATH (or ASIARC_REFEREE). The store gets a secret, from which verify and confirm draw.
    """
    from asiarc.harness.referee import Referee, of_project, prepare, standing

    if bool(listen) != bool(tokens):
        raise click.UsageError("--listen and --tokens go together")
    commitment = prepare(store)
    door = partial(of_project, tier=tier, store=store, workers=workers)
    with standing(path, listen, tokens, Referee(door, decides=not no_verdict)) as server:
        if as_json:
            told({"socket": path, "listen": listen, "tier": tier, "commitment": commitment})
        else:
            where = f"{path} and {listen}" if listen else str(path)
            say(f"listening at {where}, tier {tier}; the commitment of the store's secret: {commitment}")
        server.serve()
