"""The door for kernels: what is proposed for an operator is judged, timed against the present one, and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from asiarc.archive.store import Archive
from asiarc.errors import KernelError
from asiarc.harness.cli import main
from asiarc.kernels.kernel_operators import KERNELS
from asiarc.loop import feedback
from asiarc.speed import NotMeasuredError, proposing, race
from asiarc.speed.cases import measured_case
from asiarc.speed.contest import Compared
from asiarc.speed.paired import Ratio
from asiarc.speed.verdict import KernelVerdict

HERE = Path(__file__).parent
NORM = """\
\"\"\"The formula, in one line.\"\"\"
RUNS = ("rsqrt",)


def l2_norm(x):
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
"""
WRONG = NORM.replace("1e-6", "1e-2")
IN_BODY = """\
    from asiarc.kernels.l2_norm import l2_norm as ours
    for _ in range(500):
        x = x + 0
    return ours(x) + 0.01 *"""
BAD = WRONG.replace("    return", IN_BODY)


def compared(low, high, *, red=""):
    case = measured_case("l2_norm", KERNELS["l2_norm"])
    return Compared(case, Ratio((low + high) / 2, low, high, 16, "ok"), red, base_ms=2.0, head_ms=1.0)


@pytest.fixture
def door(tmp_path, monkeypatch):
    """The command line over a store; `times` are what the next measurements find."""
    times, file = [], tmp_path / "mine.py"
    monkeypatch.setattr(proposing, "against_ours", lambda *_: times.pop(0))

    def typed(source=NORM, *more, status):
        file.write_text(source)
        words = ["kernel", "propose", str(file), "--operator", "l2_norm", "--store", str(tmp_path / "store"), *more]
        done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code == status, (done.output, done.exception)
        return json.loads(done.stdout)

    typed.times, typed.store = times, tmp_path / "store"
    return typed


@pytest.fixture
def lenient(monkeypatch):
    """Nothing is found against anything, so that times alone decide."""
    monkeypatch.setattr(proposing, "submitted", lambda _, name, *__: KernelVerdict(name, {}))


def test_the_words_and_their_exit_statuses_are_those_of_a_campaigns_door():
    assert proposing.WORDS == feedback.WORDS


def test_one_that_is_right_honest_and_faster_twice_is_ahead(door):
    """Everything real but the clock."""
    door.times += [compared(0.7, 0.8), compared(0.72, 0.82)]
    found = door(NORM, "--author", "agent 7", status=0)
    assert (found["word"], found["author"], found["number"]) == ("ahead", "agent 7", 0)
    assert found["idea"] == "The formula, in one line."
    assert (found["told"]["low"], found["told"]["high"], found["told"]["findings"]) == (0.72, 0.82, {})
    assert len(found["told"]["notes"]) == 2, "what decides was measured twice"


def test_what_is_wrong_borrowed_or_wasteful_is_rejected_before_any_time_is_taken(door):
    """One that calls ours, is off at some inputs and runs operators for nothing: each is found."""
    found = door(BAD, status=5)
    assert {"accuracy", "lean", "imports", "precision"} <= set(found["told"]["findings"])
    assert (found["word"], found["told"]["ratio"]) == ("rejected", None)


@pytest.mark.parametrize("source", ["def l2_norm(:\n", NORM.replace("def l2_norm", "def norm")])
def test_what_defines_no_such_function_is_rejected_at_once(door, source):
    assert "defines no function l2_norm" in door(source, status=5)["told"]["findings"]["imports"][0]


@pytest.mark.parametrize(
    ("times", "word"),
    [
        ([compared(0.9, 1.1)], "not told apart"),
        ([compared(1.1, 1.2), compared(1.1, 1.3)], "behind"),
        ([compared(0.7, 0.8), compared(0.9, 1.1)], "not told apart"),
        ([compared(0.7, 0.8), compared(1.1, 1.2)], "not told apart"),
        ([compared(0.7, 0.8, red="after timing: here: errors above 1e-5: o 1.0e-01")], "rejected"),
        ([Compared(measured_case("l2_norm", KERNELS["l2_norm"]), Ratio.nothing("it was loud"))], "admitted"),
    ],
)
def test_times_decide_by_their_whole_interval_and_twice(door, lenient, times, word):
    door.times += times
    found = door(status=proposing.WORDS[word])
    assert found["word"] == word and not (word == "rejected") ^ ("speed" in found["told"]["findings"])


def test_the_same_program_is_told_what_it_got_and_not_measured_again(door, lenient):
    door.times += [compared(0.9, 1.1)]
    first = door(status=3)
    again = door(f"# another comment\n{NORM}", "--author", "another", status=3)
    assert again == first, "no second draw"
    door.times += [compared(0.7, 0.8), compared(0.7, 0.8)]
    other = door(NORM.replace("    return", "    y = 0\n    return"), status=0)
    assert other["number"] == 1


def test_what_was_not_timed_is_timed_under_its_own_number(door, lenient, monkeypatch):
    def loud(*_):
        raise NotMeasuredError("not measured: it is loud here")

    timed = proposing.against_ours
    monkeypatch.setattr(proposing, "against_ours", loud)
    assert "loud" in door(status=6)["told"]["notes"][0]
    monkeypatch.setattr(proposing, "against_ours", timed)
    door.times += [compared(0.9, 1.1)]
    assert door(status=3)["number"] == 0
    with Archive(door.store, write=False) as archive:
        assert [row["word"] for row in proposing.standings(archive, "l2_norm")] == ["not told apart"]


def test_another_present_kernel_is_another_question(door, lenient, monkeypatch):
    door.times += [compared(0.7, 0.8), compared(0.7, 0.8), compared(0.9, 1.1)]
    door(status=0)
    monkeypatch.setattr(proposing, "kernel", lambda *_: "another")
    assert door(status=3)["number"] == 1


def test_standings_have_the_best_first_and_authors(door, lenient):
    typed = ["kernel", "standings", "l2_norm", "--store", str(door.store)]
    door.times += [compared(1.1, 1.2), compared(1.1, 1.2), compared(0.7, 0.8), compared(0.7, 0.8)]
    door(status=4)
    door(NORM.replace("    return", "    y = 0\n    return"), "--author", "agent 7", status=0)
    done = CliRunner().invoke(main, typed)
    heads = [line for line in done.output.splitlines() if line.startswith("#")]
    assert done.exit_code == 0 and heads[0].endswith("mine by agent 7: ahead") and heads[1].endswith(": behind")
    assert max(map(len, done.output.splitlines())) <= 80
    nobody = CliRunner().invoke(main, [*typed[:2], "kda", *typed[3:]])
    assert "nobody has proposed one" in nobody.output


def test_an_unknown_operator_is_named(tmp_path):
    with Archive(tmp_path) as archive, pytest.raises(KernelError, match="Did you mean 'l2_norm'"):
        proposing.propose(archive, "l2norm", NORM, name="x", author="y")


def test_both_sides_run_what_they_are_said_to(tmp_path):
    """In the workers themselves: ours without the other's file, theirs with it, both held against our definition."""
    file = tmp_path / "l2_norm.py"
    file.write_text(NORM)
    for given, right in ((NORM, True), (WRONG, False)):
        file.write_text(given)
        side = race.OperatorSide()
        side.load(str(file), "l2_norm")
        assert side.call.__module__ != "asiarc.kernels.l2_norm"
        case = measured_case("l2_norm", KERNELS["l2_norm"])
        errors = side.prepare(case.plain)["errors"]
        assert (max(errors.values()) <= KERNELS["l2_norm"].bound("float32")) is right
    ours = race.OperatorSide()
    ours.load("", "l2_norm")
    assert ours.call.__module__ == "asiarc.kernels.l2_norm"
