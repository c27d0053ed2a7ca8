"""Trials go from one store to another through a file, and are not trained again there."""

from __future__ import annotations

import shutil

import pytest

from asiarc.archive import extract
from asiarc.archive.store import Archive
from tests.harness.fakes import Bench, FakeExecutor, Refusing, candidate, written
from tests.rigs.kept import carried, keep, put_back


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A question with an answer, and the folder of its archive."""
    folder = tmp_path_factory.mktemp("first")
    question = written(candidate("a", GAIN=0.2), candidate("b", GAIN=0.1))
    Bench(question, folder).run(FakeExecutor())
    return question, folder


def trials(folder):
    with Archive(folder, write=False) as archive:
        return sorted((row["key"], row["value"]) for row in archive.rows("SELECT * FROM trials"))


def test_what_was_carried_is_not_trained_again(searched, tmp_path):
    question, folder = searched
    keep(folder, tmp_path / "trials.jsonl.gz")
    count = put_back(tmp_path / "trials.jsonl.gz", tmp_path / "second")
    assert count == len(trials(folder)) and trials(tmp_path / "second") == trials(folder)
    Bench(question, tmp_path / "second").run(Refusing())


def test_what_is_written_again_has_the_items_that_it_had(searched, tmp_path):
    folder = shutil.copytree(searched[1], tmp_path / "store")
    first, second = tmp_path / "first.jsonl.gz", tmp_path / "second.jsonl.gz"
    with Archive(folder) as archive:
        keys = [row["key"] for row in archive.rows("SELECT key FROM trials ORDER BY key")]
        archive.add_items(keys[0], [{"value": [-1.23, 4]}, {"value": [-70.04, 9]}, {"value": [-0.06, 4]}])
        archive.add_items(keys[1], [{"value": 1}, {"value": 0}])
    keep(folder, first)
    assert sum(table == "items" for table, _ in extract.each(first)) >= 2
    put_back(first, tmp_path / "second")
    keep(tmp_path / "second", second)
    assert second.read_bytes() == first.read_bytes()
    with carried(tmp_path / "second", second):
        pass
    assert second.read_bytes() == first.read_bytes(), "rounded once"


def test_what_is_added_within_is_kept_however_it_ends(searched, tmp_path):
    question, _ = searched
    store, file = tmp_path / "store", tmp_path / "results" / "trials.jsonl.gz"
    with pytest.raises(KeyboardInterrupt), carried(store, file):
        Bench(question, store).run(FakeExecutor(interrupt_at=9))
    assert file.exists() and put_back(file, tmp_path / "other") == len(trials(store)) > 0
    before = trials(store)
    with carried(store, file):
        pass
    assert trials(store) == before, "put back beside what is there"


def test_nothing_trained_leaves_no_file(tmp_path):
    with carried(tmp_path / "store", tmp_path / "trials.jsonl.gz"):
        pass
    assert not (tmp_path / "trials.jsonl.gz").exists()
