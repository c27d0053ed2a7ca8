"""Controls in a campaign: trained beside the baselines where evidence is made, and of no say in who wins."""

from __future__ import annotations

from collections import Counter

import pytest

from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.campaign.identity import run_identity
from asiarc.core.errors import CampaignError
from asiarc.models.controls import CONTROL_NAMES
from asiarc.report.answer import answer, facts_of
from asiarc.report.facts import stage_facts
from asiarc.report.ground import _campaign as problems_of
from asiarc.studies.plan import stage_trials, validity_lines

from .fakes import Bench, FakeExecutor, candidate, still, written

SOURCES = [candidate(f"c{i}", GAIN=gain, ID=i) for i, gain in enumerate((0.1, 0.3))]


def ran(folder, **changes):
    executor = FakeExecutor()
    bench = Bench(written(*SOURCES, **changes), folder)
    bench.run(executor)
    return bench, executor


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return {names: ran(tmp_path_factory.mktemp("run"), controls=names) for names in ((), CONTROL_NAMES)}


def read(bench, then):
    with still(), Archive(bench.folder, write=False) as archive:
        return then(CampaignResult.load(archive, archive.runs()[0]["run"]))


def asked(executor):
    return Counter((t["task"], t["seed"].split("/")[-2]) for t in executor.trials)


def test_controls_are_trained_in_verify_and_confirm_on_what_decides(both):
    more = asked(both[CONTROL_NAMES][1]) - asked(both[()][1])
    assert more == {("text", "verify"): 3 * 3, ("text", "confirm"): 3 * 4}


def test_controls_change_no_number_of_anybody_else(both):
    def numbers(reading):
        stages = [stage_facts(reading, stage) for stage in ("explore", "verify", "confirm")]
        return [(s["rows"], s["entrants"], s["told_apart"]) for s in stages], reading.levels, reading.winner_address

    assert repr(read(both[()][0], numbers)) == repr(read(both[CONTROL_NAMES][0], numbers))


def test_the_report_says_what_is_local_and_rows_bear_it_out(both):
    def told(reading):
        return stage_facts(reading, "confirm").get("memory"), answer(facts_of(reading))

    nothing, plain = read(both[()][0], told)
    (memory,), said = read(both[CONTROL_NAMES][0], told)
    assert nothing is None
    assert "not shown" not in plain
    assert set(memory["controls"]) == set(CONTROL_NAMES)
    assert {len(values) for values in memory["controls"].values()} == {4}
    assert memory["reason"].startswith("not shown to measure memory")
    assert "(not shown to measure memory)" in said
    for bench, _ in both.values():
        with still(), Archive(bench.folder, write=False) as archive:
            assert not list(problems_of(archive, archive.runs()[0]))


def test_a_control_that_was_not_trained_is_missed(both):
    bench = both[CONTROL_NAMES][0]
    with still(), Archive(bench.folder, write=False) as archive:
        row = archive.runs()[0]
        lost = dict(row["identity"]["controls"], another="0" * 12)
        told = list(problems_of(archive, row | {"identity": row["identity"] | {"controls": lost}}))
    assert any("000000000000 has 0 seeds on text" in line for line in told)


def test_plan_identity_and_price_know_them():
    with still():
        without, with_all = (written(*SOURCES, controls=names) for names in ((), CONTROL_NAMES))
        for stage, more in (("explore", 0), ("verify", 9), ("confirm", 12)):
            counts = [sum(n for n, _ in stage_trials(one, stage, "quick")) for one in (without, with_all)]
            assert counts[1] - counts[0] == more
        assert with_all.controls_at("smoke") == ()
        identities = [run_identity(one, "q", "quick") for one in (without, with_all)]
        assert [len(identity["controls"]) for identity in identities] == [0, 3]
        assert validity_lines(with_all, "verify") == ["text is not shown to measure memory: a gain on it may be local"]
        as_baseline = written(*SOURCES, baselines=("delta_net", "local_filter"), controls=CONTROL_NAMES)
        assert "local_filter" not in as_baseline.controls_at("quick")


def test_a_control_that_is_none_names_those_that_are():
    with pytest.raises(CampaignError, match="local_filter"):
        written(*SOURCES, controls=("local_filtre",))
