"""From a campaign's store to the base: only what confirm has shown, only a mechanism that the winner added, and then it
is found; and the searches that the command line offers."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.campaign.identity import moved_fields, run_identity
from asiarc.cognition import Base, CognitionError
from asiarc.cognition.base import ENTRIES, shipped
from asiarc.cognition.check import check
from asiarc.core.errors import CampaignError, EvidenceError
from asiarc.harness.cli import main
from asiarc.researcher.designs import BASELINES
from asiarc.studies.promotion import winners_entry
from tests.rigs.cognition.quality import main as quality
from tests.rigs.llm.loopback import Server, embeds

from ..harness.conftest import a_still_laboratory  # noqa: F401
from ..harness.fakes import Bench, Stage, candidate, written

START = BASELINES["delta_net"].model_dump()
BETTER = START | {"memory": "gated_delta", "norm": "none"}


def promoted(store, *more):
    return CliRunner().invoke(
        main, ["cognition", "promote", "question", "--tier", "quick", "--store", str(store), *more]
    )


def searched(folder, *sources, **changes):
    """A store with a confirmed campaign whose researcher proposed some sources, and one that is behind."""
    losing = candidate("losing", GAIN=-0.2, GENOME=START)
    Bench(written(*sources, losing, **changes), folder / "store").run()
    return folder / "store"


@pytest.fixture
def store(tmp_path):
    """Its winner is far ahead, by mechanisms that it adds."""
    return searched(tmp_path, candidate("winning", GAIN=0.4, GENOME=BETTER))


def test_a_confirmed_winner_enters_the_base_with_its_evidence(store, tmp_path):
    done = promoted(store, "--folder", str(tmp_path / "own"))
    assert done.exit_code == 0, done.output
    base = Base.load(tmp_path / "own")
    (entry,) = (entry for entry in base.entries if entry.id.startswith("verified-question-"))
    assert entry.grammar in ("memory=gated_delta", "norm=none")
    assert "gain +0.4" in entry.evidence and "n=4 pairs" in entry.evidence
    assert entry.paper.identifier.startswith("asiarc:question/") and "winning" in entry.paper.title
    assert check(base) == []
    found = CliRunner().invoke(
        main, ["cognition", "search", "winning candidate of campaign question", "--folder", str(tmp_path / "own")]
    )
    assert entry.id in found.output and "evidence   Against delta_net" in found.output
    again = promoted(store, "--folder", str(tmp_path / "own"))
    assert again.exit_code == 1 and "exists" in again.output


def test_smoke_is_no_evidence(tmp_path):
    """It shows that a campaign runs."""
    winning, losing = candidate("winning", GAIN=0.4, GENOME=BETTER), candidate("losing", GAIN=-0.2, GENOME=START)
    Bench(written(winning, losing), tmp_path / "store", tier="smoke").run()
    done = promoted(tmp_path / "store", "--tier", "smoke", "--folder", str(tmp_path / "own"))
    assert done.exit_code == 1 and "promote what a larger tier has shown: --tier quick" in done.output
    assert not (tmp_path / "own").exists()


def test_entries_of_ones_own_are_the_projects_and_read_by_who_names_them(store, tmp_path, monkeypatch):
    """The installed package stays as it is, and no run that did not name them gets another name."""
    shipped_files = {file: file.read_bytes() for file in ENTRIES.iterdir()}
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    plain = run_identity(written("a"), "question", "quick")
    done = promoted(store)
    assert done.exit_code == 0 and f"cognition=('{tmp_path / 'cognition'}',)" in done.output
    (file,) = (tmp_path / "cognition").iterdir()
    assert {file: file.read_bytes() for file in ENTRIES.iterdir()} == shipped_files
    assert run_identity(written("a"), "question", "quick") == plain
    reading = written("a", cognition=("cognition",)).at(tmp_path)
    named = run_identity(reading, "question", "quick")
    assert any(line.startswith("spec.cognition.cognition") for line in moved_fields(plain, named))
    assert len(shipped(reading.cognition)) == len(shipped()) + 1
    file.write_text(file.read_text() + "\n# another\n")
    assert run_identity(reading, "question", "quick") != named
    with pytest.raises(CampaignError, match="no entries at"):
        written("a", cognition=("elsewhere",)).at(tmp_path)


def test_what_is_not_better_on_fresh_seeds_stays_out(tmp_path):
    """It was the best of the search, by the luck of explore."""
    store = searched(tmp_path, candidate("lucky", GAIN=0.3, LATE_GAIN=-0.3, GENOME=BETTER))
    done = promoted(store, "--folder", str(tmp_path / "own"))
    assert done.exit_code == 1 and "only what is better on fresh seeds and items enters" in done.output
    assert not (tmp_path / "own").exists()


def test_a_mechanism_that_the_winner_does_without_was_not_verified(tmp_path):
    store = searched(tmp_path, candidate("winning", GAIN=0.4, GENOME=START))
    with Archive(store, write=False) as archive, pytest.raises(CognitionError, match="favours no mechanism"):
        winners_entry(CampaignResult.load(archive, archive.runs("question")[-1]["run"]))


def test_a_winner_that_the_grammar_did_not_write_enters_by_its_idea(tmp_path):
    store = searched(tmp_path, candidate("winning", GAIN=0.4))
    with Archive(store, write=False) as archive:
        entry = winners_entry(CampaignResult.load(archive, archive.runs("question")[-1]["run"]))
    assert entry.grammar is None and entry.mechanism.startswith("because What the analyst wrote of it: winning is ")


def test_without_confirm_there_is_nothing_to_promote(tmp_path):
    store = searched(
        tmp_path,
        candidate("winning", GAIN=0.4, GENOME=BETTER),
        verify=None,
        confirm=None,
        explore=Stage(tasks=("text",)),
    )
    with Archive(store, write=False) as archive, pytest.raises(EvidenceError, match="declares no verify"):
        winners_entry(CampaignResult.load(archive, archive.runs("question")[-1]["run"]))


def test_a_folder_that_cannot_be_written_is_said(store, tmp_path):
    (tmp_path / "file").write_text("")
    done = promoted(store, "--folder", str(tmp_path / "file" / "under"))
    assert done.exit_code == 1 and "give another --folder" in done.output


def test_the_command_line_searches_by_meaning_and_keeps_the_vectors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["cognition", "search", "anything", "-k", "1", "--dense", "m", "--base-url"]
    chosen = Base.load()["token-shift"]

    def vector_of(text):
        return [1.0, 0.0] if text == "anything" or text.startswith(chosen.trigger) else [0.0, 1.0]

    with Server((embeds(vector_of),)) as server:
        found = CliRunner().invoke(main, [*command, server.url])
        assert found.exit_code == 0 and found.output.startswith("token-shift  (score 1)"), found.output
        asked = len(server.requests)
        assert CliRunner().invoke(main, [*command, server.url]).output == found.output
        assert len(server.requests) == asked
    assert CliRunner().invoke(main, [*command, server.url]).output == found.output  # the server is gone
    kept = (tmp_path / ".asiarc" / "embeddings.jsonl").read_text().splitlines()
    assert len(kept) == asked and all(json.loads(line)["place"] == "embeddings" for line in kept)


def test_the_rig_measures_the_search_by_meaning_against_bm25(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Server((embeds(lambda text: [float(len(text) % 7), 1.0]),)) as server:
        done = CliRunner().invoke(quality, ["--dense", "m", "--base-url", server.url])
    assert done.exit_code == 0, done.output
    assert done.output.count("recall at 3, by meaning") == 2 and "gain of that over field-weighted" in done.output
