"""The door by MCP: the door's verbs as tools, over standard input and output, for an agent whose client speaks that.

What a tool answers is what the verb's ``--json`` prints. A call tells its progress a trial at a time. One that is
cancelled stops at the next trial: what was proposed and trained is kept, and the next call goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from anyio import Lock, from_thread, to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp_types import CallToolResult, TextContent

from asiarc.core.errors import AsiarcError
from asiarc.core.recipe import Tier
from asiarc.harness.desk import Desk
from asiarc.harness.door_verbs import door_of, standings_of
from asiarc.harness.options import as_text
from asiarc.harness.wire import ask as ask_referee

INSTRUCTIONS = """\
asiarc referees token mixers that you propose to a campaign. Read its brief; write one Python file with a docstring that
states the idea and a class Mixer(nn.Module); ask whether it was tried; propose it; read the gate's reason or the gain,
and mend or build on it. Ahead in explore is not better: only the verdict, on fresh seeds and text, says that.
"""
Ask = Callable[[Desk], Any]


class Doors:
    """Answers one call after the other, each at a door of its own, or asks the referee where there is one."""

    def __init__(self, tier: Tier, store: Path, workers: int, referee: str | None) -> None:
        self.tier, self.store, self.workers, self.referee = tier, store, workers, referee
        self.turn = Lock()

    async def ask(self, verb: str, campaign: str, here: Ask, context: Context, **said: Any) -> Any:
        """What a verb hears of a campaign, in a thread of its own. Raises the errors of the door."""
        if self.referee:
            return await self.remotely(self.referee, verb, campaign, **said)
        trials = count(1)

        def trained(_: str) -> None:
            # Scores are told with the answer alone: of a trial nothing is said but that there was one.
            number = next(trials)
            with suppress(CancelledError):  # of the report; whether of the call is asked next
                from_thread.run(context.report_progress, number, None, f"{number} trials trained")
            from_thread.check_cancelled()

        def work() -> Any:
            with door_of(campaign, self.tier, self.store, self.workers) as door:
                from_thread.check_cancelled()  # it may have stood in line for long
                door.run.progress.detail, door.run.progress.beat = trained, lambda _: None
                return here(Desk(door))

        async with self.turn:
            return await to_thread.run_sync(work)

    async def remotely(self, referee: str, verb: str, campaign: str, **said: Any) -> Any:
        """What the referee answers; one that is not waited for goes on, and keeps what it was given."""
        request = {"verb": verb, "campaign": campaign, "tier": self.tier, **said}
        return await to_thread.run_sync(ask_referee, referee, request, abandon_on_cancel=True)

    async def standings(self, campaign: str) -> list[dict[str, Any]]:
        """Read beside whoever writes, so that nobody waits."""
        if self.referee:
            return list(await self.remotely(self.referee, "standings", campaign))
        return await to_thread.run_sync(standings_of, campaign, self.tier, self.store)


@contextmanager
def told_as(error: type[Exception]) -> Iterator[None]:
    """What a user can mend, as the protocol's error, with its text."""
    try:
        yield
    except AsiarcError as reason:
        raise error(str(reason)) from reason


def answer(data: Any) -> CallToolResult:
    """Data as ``--json`` prints it, for whoever reads text and for whoever reads data; a list goes by "result"."""
    text = as_text(data)
    plain = json.loads(text)
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content=plain if isinstance(plain, dict) else {"result": plain},
    )


def server(tier: Tier, store: Path, workers: int, referee: str | None = None) -> MCPServer:
    """A server of the door's verbs at one tier, on one store or before the referee that has it."""
    doors = Doors(tier, store, workers, referee)
    made = MCPServer("asiarc", instructions=INSTRUCTIONS, log_level="WARNING")

    @made.tool()
    async def brief(campaign: str, context: Context) -> CallToolResult:
        """What a researcher may know before the next proposal: contract, operators, parent, relatives, failures,
        papers. The first look at a campaign trains its baselines."""
        with told_as(ToolError):
            return answer(await doors.ask("brief", campaign, lambda desk: desk.brief(""), context))

    @made.tool()
    async def tried(campaign: str, source: str, context: Context, file: str = "mixer.py") -> CallToolResult:
        """Whether a candidate's source was proposed before, or computes what a baseline or an earlier candidate
        computes (known_as; null where it is new). It takes nothing of the budget."""
        said = {"file": file, "source": source}
        with told_as(ToolError):
            return answer(await doors.ask("tried", campaign, lambda desk: desk.tried(**said), context, **said))

    @made.tool()
    async def propose(
        campaign: str,
        source: str,
        context: Context,
        file: str = "mixer.py",
        parent: str = "",
        idea: str = "",
        author: str = "an agent",
    ) -> CallToolResult:
        """Referee a candidate's source (the text of one Python file; `file` is what it is called): the gates, explore,
        and what it gained. `word` says how it ended: ahead of the campaign's start, not told apart from it, behind,
        rejected, or admitted and not trained yet. `parent` is the address of what it was made of."""
        said = {"parent": parent, "idea": idea, "author": author}
        files = [{"file": file, "source": source}]
        with told_as(ToolError):
            here = lambda desk: desk.propose({file: source}, **said)  # noqa: E731
            return answer(await doors.ask("propose", campaign, here, context, files=files, **said))

    @made.tool()
    async def standings(campaign: str) -> CallToolResult:
        """The proposals of a campaign by what explore says of them, the best first: who made them, gain, interval."""
        with told_as(ToolError):
            return answer(await doors.standings(campaign))

    @made.tool()
    async def verdict(campaign: str, context: Context) -> CallToolResult:
        """Verify the best proposals and confirm the winner on fresh seeds and text: the campaign's answer. From then on
        the campaign takes no more proposals."""
        with told_as(ToolError):
            return answer(await doors.ask("verdict", campaign, Desk.verdict, context))

    @made.resource("asiarc://brief/{name}", mime_type="text/markdown")
    async def briefing(name: str, context: Context) -> str:
        """What a researcher may know before the next proposal to a campaign, as a page."""
        with told_as(ResourceError):
            return str((await doors.ask("brief", name, lambda desk: desk.brief(""), context))["brief"])

    return made
