"""An agent that knows `AGENTS.md` and nothing else finishes a campaign in at most seven commands."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

import asiarc.engineer.workshop
from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.harness.cli import main
from asiarc.harness.session import Lab

from ..llm.laboratory import fingerprinted
from .fakes import FakeExecutor, address_of, candidate

TOLD = (Path(__file__).parents[2] / "AGENTS.md").read_text()
QUESTION = """
from asiarc import Budget, Campaign, Stage, by_tier

question = Campaign(
    start_from="delta_net", baselines=("delta_net", "mamba2"), controls=(), researcher="open", match=(),
    explore=Stage(tasks=("text",), seeds=3), verify=Stage(tasks=("text",), seeds=3, top=1),
    confirm=Stage(tasks=("text",), seeds=3), budget=by_tier(smoke=Budget(candidates=4, minutes=60)),
)

def test_a_guest_won(outcome):
    assert outcome.winner.gain_over("delta_net").low > 0
"""


class Agent:
    """Types what stands in the page's table, its capitals filled in; `typed` counts.

    It reads exit statuses by the page's words, and of a rejection what the gate is called.
    """

    def __init__(self, pytester):
        self.pytester, self.typed = pytester, []
        rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", TOLD, re.MULTILINE)
        self.commands = [(command, says) for command, says in rows if command.split()[0] in ("asiarc", "pytest")]

    def types(self, begins, **capitals):
        """The first command of the page that begins so and has a place for all that is filled in."""
        command = next(c for c, _ in self.commands if c.startswith(begins) and all(name in c for name in capitals))
        for name, value in capitals.items():
            command = command.replace(name, value)
        assert not re.search(r"\b(NAME|FILE|YOU|ADDRESS)\b", command), command
        self.typed.append(command)
        tool, *words = command.split()
        if tool == "pytest":
            done = self.pytester.runpytest_inprocess(*words)
            return int(done.ret), done.stdout.str()
        done = CliRunner().invoke(main, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    def meaning(self, status):
        """What the page says of an exit status of propose."""
        told = next(says for command, says in self.commands if command.startswith("asiarc propose"))
        return {int(number): word for number, word in re.findall(r"(\d) ([a-z ]+)", told)}[status]


@pytest.fixture
def project(pytester, monkeypatch):
    (pytester.path / "campaigns").mkdir()
    (pytester.path / "campaigns" / "campaign_question.py").write_text(QUESTION)
    monkeypatch.chdir(pytester.path)
    executor = FakeExecutor(ends=fingerprinted)
    monkeypatch.setattr(asiarc.engineer.workshop, "trial_executor", lambda _: nullcontext(executor))
    monkeypatch.setattr(Lab, "executor", property(lambda _: executor))
    return pytester


def test_it_finishes_a_campaign(project):
    """Brief, a proposal that a gate turns away, its revision, a third that is built on that, verify, verdict."""
    agent, file = Agent(project), project.path / "mixer.py"

    def proposes(source, **capitals):
        file.write_text(source)
        status, told = agent.types("asiarc propose", FILE="mixer.py", NAME="question", **capitals)
        return agent.meaning(status), told

    assert "class Mixer(nn.Module)" in agent.types("asiarc brief", NAME="question")[1]
    word, told = proposes(candidate("looks ahead", REJECTED="causality", GAIN=0.2), YOU="agent-7")
    assert word == "rejected" and "causality: it looks ahead" in told
    word, told = proposes(candidate("mended", GAIN=0.2), YOU="agent-7")
    mended = re.match(r"#1 (\w+) ", told)[1]
    best = candidate("built on it", GAIN=0.5)
    file.write_text(best)
    assert (word, agent.types("asiarc tried", FILE="mixer.py", NAME="question")[0]) == ("ahead", 0)
    assert proposes(best, ADDRESS=mended)[0] == "ahead"
    status, told = agent.types("pytest campaigns")
    assert status == 0 and "better than delta_net" in told, told
    assert len(agent.typed) <= 7, agent.typed
    with Archive(project.path / ".asiarc", write=False) as archive:
        found = CampaignResult.load(archive, archive.runs("question")[-1]["run"])
        assert found.winner.address == address_of(best) and set(found.stages) == {"explore", "verify", "confirm"}
        assert [row["parents"] for row in found.archive.proposals(found.run)][2] == [mended]
