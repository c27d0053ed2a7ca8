"""Campaigns of kernels, from the first proposal to the answer, over a clock and gates that are made up."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from asiarc import Budget, by_tier
from asiarc.archive.kernels import KernelTimings
from asiarc.archive.store import Archive
from asiarc.campaign.code import ENTRIES, reached
from asiarc.core.errors import BudgetExhaustedError, CampaignError, EvidenceError
from asiarc.core.proposal import Context, Relative
from asiarc.domains.kernel import CHOICES, OPERATORS, SHIPPED, address_of, researcher, start, written
from asiarc.harness.cli import main
from asiarc.kernels.operators import OPERATORS as SHIPPED_OPERATORS
from asiarc.loop import kernels
from asiarc.loop.kernels import KernelDoor, KernelRun, Times
from asiarc.speed import NotMeasuredError
from asiarc.speed.judge import imports_of

from .laboratory import MINE, TIER, Laboratory, asked

DECLARED = """
from asiarc import Budget, KernelCampaign, by_tier

question = KernelCampaign(
    operator="delta_rule", explore=3, verify=3, confirm=4, {more}
    budget=by_tier(smoke=Budget(candidates=3, minutes=5)),
)
"""


@pytest.fixture(autouse=True)
def anywhere(monkeypatch):
    """Nobody asks git or the processor."""
    monkeypatch.setattr(kernels, "provenance", lambda: {"cpu": "one"})


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "store") as opened:
        yield opened


def run_of(archive, laboratory, campaign=None, said=None):
    said = [] if said is None else said
    return KernelRun(
        campaign or asked(), "faster", TIER, archive, said.append, gates=laboratory.gates, measure=laboratory.measure
    )


def whole(archive, laboratory, campaign=None):
    run = run_of(archive, laboratory, campaign)
    for stage in run.campaign.stages:
        run.ensure(stage)
    return run


# --- what is found ----------------------------------------------------------------------------------------------------


def test_a_planted_faster_kernel_is_found_and_called_better(archive):
    campaign = asked(budget=by_tier(quick=Budget(candidates=20, minutes=5)))
    run = whole(archive, Laboratory({"inverse halves": 0.8, "inverse doubling": 0.8, "chunk 64": 0.9}), campaign)
    found = run.outcome()
    assert found.decision == "better" and found.evaluated == 20 and found.effect.n == 4
    assert "is faster than delta_rule: it takes 0." in found.explain()
    winner = archive.stage_result(run.run, "confirm")["winner"]
    assert archive.candidate(winner)["genome"]["inverse"] in ("halves", "doubling")


def test_kernels_that_are_as_fast_are_not_told_apart(archive):
    found = whole(archive, Laboratory()).outcome()
    assert found.decision == "cannot tell" and "cannot be told from delta_rule" in found.explain()


def test_a_wrong_kernel_is_turned_away_with_the_reason_of_its_gate_and_never_timed(archive):
    laboratory, campaign = Laboratory(), asked(researcher="open")
    run = run_of(archive, laboratory, campaign)
    KernelDoor(run).propose(MINE.format(idea="wrong", body="o, s"), name="mine", author="agent 7")
    run.explore()
    ended = archive.result(run.run, 0)["outcome"]
    assert (ended.kind, ended.gate, ended.reason) == ("rejected", "accuracy", "o is off by 1e-2 at B=1")
    assert set(laboratory.timed) == {run.start}
    assert run.verify()["winner"] is None and run.confirm()["entrants"] == []
    assert "no candidate has a time yet" in run.outcome().explain()


def test_what_is_wrong_once_it_is_timed_is_turned_away_by_its_speed(archive):
    run = run_of(archive, Laboratory(), asked(researcher="open"))
    KernelDoor(run).propose(MINE.format(idea="red", body="o, s"), name="mine", author="agent 7")
    run.explore()
    ended = archive.result(run.run, 0)["outcome"]
    assert (ended.kind, ended.gate) == ("rejected", "speed") and "errors above" in ended.reason


def test_a_loud_machine_measures_nothing_pays_for_nothing_and_is_gone_on_with(archive):
    laboratory = Laboratory({"inverse": 0.8})
    laboratory.loud = "load average 9.0 on 2 cores"
    run = run_of(archive, laboratory)
    with pytest.raises(NotMeasuredError, match=r"load average 9.0 on 2 cores\. Nothing is lost"):
        run.explore()
    (row,) = KernelTimings(archive, run.run).of("explore", run.start)
    assert (row["outcome"], row["log_ratio"]) == ("unscored", None), "not measured, and no number"
    assert not laboratory.examined and not archive.proposals(run.run)
    laboratory.loud = ""
    assert whole(archive, laboratory, run.campaign).outcome().decision == "better"


def test_a_stopped_run_goes_on_and_finds_the_same_without_paying_twice(archive, tmp_path):
    worth = {"inverse halves": 0.8}
    broken = Laboratory(worth)
    broken.breaks_at = 17
    with pytest.raises(KeyboardInterrupt):
        whole(archive, broken)
    broken.breaks_at = None
    resumed = whole(archive, broken)
    with Archive(tmp_path / "other") as other:
        straight = Laboratory(worth)
        assert whole(other, straight).outcome() == resumed.outcome()
        assert [row["address"] for row in other.proposals(resumed.run)] == [
            row["address"] for row in archive.proposals(resumed.run)
        ]
    assert broken.timed == straight.timed and len(broken.examined) == len(straight.examined) == 6


def test_every_stage_takes_its_times_anew_one_after_the_other(archive):
    laboratory = Laboratory()
    run = whole(archive, laboratory)
    (winner,) = archive.stage_result(run.run, "confirm")["entrants"]
    times = Times.of(archive, run.run)
    assert [len(times.logs(stage, winner)) for stage in run.campaign.stages] == [3, 3, 4]
    assert laboratory.timed[winner] == laboratory.timed[run.start] == 10


# --- what is declared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"operator": "delta_rul"}, "Did you mean 'delta_rule'"), ({"researcher": "llm"}, "researcher of kernels"),
        ({"confirm": 1}, "confirm"), ({"tasks": ("text",)}, "unknown field of KernelCampaign"),
        ({"arms": ("no_analyst",)}, "arms"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_of_kernels(said, told):
    with pytest.raises(CampaignError, match=told):
        asked(**said)


def test_the_arm_is_drawn_at_random_from_the_same_start(archive):
    campaign = asked(arms=("random",)).as_arm("random")
    run = whole(archive, Laboratory(), campaign)
    assert run.label == "faster/random" and run.run != run_of(archive, Laboratory()).run
    assert all(row["parents"] == [] for row in archive.proposals(run.run))


def test_nothing_that_other_campaigns_rest_on_knows_of_kernels():
    """So that their runs keep their names."""
    own = {"asiarc.domains.kernel", "asiarc.campaign.kernels", "asiarc.loop.kernels", "asiarc.speed.proposing"}
    assert all(own.isdisjoint(reached(entry).modules) for entry in ENTRIES)


# --- the grammar ------------------------------------------------------------------------------------------------------

GENOMES = [dict.fromkeys(CHOICES, SHIPPED) | {name: choice} for name in CHOICES for choice in CHOICES[name]]


def made(source, operator, given):
    """What a kernel computes, and its gradients."""
    space = {}
    exec(compile(source, "candidate", "exec"), space)
    tensors = {name: x.clone().requires_grad_() for name, x in given.items()}
    o, state = space[operator](**tensors)
    return [o, state, *torch.autograd.grad(o.square().sum() + state.square().sum(), list(tensors.values()))]


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_form_is_the_same_operator_and_imports_what_it_may(operator):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 37, 2, 4, generator=generator) for _ in range(3))
    given = {
        "q": q,
        "k": torch.nn.functional.normalize(k, dim=-1),
        "v": v,
        "g": -torch.rand(2, 37, 2, generator=generator),
    }
    given |= {
        "beta": torch.rand(2, 37, 2, generator=generator),
        "initial_state": torch.randn(2, 2, 4, 4, generator=generator),
    }
    given = {name: given[name] for name in (*OPERATORS[operator], "initial_state")}
    tensors = {name: x.clone().requires_grad_() for name, x in given.items()}
    o, state = SHIPPED_OPERATORS[operator].call(**tensors)
    right = [o, state, *torch.autograd.grad(o.square().sum() + state.square().sum(), list(tensors.values()))]
    together = {name: choices[-1] for name, choices in CHOICES.items()}
    for genome in [*GENOMES, together]:
        source = written(operator, genome)
        assert not imports_of(source), genome
        for mine, ours in zip(made(source, operator, given), right, strict=True):
            torch.testing.assert_close(mine, ours, rtol=1e-3, atol=1e-4, msg=str(genome))


def test_every_choice_is_another_program():
    sources = [written("delta_rule", genome) for genome in GENOMES]
    assert len({address_of(source) for source in sources}) == len(GENOMES) - len(CHOICES) + 1
    assert address_of(start("delta_rule")) == address_of(sources[0])


@pytest.mark.parametrize("name", ["grammar", "random"])
def test_a_proposal_is_new_and_a_function_of_its_context(name):
    source, known = start("delta_rule"), set()
    parent = Relative(address=address_of(source), name="delta_rule", source=source, genome=None, scores={})
    for index in range(12):
        context = Context(seed=1, generation=0, index=index, parent=parent, known=frozenset(known))
        proposal = researcher(name, "delta_rule").propose(context)
        assert proposal == researcher(name, "delta_rule").propose(context)
        assert address_of(proposal.source) not in known | {parent.address}
        known.add(address_of(proposal.source))


# --- the door ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """The command line in a project with one campaign of kernels that takes what comes by the door."""
    laboratory = Laboratory({"quick": 0.8, "slow": 1.3})
    (tmp_path / "campaigns").mkdir()
    file = tmp_path / "campaigns" / "campaign_question.py"
    file.write_text(DECLARED.format(more='researcher="open",'))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernels, "untimed", laboratory.gates)
    monkeypatch.setattr(kernels, "measured", laboratory.measure)

    def typed(*words, status=0):
        done = CliRunner().invoke(main, words, env={"COLUMNS": "200"})
        assert done.exit_code == status, (done.output, done.exception)
        return json.loads(done.stdout) if "--json" in words else done.output

    typed.laboratory, typed.file, typed.folder = laboratory, file, tmp_path
    return typed


def proposed(shell, idea, *more, status):
    (shell.folder / f"{idea}.py").write_text(MINE.format(idea=idea, body=f"'{idea}'"))
    return shell("propose", f"{idea}.py", "--campaign", "question", *more, status=status)


def test_a_file_goes_through_the_door_to_a_verdict(shell):
    assert "proposal 0" in shell("brief", "question") and "def delta_rule" in shell("brief", "question")
    heard = proposed(shell, "quick", "--author", "agent 7", "--json", status=0)
    (first,) = heard["proposals"]
    assert (first["word"], first["author"], first["number"], heard["left"]) == (
        "ahead",
        "agent 7",
        0,
        {"candidates": 2},
    )
    assert first["scores"][0]["low"] > 0
    assert "accuracy: o is off" in proposed(shell, "wrong", status=5)
    assert shell("tried", "quick.py", "--campaign", "question", "--json", status=3)["known_as"]["number"] == 0
    assert "wrong" in shell("brief", "question"), "what was turned away is told"
    again = proposed(shell, "quick", status=0)
    assert "the same program as #0" in again and sum(shell.laboratory.timed.values()) == 2 * 2
    assert "behind" in proposed(shell, "slow", status=4)
    assert [row["word"] for row in shell("standings", "question", "--json")] == ["ahead", "behind", "rejected"]
    assert "quick" in shell("standings", "question")
    verdict = shell("verdict", "question", "--json")
    assert verdict["decision"] == "better" and "is faster than delta_rule" in verdict["verdict"]
    assert "question is closed" in proposed(shell, "late", status=1)


def test_what_cannot_be_timed_now_is_admitted_and_said_to_be_not_measured(shell):
    shell.laboratory.loud = "other processes kept 1.50 cores busy"
    assert "not measured" in proposed(shell, "quick", status=6)
    shell.laboratory.loud = ""
    assert ": ahead" in proposed(shell, "quick", status=0), "under its own number"


def test_a_campaign_that_is_not_open_says_how_it_would_be(shell):
    shell.file.write_text(DECLARED.format(more=""))
    assert "open=True" in proposed(shell, "quick", status=1)


def test_verbs_for_mixers_say_what_to_ask_of_kernels(shell):
    proposed(shell, "quick", status=0)
    assert "asiarc standings question" in shell("show", "question", status=1)
    assert "campaign of kernels" in shell("spec", str(shell.file), status=1)
    assert "run of" in shell("watch", "--once", status=1)


def test_a_full_budget_and_an_unknown_parent_are_said(archive):
    run = run_of(archive, Laboratory(), asked(researcher="open", budget=by_tier(quick=Budget(candidates=1, minutes=5))))
    source, door = MINE.format(idea="a", body="1"), KernelDoor(run)
    with pytest.raises(EvidenceError, match="is no candidate or baseline of this run"):
        door.propose(source, name="a", author="x", parent="zz")
    with pytest.raises(EvidenceError, match="no kernel was proposed"):
        run.explore()
    door.propose(source, name="a", author="x", parent=run.start[:6])
    with pytest.raises(BudgetExhaustedError, match="1 asked for, 0 left"):
        door.propose(MINE.format(idea="b", body="2"), name="b", author="x")


def test_at_smoke_nothing_is_timed_more_than_twice_and_the_identity_says_so(archive):
    few = Budget(candidates=2, minutes=5)
    campaign = asked(explore=1, budget=by_tier(smoke=few, quick=few))
    assert [[campaign.timings(stage, tier) for stage in campaign.stages] for tier in ("smoke", "quick")] == [
        [1, 2, 2],
        [1, 3, 4],
    ]
    assert [campaign.resolved(tier)["confirm"] for tier in ("smoke", "quick")] == [2, 4]
    laboratory = Laboratory()
    run = KernelRun(
        campaign, "few", "smoke", archive, lambda _: None, gates=laboratory.gates, measure=laboratory.measure
    )  # fmt: skip
    for stage in campaign.stages:
        run.ensure(stage)
    winner = archive.stage_result(run.run, "verify")["winner"]
    assert laboratory.timed[winner] == 1 + 2 + 2


# --- pytest -----------------------------------------------------------------------------------------------------------


def equipped(pytester, monkeypatch, laboratory):
    """A folder whose campaigns of kernels are examined and timed by a laboratory."""
    monkeypatch.setattr(kernels, "untimed", laboratory.gates)
    monkeypatch.setattr(kernels, "measured", laboratory.measure)
    pytester.makeini("[pytest]\nasiarc_paths = .\naddopts = --asiarc-no-report\n")


def test_pytest_collects_prices_and_answers_it(pytester, monkeypatch):
    laboratory = Laboratory({"inverse": 0.8, "chunk": 0.9})
    equipped(pytester, monkeypatch, laboratory)
    test = "\n\ndef test_it_is_asked(outcome):\n    assert outcome.evaluated == 3\n"
    pytester.makepyfile(campaign_timed=DECLARED.format(more='arms=("random",),') + test)
    collected = pytester.runpytest_inprocess("--collect-only", "-q")
    items = [line.rpartition("::")[2] for line in collected.outlines if "::" in line]
    assert items == ["explore", "verify", "confirm", "random", "test_it_is_asked"]
    planned = pytester.runpytest_inprocess("--asiarc-plan")
    planned.stdout.fnmatch_lines(["*::question::explore * 3 * 8 *no", "*about * minutes in all*"])
    ran = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    ran.assert_outcomes(passed=5)
    ran.stdout.fnmatch_lines(["*question at smoke: delta_rule_* delta_rule: it takes *"])
    laboratory.loud = "it is loud"
    again = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    again.assert_outcomes(passed=5), "finished stages need no quiet"


@pytest.mark.parametrize("tier, outcomes", [("smoke", {"skipped": 4}), ("quick", {"failed": 4})])
def test_a_loud_machine_is_an_answer_at_smoke_only(pytester, monkeypatch, tier, outcomes):
    laboratory = Laboratory()
    laboratory.loud = "a neighbour builds"
    equipped(pytester, monkeypatch, laboratory)
    pytester.makepyfile(campaign_timed=DECLARED.format(more='arms=("random",),').replace("smoke=", f"{tier}="))
    ran = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rs", "--tier", tier)
    ran.assert_outcomes(**outcomes)
    ran.stdout.fnmatch_lines(["*not measured*a neighbour builds*"])
