"""The verb of the door by MCP; nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path

import click

from asiarc.core.extras import require
from asiarc.core.recipe import Tier
from asiarc.harness.door_verbs import REFEREE
from asiarc.harness.options import STORE, TIER, WORKERS


@click.command()
@REFEREE
@TIER
@STORE
@WORKERS
@click.option("--json", "as_json", is_flag=True, help="as without it: the protocol is JSON")
def mcp(referee: str | None, tier: Tier, store: Path, workers: int, as_json: bool) -> None:
    """The door as tools of an agent, by MCP over standard input and output: brief, tried, propose, standings, verdict.

    The agent's client starts it, in the project's folder.
    """
    require("mcp", "asiarc mcp speaks by the protocol's own SDK")
    from asiarc.harness.mcp_door import server

    server(tier, store, workers, referee).run()
