"""A large run is read in bounded memory: shares of it are held, counts and sums stay exact."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest

from asiarc.archive import results
from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.report import facts, tables
from asiarc.report.checks import verify
from asiarc.report.document import write
from tests.rigs.archive.million import RUN, address_of, build

SMALL, LARGE = 2_000, 8_000


pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Two runs, one four times the other."""
    folder = tmp_path_factory.mktemp("large")
    for size in (SMALL, LARGE):
        build(folder / str(size), size)
    return folder


@pytest.fixture(autouse=True)
def held(monkeypatch):
    monkeypatch.setattr(results, "WHOLE", 300)
    monkeypatch.setattr(results, "NAMED", 40)


def read(folder, size):
    """Everything that a report is made of, and the most memory that it took in bytes."""
    with Archive(folder / str(size), write=False) as archive:
        (row,) = facts.latest_runs(archive, "quick", None)
        tracemalloc.start()
        found = CampaignResult.load(archive, RUN)
        said = facts.campaign_facts(found, row, folder)
        figures = {kind: table(found, said) for kind, table in tables.FIGURE_TABLES.items()}
        facts.total_spend(archive, [RUN])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return said, figures, peak


def test_memory_does_not_grow_with_the_run(archives):
    peaks = [read(archives, size)[2] for size in (SMALL, LARGE)]
    assert peaks[1] < 1.1 * peaks[0] + 50_000, "four times as many proposals"


def test_counts_and_sums_are_those_of_the_whole_run(archives):
    said, figures, _ = read(archives, LARGE)
    with Archive(archives / str(LARGE), write=False) as archive:
        results, trials = archive.results(RUN), archive.trials(RUN)
    ran = said["ran"]
    assert (ran["proposed"], ran["pending"]) == (LARGE, 0)
    assert ran["outcomes"] == Counter(row["outcome"].kind for row in results)
    explore = ran["spend"][0]
    assert (explore["trials"], explore["cpu_s"]) == (len(trials), pytest.approx(sum(t.cpu_s for t in trials)))
    rejected = [row for row in results if row["outcome"].kind == "rejected"]
    (failure,) = said["failures"]
    assert failure["count"] == len(rejected)
    assert [row["number"] for row in failure["examples"]] == [row["number"] for row in rejected[:5]]
    assert [row["candidates"] for row in said["origins"][:2]] == [LARGE, LARGE - len(rejected)]
    ahead = sum(row["gain"] is not None and row["gain"] > 0 for row in results)
    last = figures["search"][-1]
    assert last["ahead"] <= ahead and last["cpu_s"] <= explore["cpu_s"]
    assert last["number"] > 0.99 * LARGE and last["cpu_s"] > 0.99 * explore["cpu_s"]


def test_what_is_shown_is_an_even_share_with_the_leading(archives):
    said, figures, _ = read(archives, LARGE)
    numbers = [row["number"] for row in figures["population"]]
    assert len(numbers) == said["ran"]["shown"] <= 300 + 40
    with Archive(archives / str(LARGE), write=False) as archive:
        leading = {row["number"] for row in archive.leading(RUN, 40)}
        trained = {trial["address"] for trial in CampaignResult.load(archive, RUN).held_trials}
    assert leading <= set(numbers) and set(numbers) - leading <= set(range(0, LARGE, 27))
    assert trained <= {address_of(number) for number in numbers}


def test_a_report_of_a_share_is_verified(archives, tmp_path):
    with Archive(archives / str(SMALL), write=False) as archive:
        write(archive, "quick", tmp_path / "quick")
    found = verify(tmp_path / "quick")
    assert not [one for one in found if one.startswith(("figures", "report"))], "drawn again, it is the same"


def test_a_run_up_to_the_limit_is_read_whole(archives, monkeypatch):
    monkeypatch.setattr(results, "WHOLE", SMALL)
    with Archive(archives / str(SMALL), write=False) as archive:
        found = CampaignResult.load(archive, RUN)
        assert len(found.proposals) == len(found.endings) == found.proposed == SMALL
        assert len(found.held_trials) == len(archive.trials(RUN))
