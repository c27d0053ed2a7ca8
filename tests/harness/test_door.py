"""An open campaign: what comes by the door is refereed as any other proposal, whoever brought it and in which way."""

from __future__ import annotations

import fcntl
import json
import threading
from collections import Counter
from contextlib import nullcontext
from itertools import count

import pytest
from click.testing import CliRunner

import asiarc.engineer.workshop
import asiarc.loop.door
import asiarc.search.campaign
from asiarc import Stage
from asiarc.analyst.lineage import line_to
from asiarc.archive.store import Archive
from asiarc.core.errors import BudgetExhaustedError, CampaignError, CandidateError, EvidenceError
from asiarc.engineer.workshop import Workshop
from asiarc.harness import door_verbs
from asiarc.harness.cli import main
from asiarc.loop.door import Door, steady_source
from asiarc.loop.feedback import WORDS
from asiarc.loop.run import Run
from asiarc.report import write
from asiarc.researcher.designs import DESIGNS
from tests.rigs.doors import ask_all, trials_of, verdict_of

from ..llm.laboratory import MIXER, fingerprinted
from .fakes import Bench, FakeExecutor, Refusing, address_of, budget, campaign, candidate, still

LEAKS = {"REJECTED": "causality"}
SIXTEEN = [
    candidate(f"the idea of number {i}", GAIN=round(0.3 - 0.04 * i, 2), ID=i, **(LEAKS if i % 5 == 3 else {})) + MIXER
    for i in range(16)
]


def opened(candidates=16, **changes):
    fields = dict(researcher="open", budget=budget(candidates), match=(), explore=Stage(tasks=("text",), seeds=2))
    return campaign(**fields | changes)


class Doors(Bench):
    """A campaign whose door is used; each call is what a new process would do."""

    def at_the_door(self, then, executor=None):
        with still(), Archive(self.folder) as archive:
            workshop = Workshop(archive, executor or FakeExecutor())
            return then(Door(Run(self.campaign, self.name, self.tier, archive, workshop, self.said.append)))

    def propose(self, *sources, executor=None, **said):
        def by(door):
            for source in sources:
                search = door.walk()
                if door.known(source) is None:
                    door.propose(source, search, **{"author": "an agent", **said})
            return door.walk()

        return self.at_the_door(by, executor)


# --- the same sixteen, four ways --------------------------------------------------------------------------------------


def test_who_asks_and_how_makes_no_difference(tmp_path):
    """A model behind HTTP, one behind a folder, a door and a client of the protocol: the same trials to the last digit,
    the same verdict."""
    with still():
        found = ask_all(
            tmp_path, opened(), SIXTEEN, lambda: nullcontext(FakeExecutor(ends=fingerprinted)), "quick"
        )
    assert list(found) == ["by_server", "by_folder", "by_files", "by_mcp"]
    (trials, verdict), *others = found.values()
    assert others == [(trials, verdict)] * 3
    assert len({address for _, address, *_ in trials}) == 2 + 13 and len(trials) > 50
    assert verdict[0][1]["winner"] == address_of(SIXTEEN[0])
    assert len(verdict[1]) == 16 and len({parents[0] for parents in verdict[2]}) > 2


# --- the door ---------------------------------------------------------------------------------------------------------


def test_nothing_is_paid_twice_and_the_same_file_is_told_what_it_got(tmp_path):
    bench, executor = Doors(opened(4), tmp_path), FakeExecutor()
    bench.propose(SIXTEEN[0], executor=executor)
    bench.propose(SIXTEEN[0], f"# the same but for this\n{SIXTEEN[0]}", executor=Refusing())
    assert not executor.repeated
    twin = bench.at_the_door(lambda door: door.known(SIXTEEN[0]))
    assert (twin.by, twin.number) == ("program", 0)
    assert len(bench.results()) == 1


@pytest.mark.parametrize("moment", [0, 5, 9, 12])
def test_killed_at_the_door_it_goes_on(tmp_path, moment):
    whole, broken = Doors(opened(4), tmp_path / "whole"), Doors(opened(4), tmp_path / "broken")
    whole.propose(*SIXTEEN[:3])
    with pytest.raises(KeyboardInterrupt):
        broken.propose(*SIXTEEN[:3], executor=FakeExecutor(interrupt_at=moment))
    broken.propose(*SIXTEEN[:3])
    assert trials_of(tmp_path / "broken") == trials_of(tmp_path / "whole")
    assert verdict_of(tmp_path / "broken") == verdict_of(tmp_path / "whole")


def test_over_the_budget_and_after_verify_it_is_closed(tmp_path):
    bench = Doors(opened(2), tmp_path)
    with pytest.raises(EvidenceError, match="nobody has proposed anything to question; propose with: asiarc propose"):
        bench.run(None, "explore")
    bench.propose(SIXTEEN[0])
    bench.run(None, "explore")
    assert bench.stage("explore")["candidates"] == 1
    bench.propose(SIXTEEN[1])  # explore alone closes nothing
    with pytest.raises(
        BudgetExhaustedError,
        match=r"1 asked for, 0 left of the 2 candidates of question at tier quick.*pytest --tier quick -k question",
    ):
        bench.propose(SIXTEEN[2])
    bench.run(None, "verify")
    assert bench.stage("explore")["candidates"] == 2
    with pytest.raises(EvidenceError, match="closed: verify has begun"):
        bench.propose(SIXTEEN[2])
    with pytest.raises(CampaignError, match="takes no proposals from outside; declare open=True"):
        Doors(campaign(), tmp_path / "shut").propose(SIXTEEN[0])


def test_grammar_and_guests_stand_in_one_archive_with_lineage_across(tmp_path):
    """A guest before the search begins, and one made of what the grammar made; the search is as long as it was."""
    asked = opened(12, researcher="grammar", open=True, verify=None, confirm=None)
    bench = Doors(asked, tmp_path)
    bench.propose(SIXTEEN[0])
    assert bench.results()[name_of(SIXTEEN[0])]["gain"] > 0.2, "its first look is paid at once"
    with pytest.raises(KeyboardInterrupt):
        bench.run(FakeExecutor(interrupt_at=12), "explore")
    made = [row for row in bench.results().values() if row["outcome"].kind == "scored" and row["number"] > 0][-1]
    bench.propose(SIXTEEN[1], parent=made["address"][:9])
    executor = FakeExecutor()
    bench.run(executor, "explore")
    assert bench.stage("explore")["candidates"] == 12 and not executor.repeated
    with Archive(tmp_path, write=False) as archive:
        run = archive.runs("question")[-1]["run"]
        line = line_to(archive, run, address_of(SIXTEEN[1]))
        authors = Counter(row["author"] for row in archive.proposals(run))
    assert authors == {"": 10, "an agent": 2}
    assert [one.author for one in line[-2:]] == ["", "an agent"]
    assert [one.address for one in line[-2:]] == [made["address"], address_of(SIXTEEN[1])]


def test_lineage_and_report_say_who_made_each_step(tmp_path):
    """The winner is a guest's child of the grammar's child of another guest's: every step with its author. The grammar
    builds on a guest's whose design the archive knows, as what another campaign of its own found."""
    store, start = tmp_path / "store", candidate("found elsewhere", GAIN=0.6)
    with Archive(store) as archive:
        archive.add_candidate(address_of(start), "found", start, "", DESIGNS["gla"].model_dump())
    bench = Doors(opened(16, researcher="grammar", open=True), store)
    bench.propose(start, author="agent 7")
    with pytest.raises(KeyboardInterrupt):
        bench.run(FakeExecutor(interrupt_at=16), "explore")
    first, last = address_of(start), candidate("the last step", GAIN=0.8)
    with Archive(store, write=False) as archive:
        rows = archive.proposals(archive.runs("question")[-1]["run"])
    made = [row for row in rows if row["parents"][:1] == [first]]
    assert made and not made[0]["author"], [(row["parents"], row["author"]) for row in rows]
    bench.propose(last, author="agent 8", parent=made[0]["address"])
    bench.run(None)
    with still(), Archive(bench.folder, write=False) as archive:
        write(archive, "quick", tmp_path / "report")
    facts = json.loads((tmp_path / "report" / "report.json").read_text())["campaigns"][0]
    steps = [(step["address"], step.get("author", "")) for step in facts["winner"]["lineage"]]
    chain = [(address_of(last), "agent 8"), (made[0]["address"], ""), (first, "agent 7")]
    assert steps[:3] == chain and facts["winner"]["author"] == "agent 8"
    page = (tmp_path / "report" / "report.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("Lineage: "))
    assert line.index("by agent 8") < line.index(made[0]["name"].replace("_", "\\_")) < line.index("by agent 7")
    asked = ["lineage", address_of(last), "--tier", "quick", "--store", str(bench.folder), "--json"]
    told = json.loads(CliRunner().invoke(main, asked).stdout)
    assert [(one["address"], one["author"]) for one in told["line"]][::-1][:3] == chain


def name_of(source):
    return f"the_idea_of_number_{SIXTEEN.index(source)}_{address_of(source)[:6]}"


def test_a_dry_run_needs_nobody():
    assert opened().as_dry("quick").researcher == "grammar"


def test_a_parent_that_is_none_is_named(tmp_path):
    bench = Doors(opened(4), tmp_path)
    bench.propose(SIXTEEN[0])
    with pytest.raises(EvidenceError, match=r"'zz' is no candidate or baseline of this run; asiarc standings"):
        bench.propose(SIXTEEN[1], parent="zz")
    assert len(bench.results()) == 1


@pytest.mark.parametrize(("source", "says"), [("x = 1\0", "holds NUL"), ("#" * 300_000, "at most")])
def test_what_cannot_be_kept_takes_no_number(tmp_path, source, says):
    bench = Doors(opened(4), tmp_path)
    with pytest.raises(CandidateError, match=says):
        bench.propose(source)
    bench.propose("def broken(:\n")
    assert [row["outcome"].gate for row in bench.results().values()] == ["static"]


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    file, read, times = tmp_path / "mixer.py", asiarc.loop.door.read_source, count()
    file.write_text("a = 1\n")

    def changing(path):
        text = read(path)
        if next(times) < 2:
            path.write_text(text + "b = 2\n")
        return text

    monkeypatch.setattr(asiarc.loop.door, "read_source", changing)
    assert steady_source(file) == "a = 1\nb = 2\nb = 2\n"
    monkeypatch.setattr(asiarc.loop.door, "read_source", lambda path: path.write_text(read(path) + "c\n") and "c")
    with pytest.raises(CandidateError, match="changes while it is read"):
        steady_source(file)


def test_two_at_once_stand_in_line(tmp_path):
    """The second is told who writes, and goes on when that one is done."""
    said, done = [], threading.Event()
    with (tmp_path / "writer.lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        first.write("process 7")
        first.flush()

        def wait():
            with Archive(tmp_path, wait=lambda line: (said.append(line), done.set())):
                said.append("in")

        second = threading.Thread(target=wait)
        second.start()
        assert done.wait(60) and said == [f"process 7 is writing to the archive in {tmp_path}; this waits for it"]
    second.join(60)
    assert said[-1] == "in"


# --- the verbs --------------------------------------------------------------------------------------------------------


def test_an_agent_from_brief_to_verdict_in_seven_commands(shell):
    """It reads, proposes three times, mends what a gate turned away, and lets the best be verified."""
    mixer = shell.folder / "mixer.py"
    told = shell.typed("brief", "question")
    assert "class Mixer(nn.Module)" in told and "asiarc propose FILE --campaign question" in told
    assert "parent delta_net" in told and "operators of asiarc.kernels" in told
    words = ("propose", "mixer.py", "--campaign", "question", "--author", "agent 7")
    mixer.write_text(candidate("leaky", REJECTED="causality"))
    assert "rejected\n  causality: it looks ahead" in shell.typed(*words, status=WORDS["rejected"])
    mixer.write_text(candidate("mended", GAIN=0.3))
    told = shell.typed(*words)
    assert "by agent 7: ahead" in told and "over mamba2: +0.2" in told and "seeds 0 and 1 and 2" in told
    assert "left: 2 candidates" in told
    mixer.write_text(candidate("alike", GAIN=0.0))
    shell.typed(*words, status=WORDS["not told apart"])
    mixer.write_text(candidate("worse", GAIN=-0.3))
    found = shell.typed(*words, "--json", status=WORDS["behind"])
    assert found["left"]["candidates"] == 0 and found["proposals"][0]["scores"][0]["high"] < 0
    table = shell.typed("standings", "question")
    assert [line.split()[0] for line in table.splitlines()[1:] if line.split()[0].isdigit()] == ["1", "2", "3", "0"]
    with still(), Archive(shell.folder / ".asiarc") as archive:  # the seventh: pytest campaigns
        shop = Workshop(archive, FakeExecutor())
        run = Run(door_campaign(shell), "question", "smoke", archive, shop, lambda _: None)
        assert run.ensure("verify")["winner"] == address_of(candidate("mended", GAIN=0.3))
        run.ensure("confirm")
    assert shell.typed("standings", "question") == table, "verify and confirm are not shown"


def door_campaign(shell):
    from asiarc.campaign.loading import declared

    return declared(shell.folder / "campaigns" / "campaign_open.py")[1].at(shell.folder / "campaigns")


def test_a_folder_of_files_and_what_was_tried(shell):
    ideas = shell.folder / "ideas"
    ideas.mkdir()
    (ideas / "a.py").write_text(candidate("a", GAIN=0.3) + "PRINT = 5\n")
    (ideas / "b.py").write_text(candidate("b", REJECTED="causality"))
    found = shell.typed("propose", "ideas", "--campaign", "campaigns/campaign_open.py", "--json")
    told = [(p["name"][:2], p["word"], p["known_as"]) for p in found["proposals"]]
    assert told == [("a_", "ahead", None), ("b_", "rejected", None)]
    again = shell.typed("propose", "ideas/a.py", "--campaign", "question")
    assert "the same program as #0" in again and "nothing was trained again" in again
    (shell.folder / "other.py").write_text(candidate("other", GAIN=0.1) + "PRINT = 5\n")
    assert "computes the same as #0 a_" in shell.typed("tried", "other.py", "--campaign", "question", status=3)
    (shell.folder / "new.py").write_text(candidate("new", GAIN=0.1))
    assert "no baseline and no candidate" in shell.typed("tried", "new.py", "--campaign", "question")
    known = shell.typed("tried", "ideas/a.py", "--campaign", "question", "--json", status=door_verbs.KNOWN)
    assert known["known_as"]["by"] == "program"
    for name in "cde":
        (ideas / f"{name}.py").write_text(candidate(name, GAIN=0.2))
    assert "3 asked for, 2 left of the 4" in shell.typed("propose", "ideas", "--campaign", "question", status=1)
    assert len(shell.typed("standings", "question", "--json")) == 2, "all of them or none"
    assert "--campaign" in shell.typed("propose", "ideas/a.py", status=2)
    assert "Did you mean 'question'" in shell.typed("brief", "quest", status=1)
