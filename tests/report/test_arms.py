"""A campaign's arms are in its report: what a search is worth is nothing without the searches beside it."""

from __future__ import annotations

from asiarc.archive.store import Archive
from asiarc.report import facts
from asiarc.studies.arms import arm_lines
from tests.harness.fakes import Bench, FakeExecutor, budget, campaign
from tests.rigs.questions import against


def test_arms_are_found_beside_their_campaign_and_under_no_other(tmp_path):
    question = campaign(researcher="grammar", arms=("random", "best_of_n"), budget=budget(4))
    for name, one in (("question", question), ("other", question)):
        Bench(one, tmp_path, name=name).run(FakeExecutor())
    for arm in question.arms:
        Bench(question.as_arm(arm), tmp_path).run(FakeExecutor())
    with Archive(tmp_path, write=False) as archive:
        runs = facts.latest_runs(archive, "quick", None)
        found = facts.arm_runs(archive, runs)
        assert [row["campaign"] for row in runs] == ["question", "other"]
        assert [(name, arm) for name, arm, _ in found] == [
            ("question", ""), ("question", "random"), ("question", "best_of_n")
        ]  # fmt: skip
        lines = arm_lines(archive, found)
    assert lines[0].startswith("question full loop: 4 candidates") and len(lines) == 5
    assert [line.partition(":")[0] for line in against(lines, "question")] == [
        "the full loop's winner against random's", "the full loop's winner against best_of_n's"
    ]  # fmt: skip
    assert against(lines, "other") == []


def test_a_winner_that_two_arms_share_is_called_the_same(tmp_path):
    question = campaign(researcher="grammar", arms=("best_of_n",), budget=budget(2))
    Bench(question, tmp_path).run(FakeExecutor())
    Bench(question.as_arm("best_of_n"), tmp_path).run(FakeExecutor())
    with Archive(tmp_path, write=False) as archive:
        lines = arm_lines(archive, facts.arm_runs(archive, facts.latest_runs(archive, "quick", None)))
    assert "the same winner" in lines[-1]
