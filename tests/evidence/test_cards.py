"""From a search to its table and cards, with a laboratory in the place of training."""

import json
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

import asiarc.engineer.workshop
from asiarc.archive.store import Archive
from asiarc.core.errors import CandidateError
from tests.harness.fakes import Bench, FakeExecutor, budget, campaign, still
from tests.rigs import cards, discoveries

CAMPAIGN = "asi_arch"


@contextmanager
def laboratory(*_, **__):
    yield FakeExecutor()


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A finished search at full, the folder of results, and what runs a rig's command over both."""
    monkeypatch.setattr(asiarc.engineer.workshop, "trial_executor", laboratory)
    monkeypatch.setattr(discoveries, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(cards, "FOLDER", tmp_path / "results")
    asked = campaign(budget=budget(8), verify=None, confirm=None)
    Bench(asked, tmp_path / "search", name=CAMPAIGN, tier="full").run()

    def run(command, *words):
        options = ["--searched", str(tmp_path / "search"), "--store", str(tmp_path / "store"), "--top", "4"]
        with still():
            result = CliRunner().invoke(command, [*words, *options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return tmp_path / "results" / CAMPAIGN

    return run


@pytest.fixture
def table(desk):
    """The folder with the table."""
    desk(discoveries.main, "train")
    return desk(discoveries.main, "table")


def test_every_chosen_one_has_a_card_with_its_line_parts_cost_and_the_way_to_train_it_again(desk, table):
    desk(cards.main)
    rows = cards.carded(json.loads((table / "table.json").read_text()))
    told = json.loads((table / "cards" / "cards.json").read_text())
    assert [one["name"] for one in told] == [row["name"] for row in rows] and told
    for one in told:
        text = (table / "cards" / f"{one['name']}.md").read_text()
        assert one["lineage"][-1]["name"] == one["name"] and f"| {one['name']}, proposal" in text
        assert f"retrain results/discovery/{CAMPAIGN} {one['name']} --against {one['found']['weakest']}" in text
        assert "| delta_net | 100,000 | 8,192 |" in text
        assert ("taken away: " in text) == isinstance(one["reduced"], dict)
        assert (table / "cards" / f"{one['name']}.py").read_text().startswith('"""')


def test_what_is_trained_for_a_card_is_not_trained_again(desk, table, monkeypatch):
    desk(cards.main)
    before = (table / "cards" / "cards.json").read_text()

    @contextmanager
    def refusing(*_, **__):
        yield type("Refusing", (FakeExecutor,), {"run": lambda *_: pytest.fail("trained again")})()

    monkeypatch.setattr(asiarc.engineer.workshop, "trial_executor", refusing)
    desk(cards.main)
    assert (table / "cards" / "cards.json").read_text() == before


def test_an_empty_gallery_has_cards_of_the_nearest_and_says_so():
    rows = [{"name": f"n{i}", "mean": 1.0 + i, "is_discovery": False} for i in range(6)]
    assert [row["name"] for row in cards.carded({"finalists": rows[::-1]})] == ["n0", "n1", "n2"]
    rows[4]["is_discovery"] = True
    assert [row["name"] for row in cards.carded({"finalists": rows})] == ["n4"], "a gallery has the discoveries alone"


def test_one_whose_parts_are_not_known_has_a_card_that_says_so(tmp_path):
    row = {"name": "mine", "genome": None, "source": '"""Mine."""\n'}
    with pytest.raises(CandidateError) as reason:
        cards.genome_of(row["name"], row["genome"], row["source"])
    assert cards.reduced(row, tmp_path, 1) == str(reason.value)


def test_a_stranger_finds_the_rows_that_a_card_speaks_of(table):
    """`asiarc retrain` opens the folder by its extract."""
    from asiarc.harness.stranger_verbs import rows_of
    from asiarc.studies.retraining import published

    with rows_of(table) as archive:
        assert isinstance(archive, Archive)
        name = json.loads((table / "table.json").read_text())["finalists"][0]["name"]
        address = {row["name"]: row["address"] for row in archive.rows("SELECT name, address FROM candidates")}
        found = published(archive, address[name], address["kda"])
        assert found.task == discoveries.DECIDES and found.effect.n == discoveries.SEEDS_AGAIN
