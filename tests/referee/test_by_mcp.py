"""An agent's client of MCP before a referee: its server holds no store, and tells what the referee answers."""

from __future__ import annotations

import json

import anyio
from mcp import Client

from asiarc.harness.mcp_door import server

from ..harness.fakes import candidate


def test_the_tools_tell_what_the_referee_answers(project, tmp_path):
    source = candidate("by the protocol", GAIN=0.31)

    async def asked():
        async with Client(server("smoke", tmp_path / "none", 1, str(project.socket))) as client:
            async def call(tool, **said):
                found = await client.call_tool(tool, {"campaign": "question", **said})
                return found.content[0].text if found.is_error else json.loads(found.content[0].text)

            told = [await call("propose", source=source, author="agent 7") for _ in range(2)]
            return *told, await call("tried", source=source), await call("standings"), await call("brief"), (
                await call("propose", source=source, parent="zz", campaign="quest")
            )

    first, again, tried, standings, brief, wrong = anyio.run(asked)
    (mine,) = first["proposals"]
    assert mine["author"].startswith("agent 7 @") and again["proposals"][0]["known_as"]["by"] == "program"
    assert tried == project.ask("tried", file="mixer.py", source=source)
    assert mine["address"] in {one["address"] for one in standings}
    assert brief["brief"] == project.ask("brief")["brief"]
    assert "Did you mean 'question'" in wrong
    assert not (tmp_path / "none").exists(), "the agent's side keeps nothing"
