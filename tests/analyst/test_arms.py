"""Arms side by side: equal compute, a common beginning, effects that are those of the numbers, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import fmean
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from asiarc.archive.store import Archive
from asiarc.campaign.declaration import Models, to_toml
from asiarc.core.errors import CampaignError
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.recipe import _PLANS as SHIPPED
from asiarc.engineer.workshop import Workshop
from asiarc.harness.cli import main
from asiarc.studies import arms

from ..harness.fakes import PLANS, FakeExecutor, answer, campaign, still
from ..llm.laboratory import fingerprinted


def studied(job):
    """The laboratory's answer to a trial of a study, which names its seeds otherwise than a campaign."""
    seed = str(job.payload.get("seed", ""))
    if not seed.startswith("study/"):
        return fingerprinted(job)
    return answer(replace(job, payload=job.payload | {"seed": seed.replace("study/", "0/confirm/")}))


SIZE = dict(repeats=3, candidates=12, seeds=2)


@pytest.fixture(scope="module", autouse=True)
def a_still_laboratory():
    """The harness's, which knows besides what a study would train at the paper's tier."""
    papers = {key: plan for key, plan in SHIPPED.items() if key[0] == "paper"}
    with still(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("asiarc.core.recipe._PLANS", PLANS | papers)
        yield


@pytest.fixture(scope="module")
def compared(tmp_path_factory, a_still_laboratory):
    """A finished comparison, and the archive that it is in."""
    search = arms.arms_of(campaign(), ("no_cognition",), "quick", **SIZE)
    with Archive(tmp_path_factory.mktemp("arms")) as archive:
        workshop = Workshop(archive, FakeExecutor(ends=studied))
        yield search.run("question arms", "quick", archive, workshop, lambda _: None), archive


def test_arms_spend_alike_and_begin_alike(compared):
    result, archive = compared
    for repeat in range(SIZE["repeats"]):
        full, without = (list(archive.proposals(result.run_of(arm, repeat))) for arm in result.search.arms)
        assert len(full) == len(without) == SIZE["candidates"]
        first = [[row["address"] for row in side if row["generation"] == 0] for side in (full, without)]
        assert first[0] == first[1] and len(first[0]) == 4
        assert not any(o["kind"] == "cognition" for row in without for o in row["origins"])
    with_it = [row for r in range(SIZE["repeats"]) for row in archive.proposals(result.run_of("full", r))]
    assert any(o["kind"] == "cognition" for row in with_it for o in row["origins"])


def test_later_gains_are_those_of_the_first_rung(compared):
    result, archive = compared
    for arm in result.search.arms:
        for repeat, found in result.later(arm).items():
            run = result.run_of(arm, repeat)
            trials = [t for t in archive.trials(run, "explore") if t.task == "text" and t.value is not None]
            lowest = min(t.steps for t in trials)
            seed = min(t.seed for t in trials if t.steps == lowest)
            values = {t.address: t.value for t in trials if (t.steps, t.seed) == (lowest, seed)}
            own = [t.value for t in trials if t.steps == lowest and archive.candidate(t.address)["name"] == "delta_net"]
            start = fmean(own)
            later = [r["address"] for r in archive.proposals(run) if r["generation"] > 0 and r["address"] in values]
            assert found == pytest.approx(fmean(start - values[a] for a in later))


def test_effects_are_paired_by_repeat_and_widened(compared):
    result, _ = compared
    (comparison,) = arms.compare(result)
    for effect, of in ((comparison.winners, result.gains), (comparison.later, lambda a: result.later(a))):
        differences = [of("full")[r] - of("no_cognition")[r] for r in range(SIZE["repeats"])]
        assert effect.mean == pytest.approx(fmean(differences))
        assert (effect.n, effect.num_comparisons) == (SIZE["repeats"], 2)
        assert effect.low <= effect.mean <= effect.high


def test_the_report_is_plain_data_and_its_table_says_the_same(compared):
    result, _ = compared
    found = arms.report(result)
    assert json.loads(json.dumps(found)) == found
    text = "\n".join(arms.lines(found, arms.compare(result)))
    for row in found["arms"]:
        assert row["proposals"] == SIZE["repeats"] * SIZE["candidates"]
        assert row["scored"] + row["refused"] + row["failed"] == row["proposals"]
        later = [g for r in range(SIZE["repeats"]) for n, g in result.first_rung(row["arm"], r) if n and g is not None]
        assert (row["discoveries"], row["scored_later"]) == (sum(g > arms.DISCOVERY for g in later), len(later))
        assert f"{row['discoveries']} of {row['scored_later']}" in text
        assert f"{fmean(row['winners']):+.4f}" in text and f"{fmean(row['later']):+.4f}" in text
    assert text.count("full against no_cognition") == 2 and "(n=3 pairs" in text


def test_a_refusal_is_no_failure():
    ends = [SCORED, Outcome("rejected", "too large", "match"), Outcome("crashed", "as told"), Outcome("timed_out", "x")]
    archive = SimpleNamespace(results=lambda run: [{"outcome": end} for end in ends])
    assert arms.ends_of(archive, "a run") == {"scored": 1, "refused": 1, "failed": 2}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 0.3, "full loop is ahead by 0.200"), (-0.3, -0.1, "arm is ahead by 0.200"), (-0.1, 0.5, "no difference")],
)
def test_only_an_interval_beside_zero_is_a_difference(low, high, said):
    from asiarc.evidence import Effect

    effect = Effect(mean=(low + high) / 2, low=low, high=high, n=3, sd=0.1, p_value=0.1, test="paired t")
    assert said in arms.Comparison("random", effect, effect).lines()[0]


def test_what_cannot_be_compared_is_refused():
    models = Models(researcher=("m",), prices={"m": (0, 0)})
    with pytest.raises(CampaignError, match="declares its arms itself"):
        arms.arms_of(campaign(models=models, researcher="llm"), ("random",), "quick", **SIZE)
    with pytest.raises(CampaignError, match=r"unknown arm 'no_cognitoin'. Did you mean 'no_cognition'"):
        arms.arms_of(campaign(), ("no_cognitoin",), "quick", **SIZE)
    with pytest.raises(CampaignError, match="name each arm once"):
        arms.arms_of(campaign(), ("random", "random"), "quick", **SIZE)
    with pytest.raises(CampaignError, match="name at least one arm"):
        arms.arms_of(campaign(), (), "quick", **SIZE)


def test_the_command_plans_and_runs_nothing(tmp_path, monkeypatch):
    file = tmp_path / "campaign_question.toml"
    file.write_text(to_toml(campaign()))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["arms", str(file), "--plan"])
    assert done.exit_code == 0 and "trials, about" in done.output
    assert not (tmp_path / ".asiarc").exists() and not (tmp_path / "results").exists()
