"""The same seed gives the same archive, whatever the workers and the interruptions, and nothing is paid twice."""

from __future__ import annotations

import pytest

from asiarc import Stage
from asiarc.errors import ExecutionError
from asiarc.execution import Result

from .fakes import (
    Bench,
    FakeExecutor,
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
    [("admission", ""), ("run", "text/explore/0"), ("run", "overwrite/explore/0"), ("run", "text/verify/1"),
     ("run", "overwrite/verify/1"), ("run", "text/verify tuning/0"), ("run", "text/confirm/1")],
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
