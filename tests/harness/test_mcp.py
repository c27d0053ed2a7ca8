"""The door by MCP, asked by the official SDK's client: it does as the shell does, and tells the same."""

from __future__ import annotations

import json
import sys
from asyncio import CancelledError
from contextlib import contextmanager, nullcontext

import anyio
import pytest
from anyio import from_thread
from mcp import Client, MCPError, StdioServerParameters

import asiarc.engineer.workshop
from asiarc.core.errors import ExtraMissingError
from asiarc.core.extras import require
from asiarc.harness.mcp_door import server

from ..llm.laboratory import fingerprinted
from .fakes import FakeExecutor, Refusing, candidate, still

LEAKY, GOOD = candidate("leaky", REJECTED="causality"), candidate("good", GAIN=0.3) + "PRINT = 5\n"
ALIKE = candidate("another", GAIN=0.1) + "PRINT = 5\n"
WORDS = ["rejected", "ahead"]


class Agent:
    """Who calls tools, in process; `mode` is how the protocol's version is agreed."""

    def __init__(self, store, mode="auto"):
        self.store, self.mode, self.progress = store, mode, []

    def does(self, then):
        async def connected():
            async with Client(server("smoke", self.store, 1), mode=self.mode) as client:
                return await then(client)

        with still():
            return anyio.run(connected)

    def call(self, tool, **arguments):
        """What a tool tells; the text of its error where it has one."""

        async def once(client):
            async def heard(step, _, message):
                self.progress.append((step, message))

            return await client.call_tool(tool, arguments, progress_callback=heard)

        found = self.does(once)
        (text,) = (part.text for part in found.content)
        if found.is_error:
            return text
        assert found.structured_content in (json.loads(text), {"result": json.loads(text)})
        return json.loads(text)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_does_as_the_shell_does(shell, mode):
    """The same calls on two stores, one by the shell and one by the protocol: equal JSON, call by call."""
    by_shell, by_agent = shell.folder / "by_shell", shell.folder / "by_agent"
    agent = Agent(by_agent, mode)
    typed, store = shell.typed, ("--store", str(by_shell), "--json")
    assert agent.call("brief", campaign="question") == typed("brief", "question", *store)
    for name, source, status in (("leaky.py", LEAKY, 5), ("good.py", GOOD, 0)):
        (shell.folder / name).write_text(source)
        mine = agent.call("propose", campaign="question", source=source, file=name, author="agent 7")
        assert mine == typed("propose", name, "--campaign", "question", "--author", "agent 7", *store, status=status)
    for source, status in ((ALIKE, 3), (candidate("new", GAIN=0.1), 0)):
        (shell.folder / "other.py").write_text(source)
        mine = agent.call("tried", campaign="question", source=source, file="other.py")
        assert mine == typed("tried", "other.py", "--campaign", "question", *store, status=status)
    table = agent.call("standings", campaign="question")
    assert table == typed("standings", "question", *store)
    assert [one["word"] for one in table] == WORDS[::-1] and {one["author"] for one in table} == {"agent 7"}


def test_the_shell_and_an_agent_take_turns_in_one_store(shell):
    (shell.folder / "good.py").write_text(GOOD)
    shell.typed("propose", "good.py", "--campaign", "question")
    agent = Agent(shell.folder / ".asiarc")
    (again,) = agent.call("propose", campaign="question", source=GOOD)["proposals"]
    assert again["known_as"]["by"] == "program" and again["author"] == "a person"
    found = agent.call("verdict", campaign="question")
    assert found["winner"].startswith("good") and found["verdict"].startswith("good") and found["decision"]
    assert found["low"] <= found["gain"] <= found["high"]
    assert "verify has begun to choose" in agent.call("propose", campaign="question", source=ALIKE)


def test_a_briefing_is_a_resource(shell):
    agent = Agent(shell.folder / ".asiarc")

    async def reading(client):
        (template,) = (await client.list_resource_templates()).resource_templates
        (page,) = (await client.read_resource("asiarc://brief/question")).contents
        with pytest.raises(MCPError, match="Did you mean 'question'"):
            await client.read_resource("asiarc://brief/quest")
        return template, page

    template, page = agent.does(reading)
    assert template.uri_template == "asiarc://brief/{name}"
    assert page.mime_type == "text/markdown"
    assert page.text.strip() == shell.typed("brief", "question").strip()


def test_what_can_be_mended_comes_back_in_words(shell):
    agent = Agent(shell.folder / ".asiarc")
    assert "Did you mean 'question'" in agent.call("brief", campaign="quest")
    assert "holds NUL" in agent.call("propose", campaign="question", source="x = 1\0")
    assert "'zz' is no candidate" in agent.call("propose", campaign="question", source=GOOD, parent="zz")
    assert agent.call("standings", campaign="question") == []
    assert "unknown campaign at this tier" in agent.call("standings", campaign="quest")


def test_progress_tells_trials_and_no_score(shell):
    agent = Agent(shell.folder / ".asiarc")
    agent.call("propose", campaign="question", source=GOOD)
    steps, lines = zip(*agent.progress, strict=True)
    assert list(steps) == list(range(1, len(steps) + 1)) and len(steps) >= 9  # three mixers on three seeds
    assert list(lines) == [f"{step} trials trained" for step in steps]


def until_heard():
    """In a call's thread: goes on when the server knows that the call is cancelled."""
    with pytest.raises(CancelledError):
        while True:
            from_thread.check_cancelled()
            from_thread.run(anyio.lowlevel.checkpoint)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("moment", [2, 8])
def test_a_cancelled_call_loses_nothing_and_the_next_goes_on(shell, monkeypatch, mode, moment):
    """Cancelled while a baseline is trained, and while the proposal is."""
    trained, executors = [], []

    async def interrupted(client):
        with anyio.CancelScope() as scope:

            def cancel_at(job):
                if job.referee and len(trained) == moment:
                    from_thread.run_sync(scope.cancel)
                    until_heard()
                if job.referee:
                    trained.append(job)
                return fingerprinted(job)

            @contextmanager
            def laboratory(_):
                executors.append(FakeExecutor(ends=cancel_at))
                yield executors[-1]

            monkeypatch.setattr(asiarc.engineer.workshop, "trial_executor", laboratory)
            await client.call_tool("propose", {"campaign": "question", "source": GOOD})
        assert scope.cancelled_caught

    agent = Agent(shell.folder / "broken", mode)
    agent.does(interrupted)
    assert len(trained) == moment + 1, "the running trial was finished and kept, no other began"
    found = agent.call("propose", campaign="question", source=GOOD, author="another")
    assert found["proposals"][0]["word"] == "ahead"
    assert len({job.label + str(job.payload["seed"]) for job in trained}) == len(trained), "nothing is paid twice"
    author = "an agent" if moment == 8 else "another"
    assert found["proposals"][0]["author"] == author
    whole = Agent(shell.folder / "whole", mode).call("propose", campaign="question", source=GOOD, author=author)
    assert whole["proposals"][0]["scores"] == found["proposals"][0]["scores"]


def test_two_calls_at_once_are_answered_one_after_the_other(shell):
    async def both(client):
        found = {}

        async def one(name, source):
            told = await client.call_tool("propose", {"campaign": "question", "source": source, "file": name})
            found[name] = told.structured_content["proposals"][0]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, "a.py", GOOD)
            tasks.start_soon(one, "b.py", LEAKY)
        return found

    found = Agent(shell.folder / ".asiarc").does(both)
    assert {one["number"] for one in found.values()} == {0, 1}
    assert {name: one["word"] for name, one in found.items()} == {"a.py": "ahead", "b.py": "rejected"}


def test_a_client_starts_the_command_and_lists_its_tools(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = StdioServerParameters(command=sys.executable, args=["-m", "asiarc", "mcp"], cwd=tmp_path)

    async def asked():
        async with Client(command) as client:
            tools = (await client.list_tools()).tools
            return tools, await client.call_tool("standings", {"campaign": "question"})

    tools, told = anyio.run(asked)
    assert [tool.name for tool in tools] == ["brief", "tried", "propose", "standings", "verdict"]
    assert all(tool.description for tool in tools)
    assert told.is_error and "no archive in" in told.content[0].text


def test_without_the_sdk_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("asiarc.core.extras.missing", lambda extra: ["mcp"] if extra == "mcp" else [])
    with pytest.raises(ExtraMissingError, match=r"not installed: mcp.*pip install 'asiarc\[mcp\]'"):
        require("mcp", "asiarc mcp needs it")


def test_nobody_is_asked_twice_for_what_is_known(shell, monkeypatch):
    agent = Agent(shell.folder / ".asiarc")
    first = agent.call("propose", campaign="question", source=GOOD)
    monkeypatch.setattr(asiarc.engineer.workshop, "trial_executor", lambda _: nullcontext(Refusing()))
    again = agent.call("propose", campaign="question", source=GOOD)
    assert again["proposals"][0]["scores"] == first["proposals"][0]["scores"]
