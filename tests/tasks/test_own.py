"""A generator of one's own: what is kept of its file, what it must hold to, and what is refused with which words."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asiarc import Stage, task
from asiarc.core.errors import TaskError
from asiarc.tasks import get_task, opened
from asiarc.tasks.catalogue import CATALOGUE
from asiarc.tasks.declared import DeclaredTask
from asiarc.tasks.keep import own_folder
from asiarc.tasks.own import check
from asiarc.tasks.source import kept, made, source_of
from asiarc.tasks.synthetic import GENERATORS

HEAD = """\
import numpy as np
import asiarc

LETTERS = np.frombuffer(b"ABCD", dtype=np.uint8).astype(np.int64)
UNUSED = 1


def answers(text_BT, first):
    inputs_BT = np.concatenate([np.zeros((len(text_BT), 1), dtype=np.int64), text_BT[:, :-1]], axis=1)
    targets_BT = np.full(text_BT.shape, -100)
    targets_BT[:, first:] = text_BT[:, first:]
    return inputs_BT, targets_BT


"""
COPYING = (
    HEAD
    + '''\
@asiarc.task(chance=0.25, choices="ABCD", levels={"base": {"letters": 8}, "hard": {"letters": 16}})
def copying(rng, count, *, letters):
    """Some letters, twice."""
    said_BT = LETTERS[rng.integers(4, size=(count, letters))]
    return answers(np.concatenate([said_BT, said_BT], axis=1), letters)
'''
)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a task's file and gives its place; the cache is empty."""
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))

    def write(text, name="copying", file="tasks.py"):
        (tmp_path / file).write_text(textwrap.dedent(text), encoding="utf-8")
        return f"{tmp_path / file}:{name}"

    return write


def by_key(place, folder):
    return opened(place, folder, build=True)


def test_a_generator_is_a_task_like_any_other(written, tmp_path):
    mine = get_task(by_key(written(COPYING), tmp_path))
    batch = mine.batch("train", 5, 0)
    assert batch.inputs_BT.shape == (5, 16) and batch.inputs_BT.dtype == batch.targets_BT.dtype == np.int64
    assert (batch.targets_BT[:, 8:] == batch.inputs_BT[:, 1:9]).all(), "what is due is what was said"
    told = mine.chance, mine.metric, mine.role, mine.kind, mine.decides
    assert told == (0.25, "accuracy", "reported", "synthetic", False)
    for document in mine.documents("validation", 40, "items"):
        assert document["choices"][document["answer"]] == document["target"] == document["context"][-8]
    assert (mine.batch("validation", 5, 0).inputs_BT != batch.inputs_BT).any()
    hard = get_task(by_key(written(COPYING) + ":hard", tmp_path))
    assert hard.seq_len == 32 and hard.name.endswith(":hard") and hard.identity != mine.identity


def test_the_key_is_what_the_generator_rests_on(written, tmp_path):
    before = by_key(written(COPYING), tmp_path)
    same = [
        COPYING.replace("UNUSED = 1", "UNUSED = 2"),
        COPYING.replace("    said_BT =", "    # a comment\n    said_BT ="),
        COPYING.replace("Some letters, twice", "Another word for it"),
        "import json\n\n\n" + COPYING,
    ]
    assert {by_key(written(text), tmp_path) for text in same} == {before}
    assert by_key(written(COPYING, file="moved.py"), tmp_path) == before
    others = [
        COPYING.replace("rng.integers(4", "3 - rng.integers(4"),
        COPYING.replace("-100", "-100 + 0"),  # of a helper
        COPYING.replace('b"ABCD"', 'b"DCBA"'),  # of a table
        COPYING.replace('{"letters": 16}', '{"letters": 12}'),  # of the declaration
    ]
    assert len({before, *(by_key(written(text), tmp_path) for text in others)}) == 5


def test_what_is_kept_is_the_generators_part_each_line_in_its_place(written):
    campaign = (
        COPYING + "\n\nquestion = asiarc.Campaign(nonsense=True)\n\n\ndef test_seen(outcome):\n    assert outcome\n"
    )
    path, _, name = written("from asiarc import Budget\n" + campaign).rpartition(":")
    source = source_of(Path(path), name)
    assert "Campaign" not in source.text and "test_seen" not in source.text and "Budget" not in source.text
    original = ("from asiarc import Budget\n" + campaign).splitlines()
    assert all(line in ("", original[number]) for number, line in enumerate(source.text.splitlines()))
    assert made(source).chance == 0.25


def test_a_job_has_the_key_alone(written, tmp_path):
    name = by_key(written(COPYING), tmp_path)
    first = get_task(name).batch("train", 2, 0).inputs_BT
    (tmp_path / "tasks.py").unlink()
    assert (get_task(name).batch("train", 2, 0).inputs_BT == first).all()
    assert opened(name, tmp_path / "elsewhere", build=True) == name, "a key stays a key"
    assert [file.name for file in own_folder(name.partition(":")[2]).iterdir()] == ["open.json"]


@pytest.mark.parametrize("damage", ["gone", "no JSON", "another generator"])
def test_what_is_not_as_it_was_kept_is_not_run(written, tmp_path, damage):
    name = by_key(written(COPYING.replace("twice", damage)), tmp_path)
    file = own_folder(name.partition(":")[2]) / "open.json"
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(file.read_text().replace("integers(4", "integers(2") if damage[0] == "a" else "{")
    kept.cache_clear()
    with pytest.raises(TaskError, match="run again the campaign that names its file"):
        get_task(name)


def test_without_building_nothing_is_written(written, tmp_path):
    place = written(COPYING)
    assert opened(place, tmp_path, build=False) == place
    assert not (tmp_path / "cache").exists()


def test_the_decorated_function_stands_for_its_place():
    assert Stage(tasks=("text", ones)).tasks == ("text", f"{__file__}:ones")
    assert Stage(tasks=[ones.at("long")]).tasks == (f"{__file__}:ones:long",)
    assert ones(np.random.default_rng(0), 2, length=3)[0].shape == (2, 3)


@task(chance=0.5, levels={"base": {"length": 20}, "long": {"length": 40}})
def ones(rng, count, *, length):
    """Bits, each of which is said again at once."""
    bits_BT = 48 + rng.integers(2, size=(count, length))
    bits_BT[:, 0] = 0
    return bits_BT, np.concatenate([bits_BT[:, :1] - 100, 97 - bits_BT[:, 1:]], axis=1)


def test_rows_to_roll_over(written, tmp_path):
    text = COPYING.replace('chance=0.25, choices="ABCD"', 'metric="bits_per_byte", role="decides"').replace(
        "letters)\n", "0)\n"
    )
    mine = get_task(by_key(written(text), tmp_path))
    assert (mine.metric, mine.higher_is_better, mine.decides, mine.chance) == ("bits_per_byte", False, True, None)
    (document,) = mine.documents("validation", 1, "items")
    assert len(document["text"]) == 16 and document["text"][:8] == document["text"][8:]


# --- what is refused --------------------------------------------------------------------------------------------------

DECLARATIONS = {
    "by accuracy declares its chance": dict(),
    "lies between 0 and 1": dict(chance=1.5),
    "no other does": dict(chance=0.5, metric="bits_per_byte"),
    "unknown metric 'acuracy'. Did you mean 'accuracy'": dict(chance=0.5, metric="acuracy"),
    "unknown role 'decide'. Did you mean 'decides'": dict(chance=0.5, role="decide"),
    "has no 'base'": dict(chance=0.5, levels={"easy": {}}),
    "named by letters": dict(chance=0.5, levels={"base": {}, "a b": {}}),
    "two ASCII characters or more": dict(chance=0.5, choices="AA"),
}


@pytest.mark.parametrize("words", DECLARATIONS)
def test_a_declaration_that_means_nothing(words):
    with pytest.raises(TaskError, match=words):
        task(**DECLARATIONS[words])(ones.generator)


def test_a_function_that_jobs_could_not_find():
    def inside(rng, count):
        return ones(rng, count, length=3)

    with pytest.raises(TaskError, match="top of a file"):
        task(chance=0.5)(inside)


def test_a_level_that_is_not_there():
    with pytest.raises(TaskError, match=r"unknown level of task 'ones': 'lon'\. Did you mean 'long'"):
        ones.at("lon")


WRONG = {  # what is told -> what is put in the place of what in COPYING
    "returns a ndarray, not a pair": ("return inputs_BT, targets_BT", "return inputs_BT"),
    "inputs_BT is float64": ("return inputs_BT, targets_BT", "return inputs_BT * 1.0, targets_BT"),
    "where 3 rows were asked for": ("size=(count, letters)", "size=(4, letters)"),
    "they are of one shape": ("return inputs_BT, targets_BT", "return inputs_BT[:, 1:], targets_BT"),
    "all rows have one length": ("size=(count, letters)", "size=(count, letters + count % 2)"),
    r"opens with 0 \(BOS\)": ("np.zeros((len(text_BT), 1)", "np.ones((len(text_BT), 1)"),
    "inputs_BT holds 200": ('b"ABCD"', 'b"ABC\\xc8"'),
    "targets_BT holds -1": ("np.full(text_BT.shape, -100)", "np.full(text_BT.shape, -1)"),
    "ask for anything": ("targets_BT[:, first:] = text_BT[:, first:]", "targets_BT[:9, first:] = text_BT[:9, first:]"),
    "none of choices='ABC'": ('choices="ABCD"', 'choices="ABC"'),
    "other rows the second time: all that is random": ("rng.integers(4", "np.random.randint(4"),
    "and nothing kept": ("said_BT = LETTERS[rng.integers(4,", "said_BT = next(LETTERS_I)[rng.integers(4,"),
    "another seed gives the same rows": ("rng.integers(4", "np.random.default_rng(0).integers(4"),
    "by heart": ('{"letters": 8}', '{"letters": 3}'),
    "read already": ("return inputs_BT, targets_BT", "return inputs_BT, np.where(targets_BT > 0, inputs_BT, -100)"),
    "more than chance=0.1 says": ("chance=0.25", "chance=0.1"),
    r"tasks.py:18: copying raises IndexError": ("rng.integers(4", "rng.integers(5"),
    r"tasks.py:15: copying raises TypeError: .*'characters'": ('"base": {"letters": 8}', '"base": {"characters": 8}'),
    "at level 'hard': inputs_BT is float64": (
        "return answers(",
        "return letters > 8 and (said_BT * 1.0, said_BT) or answers(",
    ),
    "put what it needs of 'helpers'": ("LETTERS = ", "from helpers import LETTERS\nLETTERS = LETTERS or "),
    "put what it needs of '.tables'": ("LETTERS = ", "from .tables import LETTERS\nLETTERS = LETTERS or "),
    "is no task yet": ("@asiarc.task(", "@(lambda **_: lambda made: made)("),
    r"tasks.py:16: this is no Python": ("def copying", "def copying def"),
    "no 'base'": ('"base": {"letters": 8}, ', ""),
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_generator_is_refused_before_anything_is_kept(written, tmp_path, words):
    old, new = WRONG[words]
    assert COPYING.count(old) >= 1, old
    text = COPYING.replace(old, new, 1)
    text = text.replace("UNUSED = 1", "LETTERS_I = iter([LETTERS, LETTERS[::-1]] * 99)")
    with pytest.raises(TaskError, match=words):
        opened(written(text), tmp_path, build=True)
    assert not (tmp_path / "cache").exists()


def test_a_misspelt_place(written, tmp_path):
    place = written(COPYING)
    with pytest.raises(TaskError, match=r"unknown task of tasks\.py: 'coping'\. Did you mean 'copying'"):
        opened(place.replace(":copying", ":coping"), tmp_path, build=False)
    with pytest.raises(TaskError, match="no file or folder"):
        opened("elsewhere.py:copying", tmp_path, build=False)
    with pytest.raises(TaskError, match="unknown level of task 'copying': 'hardest'"):
        opened(place + ":hardest", tmp_path, build=False)


def test_the_shipped_generators_hold_to_the_rules():
    for name, generator in GENERATORS.items():
        listing = CATALOGUE[name]
        check(DeclaredTask(generator, replace(listing, levels={"base": listing.levels["base"]})))
