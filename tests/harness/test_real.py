"""The whole loop with nothing faked: real candidates, the real sandbox, training on a text of one's own, lm-eval; as
small as it gets."""

from __future__ import annotations

import pytest

from asiarc.archive.store import Archive
from asiarc.core.seeds import rng_of

CAMPAIGN = """
from asiarc import Budget, Campaign, Stage, by_tier

tiny = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    explore=Stage(tasks=("text:texts/[1] book.txt",)),  # a text of its own, which jobs open in the cache
    budget=by_tier(smoke=Budget(candidates=2, minutes=20)),
)


def test_scored(outcome):
    assert outcome.evaluated == 2
"""


def what_happened(folder):
    """Everything of an archive that a seed decides: proposals, outcomes, values, curves, insights."""
    with Archive(folder, write=False) as archive:
        (run,) = archive.runs()
        trials = {
            t.key: (t.address, str(t.outcome), t.value, t.curve, t.parameters) for t in archive.trials(run["run"])
        }
        proposals = [(p["address"], p["parents"], p["motivation"]) for p in archive.proposals(run["run"])]
        results = [(r["address"], str(r["outcome"]), r["gain"], r["scores"]) for r in archive.results(run["run"])]
        return run["run"], trials, proposals, results, [i["insight"] for i in archive.insights(run["run"])]


@pytest.fixture
def campaign(pytester, monkeypatch):
    rng = rng_of("book")
    words = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(3000)]
    book = pytester.path / "texts" / "[1] book.txt"
    book.parent.mkdir()
    book.write_text("\n\n".join(" ".join(rng.choices(words, k=60)) for _ in range(600)), encoding="utf-8")
    monkeypatch.setenv("ASIARC_CACHE", str(pytester.path / "cache"))
    (pytester.path / "tmp[1]").mkdir()
    monkeypatch.setenv("TMPDIR", str(pytester.path / "tmp[1]"))
    return pytester.makepyfile(campaign_tiny=CAMPAIGN)


def test_the_same_seed_finds_the_same_with_any_number_of_workers(pytester, campaign):
    for workers in (1, 2):
        arguments = [campaign, "--workers", str(workers), "--store", f"store{workers}", "-p", "no:cacheprovider"]
        result = pytester.runpytest_subprocess(*arguments)
        result.assert_outcomes(passed=2)
    one, two = (what_happened(pytester.path / f"store{workers}") for workers in (1, 2))
    assert one == two
    assert len(one[1]) == 3, "two candidates and the baseline, one trial each"
    assert all(value is not None for _, _, value, _, _ in one[1].values())
    again = pytester.runpytest_subprocess(campaign, "--store", "store1", "-v", "-p", "no:cacheprovider")
    again.assert_outcomes(passed=2)
    again.stdout.no_fnmatch_line("*steps*CPU*")  # nothing was trained a second time
    assert what_happened(pytester.path / "store1") == one
