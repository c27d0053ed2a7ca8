"""The same seed gives the same archive, whatever the workers and the interruptions, and nothing is paid twice."""

from __future__ import annotations

import re

import pytest

from asiarc import Stage
from asiarc.archive.retry import forget_failures
from asiarc.archive.store import Archive
from asiarc.campaign.declaration import POLICIES
from asiarc.core.errors import ExecutionError
from asiarc.core.outcome import SCORED
from asiarc.execution import Result

from .fakes import (
    Bench,
    FakeExecutor,
    Mender,
    Refusing,
    assert_same,
    budget,
    campaign,
    candidate,
    job_key,
    place_of,
    written,
)

CANDIDATES = [
    candidate(f"c{i}", GAIN=0.01 * (7 * i % 12), GENOME={"memory": "ab"[i % 2], "router": "cde"[i % 3]})
    for i in range(8)
]


def small():
    return written(
        *CANDIDATES[:5],
        candidate("cheat", REJECTED="causality"),
        candidate("late", GAIN=0.5, ENDS={"overwrite/explore/0": "crashed"}),
        CANDIDATES[6],
        baselines=("delta_net",),
        verify=Stage(tasks=("text", "overwrite"), seeds=2, top=2, learning_rates=(3e-3, 8e-3)),
        confirm=Stage(tasks=("text",), seeds=2),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run with one worker."""
    bench, executor = Bench(small(), tmp_path_factory.mktemp("whole")), FakeExecutor()
    bench.run(executor)
    return bench.content(), executor


def test_nothing_is_run_twice_even_in_one_go(whole):
    content, executor = whole
    assert not executor.repeated
    assert len(executor.log) == len(content["trials"]) + len(content["admissions"])


@pytest.mark.parametrize("workers", [2, 8])
def test_workers_and_completion_order_leave_no_trace(whole, tmp_path, workers):
    executor = FakeExecutor(workers=workers)
    bench = Bench(small(), tmp_path)
    bench.run(executor)
    assert executor.log != whole[1].log and sorted(executor.log) == sorted(whole[1].log)
    assert_same(bench.content(), whole[0])


@pytest.mark.parametrize("status", ["timed_out", "out_of_memory", "crashed"])
def test_a_retry_drops_what_the_machine_broke_and_ends_as_if_it_had_not(whole, tmp_path, status):
    """A machine that broke all that it trained of some candidates, and then was well: the archive does not know."""

    def overloaded(job):
        broken = job.function.endswith(":train") and any(f"NAME = 'c{i}'" in job.payload["source"] for i in (0, 3))
        return Result(status, None, "the machine", wall_s=1.0, cpu_s=1.0) if broken else None

    bench, name = Bench(small(), tmp_path), {}
    bench.run(FakeExecutor(ends=overloaded), then=lambda run: name.update(run=run.run))
    with Archive(tmp_path) as archive:
        told = forget_failures(archive, name["run"])
    assert re.search(
        r"dropped 0 replies, [3-9] trials, [1-9] candidates that failed, and the 8 proposals from number 0 on", told
    )
    bench.run(FakeExecutor())
    found, undisturbed = bench.content(), whole[0]
    decided = ("proposals", "results", "insights", "stages", "uses", "versions")
    assert_same({table: found[table] for table in decided}, undisturbed)
    assert set(undisturbed["trials"]) <= set(found["trials"]), "what else was trained is kept, and used by nobody"


def test_without_a_failure_a_retry_drops_nothing(tmp_path):
    bench, name = Bench(written(*CANDIDATES[:2]), tmp_path), {}
    bench.run(then=lambda run: name.update(run=run.run))
    before = bench.content()
    with Archive(tmp_path) as archive:
        assert forget_failures(archive, name["run"]) == ""
    assert_same(bench.content(), before)


def test_an_interruption_at_any_job_changes_nothing(whole, tmp_path):
    content, executor = whole
    for k in range(0, len(executor.log), 2):
        bench = Bench(small(), tmp_path / str(k))
        first = FakeExecutor(workers=1 + k % 3, interrupt_at=k)
        with pytest.raises(KeyboardInterrupt):
            bench.run(first)
        second = FakeExecutor()
        bench.run(second)
        assert len(first.log) == k
        assert sorted([*first.log, *second.log]) == sorted(executor.log), f"interrupted at job {k}"
        assert_same(bench.content(), content, f"interrupted at job {k}")


def test_many_interruptions_in_a_row(whole, tmp_path):
    bench, done = Bench(small(), tmp_path), []
    while True:
        executor = FakeExecutor(interrupt_at=2)
        try:
            bench.run(executor)
            break
        except KeyboardInterrupt:
            done += executor.log
    assert sorted(done + executor.log) == sorted(whole[1].log)
    assert_same(bench.content(), whole[0])


def test_the_grammar_proposes_the_same_after_an_interruption(tmp_path):
    """What the analyst writes steers the grammar: an insight that a resumed run writes otherwise would show here."""
    question = campaign(verify=None, confirm=None, budget=budget(16))
    whole = Bench(question, tmp_path / "whole")
    executor = FakeExecutor()
    whole.run(executor)
    assert any("goes with" in row for row in whole.content()["insights"]), "the population steers nothing yet"
    assert any('kind\\": \\"experience' in row for row in whole.content()["proposals"])
    for k in range(5, len(executor.log), 11):
        bench = Bench(question, tmp_path / str(k))
        with pytest.raises(KeyboardInterrupt):
            bench.run(FakeExecutor(interrupt_at=k))
        bench.run(FakeExecutor(workers=4))
        assert_same(bench.content(), whole.content(), f"interrupted at job {k}")


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_decides_the_same_whatever_the_workers_and_after_an_interruption(tmp_path, policy):
    """`random` and `thompson` draw: a resumed run that counted its decisions otherwise would train others."""
    question = campaign(verify=None, confirm=None, budget=budget(12), policy=policy)
    whole, executor = Bench(question, tmp_path / "whole"), FakeExecutor()
    whole.run(executor)
    for k in (len(executor.log) // 3, len(executor.log) - 3):
        bench = Bench(question, tmp_path / str(k))
        with pytest.raises(KeyboardInterrupt):
            bench.run(FakeExecutor(workers=3, interrupt_at=k))
        bench.run(FakeExecutor(workers=4))
        assert_same(bench.content(), whole.content(), f"interrupted at job {k}")


def mending():
    """One breaks on its second seed and is mended, one twice over (a gate, then a check), one is proposed again as it
    was first, and one cannot be mended."""
    broken = candidate("late", GAIN=0.6, ENDS={"text/explore/1": "crashed"})
    cheat = candidate("cheat", REJECTED="causality")
    sources = [CANDIDATES[0], broken, CANDIDATES[2], cheat, CANDIDATES[4], cheat.replace('"""cheat', '"""again'),
               candidate("hopeless", REJECTED="prefix"), CANDIDATES[7]]  # fmt: skip
    mended = {
        "late": candidate("late but sound", GAIN=0.3),
        "cheat": candidate("honest", GAIN=0.9, ENDS={"overwrite/explore/0": "timed_out"}),
        "honest": candidate("honest and quick", GAIN=0.05),
        "hopeless": candidate("hopeless", REJECTED="prefix"),
    }
    return written(*sources, researcher=Mender(sources, mended), baselines=("delta_net",), verify=None, confirm=None)


@pytest.mark.parametrize("policy", ["ucb", "thompson"])
def test_what_was_mended_is_walked_through_again_as_it_was(tmp_path, policy):
    """A version that broke decided what was trained until it broke; a resumed run has to remember that."""
    question = mending().model_copy(update={"policy": policy})
    whole, executor = Bench(question, tmp_path / "whole"), FakeExecutor()
    whole.run(executor)
    asked = list(question.researcher.asked)
    results = {name: row["outcome"] for name, row in whole.results().items()}
    assert results["honest and quick"] == results["late but sound"] == SCORED
    assert results["hopeless"].gate == "prefix" and results["cheat"].gate == "novelty"
    assert (1, 1, "crashed") in asked and (3, 1, "causality") in asked and (3, 2, "timed_out") in asked
    for k in range(3, len(executor.log), 7):
        question.researcher.asked.clear()
        bench, first, second = (Bench(question, tmp_path / str(k)), FakeExecutor(interrupt_at=k), FakeExecutor())
        with pytest.raises(KeyboardInterrupt):
            bench.run(first)
        bench.run(second)
        assert sorted(first.log + second.log) == sorted(executor.log), f"interrupted at job {k}"
        assert sorted(question.researcher.asked) == sorted(asked), "nobody is asked twice"
        assert_same(bench.content(), whole.content(), f"interrupted at job {k}")


def test_a_finished_campaign_asks_for_nothing(whole, tmp_path):
    bench = Bench(small(), tmp_path)
    bench.run()
    before = bench.content()
    bench.run(Refusing())
    assert bench.content() == before


def test_a_stage_on_its_own_runs_those_before_it(whole, tmp_path):
    bench = Bench(small(), tmp_path)
    bench.run(None, "confirm")
    assert_same(bench.content(), whole[0])


def test_another_seed_gives_other_candidates_and_numbers(tmp_path):
    benches = [Bench(campaign(seed=seed, verify=None, confirm=None), tmp_path / str(seed)) for seed in (0, 1)]
    for bench in benches:
        bench.run()
    first, second = (bench.content() for bench in benches)
    assert first["candidates"] != second["candidates"] and not set(first["trials"]) & set(second["trials"])


def test_stored_proposals_are_taken_as_they_are(tmp_path):
    question = small()
    bench = Bench(question, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        bench.run(FakeExecutor(interrupt_at=30))
    asked = len(question.researcher.contexts)
    assert 0 < asked <= 8
    bench.run()
    assert [context.index for context in question.researcher.contexts] == list(range(8))
    bench.run(Refusing())
    assert len(question.researcher.contexts) == 8


@pytest.mark.parametrize(
    ("kind", "place"),
    [("admission", ""), ("train", "text/explore/0"), ("train", "overwrite/explore/0"), ("train", "text/verify/1"),
     ("train", "overwrite/verify/1"), ("train", "text/verify tuning/0"), ("train", "text/confirm/1")],
)  # fmt: skip
@pytest.mark.parametrize("whose", ["NAME = 'c3'", "class Mixer"])
def test_infrastructure_is_nobodys_outcome(whole, tmp_path, kind, place, whose):
    """A job that the machine lost is no result: the stage ends with an error, and the next run makes it good."""
    lost = []

    def lose(job):
        is_it = job.function.endswith(kind) and (not place or place_of(job.payload) == place)
        if lost or not is_it or whose not in job.payload["source"]:
            return None
        lost.append(job_key(job))
        return Result("infrastructure", None, "a worker went away")

    bench, first, second = Bench(small(), tmp_path), FakeExecutor(ends=lose), FakeExecutor()
    with pytest.raises(ExecutionError, match="a worker went away"):
        bench.run(first)
    bench.run(second)
    assert sorted(first.log + second.log) == sorted(whole[1].log + lost)
    assert_same(bench.content(), whole[0])
