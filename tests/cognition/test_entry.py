"""Entries: what is read is what was written, and what is wrong is named with its place."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.cognition import CognitionError, Entry, Publication
from asiarc.cognition.entry import FIELDS, as_toml, load_file, mechanisms
from asiarc.core.genome import Genome, domain

PAPER = {"title": "A title long enough", "authors": "A. Author", "year": 2024, "identifier": "arXiv:2412.06464"}
ENTRY = {
    "id": "an-entry",
    "problem": "something is observed to go wrong",
    "trigger": "the score of some task is low",
    "mechanism": "do something about it that is described at some length here",
    "equation": "y = x",
    "cost": "none at all",
    "limits": "none that are known",
}


def written(folder: Path, paper: dict = PAPER, entry: dict = ENTRY, extra: str = "") -> Path:
    def table(fields):
        return "\n".join(f"{key} = {value!r}" for key, value in fields.items() if value is not None)

    path = folder / "entries.toml"
    path.write_text(f"{extra}\n[[paper]]\n{table(paper)}\n[[paper.entry]]\n{table(entry)}\n", encoding="utf-8")
    return path


def test_a_file_is_read_as_written(tmp_path):
    (entry,) = load_file(written(tmp_path, entry=ENTRY | {"grammar": "memory=gated_delta"}))
    assert entry.paper.model_dump() == PAPER
    assert {name: getattr(entry, name) for name in ENTRY} == ENTRY
    assert entry.grammar == "memory=gated_delta" and entry.evidence is None


def test_an_entry_cannot_be_changed(tmp_path):
    (entry,) = load_file(written(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        entry.problem = "another"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ENTRY | {"mechansim": "x"}, "unknown field 'mechansim'. Did you mean 'mechanism'?"),
        (ENTRY | {"trigger": None}, "field 'trigger' is missing"),
        (ENTRY | {"grammar": "memory=gated_detla"}, "Did you mean 'memory=gated_delta'?"),
        (ENTRY | {"grammar": "gated_delta"}, "unknown mechanism 'gated_delta'"),
        (ENTRY | {"id": "An Entry"}, "field 'id'"),
        (ENTRY | {"cost": ""}, "field 'cost'"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, entry, message):
    with pytest.raises(CognitionError) as caught:
        load_file(written(tmp_path, entry=entry))
    assert message in str(caught.value)
    assert "entries.toml: paper 1 (A title long enough)" in str(caught.value)


@pytest.mark.parametrize(
    "identifier",
    [
        "2412.06464",
        "arXiv:2413.06464",
        "arXiv:2412.0646x",
        "arXiv:241.06464",
        "doi:11.1/x",
        "https://x.org",
        "arXiv:",
        "",
    ],
)
def test_an_identifier_that_cannot_be_looked_up_is_refused(tmp_path, identifier):
    with pytest.raises(CognitionError, match="not an identifier that can be looked up"):
        load_file(written(tmp_path, paper=PAPER | {"identifier": identifier}))


@pytest.mark.parametrize(
    "identifier", ["arXiv:2412.06464", "doi:10.1137/0908009", "openreview:P1TCHxJwLB", "asiarc:c_1/0123abcd"]
)
def test_identifiers_of_every_kind_are_accepted(tmp_path, identifier):
    (entry,) = load_file(written(tmp_path, paper=PAPER | {"identifier": identifier}))
    assert entry.paper.identifier == identifier


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[paper", "cannot be read as TOML"),
        ("[[papers]]\ntitle = 'x'", "unknown table 'papers'. Did you mean 'paper'?"),
        ("[paper]\ntitle = 'x'", "write [[paper]], not [paper]"),
        ("paper = 3", "write [[paper]]"),
        ("\n".join(["[[paper]]", *(f"{k} = {v!r}" for k, v in PAPER.items())]), "has no entry"),
        ("[[paper]]\nyear = 'x'", "paper 1 (no title)"),
    ],
)
def test_a_file_that_is_no_entry_file_is_refused(tmp_path, text, message):
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CognitionError) as caught:
        load_file(path)
    assert message in str(caught.value) and "wrong.toml" in str(caught.value)


def test_a_missing_or_foreign_file_is_a_user_error(tmp_path):
    with pytest.raises(CognitionError, match="cannot be read"):
        load_file(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"title = '\xe9'")
    with pytest.raises(CognitionError, match="cannot be read"):
        load_file(tmp_path / "latin.toml")


def test_mechanisms_are_exactly_the_choices_of_a_genome():
    assert {f"{name}={value}" for name, value in Genome().model_dump().items()} <= mechanisms()
    assert len(mechanisms()) == sum(len(values) for values in domain().values())
    assert "rotary=True" in mechanisms() and "memory=kda" in mechanisms()


# Whatever a text holds must survive: quotes, backslashes, newlines, control and astral characters.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=50, max_size=80).filter(
    lambda t: len(t.strip()) >= 45
)


@given(st.lists(st.tuples(st.integers(0, 2), texts), min_size=1, max_size=4))
def test_toml_round_trip(tmp_path_factory, rows):
    papers = [Publication(**PAPER | {"year": 2000 + n, "title": f"Title number {n}"}) for n in range(3)]
    entries = [
        Entry(id=f"e-{i}", paper=papers[which], **dict.fromkeys(FIELDS, text)) for i, (which, text) in enumerate(rows)
    ]
    path = tmp_path_factory.mktemp("round") / "x.toml"
    path.write_text(as_toml(entries), encoding="utf-8", newline="")
    assert list(load_file(path)) == entries


def test_neighbours_of_one_paper_share_its_table():
    paper = Publication(**PAPER)
    two = [Entry(paper=paper, **ENTRY | {"id": f"e-{i}"}) for i in range(2)]
    (table,) = tomllib.loads(as_toml(two))["paper"]
    assert len(table["entry"]) == 2
