"""What a memory could know of a text, mixed rows, and code as text: against slow definitions."""

from __future__ import annotations

import ast
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.errors import TaskError
from asiarc.tasks import IGNORE, deciding, get_task
from asiarc.tasks.catalogue import CATALOGUE, ORDER
from asiarc.tasks.code import code_alone
from asiarc.tasks.mixed import KEYS, SPAN_BYTES
from asiarc.tasks.recurring import FAR, NOVELTIES, is_recurring, novelty
from asiarc.tasks.recurring import ORDER as USED


def by_definition(tokens, order, t):
    if t < order:
        return "new"
    before = tokens[t - order : t]
    places = [s for s in range(order, t) if tokens[s - order : s] == before]
    if not places:
        return "new"
    same = [s for s in places if tokens[s] == tokens[t]]
    if not same:
        return "diverging"
    return "near" if t - max(same) < FAR else "recurring"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 2), max_size=90), st.integers(1, 4))
def test_novelty_is_its_definition(tokens, order):
    assert [NOVELTIES[n] for n in novelty(tokens, order)] == [
        by_definition(tokens, order, t) for t in range(len(tokens))
    ]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=60), st.integers(0, 59))
@settings(deadline=None, max_examples=40)
def test_novelty_looks_at_nothing_that_follows(tokens, cut):
    assert novelty(tokens[:cut], 2).tolist() == novelty(tokens, 2)[:cut].tolist()


def test_a_name_that_comes_back_recurs_and_a_name_that_stands_near_does_not():
    name = b"frequency"
    far, near = (name + b"." * gap + b"!" + name for gap in (FAR, 3))
    assert is_recurring(far)[-(len(name) - ORDER) :].all()
    assert not is_recurring(near).any()
    assert ORDER == USED


# --- mixed rows -------------------------------------------------------------------------------------------------------


def replayed(text, binds_once):
    """What each question of a row is due, and how far back its key stood, by reading the spans in order."""
    bound, last, asked = {}, {}, []
    for place in (i for i, c in enumerate(text) if c == "<" and text[i + 4 : i + 5] == ">"):
        key, mark, value = text[place + 1 : place + 4]
        if mark == "?":
            asked.append((place + 3, value, bound[key], place - last[key]))
        elif mark == "+":
            bound[key] = str((int(bound.get(key, 0)) + 1) % 10)
        else:
            assert not binds_once or key not in bound, "recall binds a key once"
            bound[key] = value
        last[key] = place
    return asked


@pytest.mark.parametrize("level", list(CATALOGUE["mixed"].levels))
def test_what_is_asked_in_a_mixed_row_is_what_was_bound(level):
    task = get_task(f"mixed:{level}")
    texts = [document["text"] for document in task.documents("validation", 12, "here")]
    assert {len(text) for text in texts} == {task.seq_len}
    scored = 0
    for text in texts:
        asked = replayed(text, task.settings["kind"] == 0)
        assert all(value == due for _, value, due, _ in asked)
        is_due_T = task.scored(np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64))
        assert np.flatnonzero(is_due_T).tolist() == [place for place, _, _, back in asked if back >= FAR]
        scored += is_due_T.sum()
        assert text.count(">") >= task.settings["spans"]
    assert scored >= 12, "enough is asked far back"


def test_frequent_keys_are_the_first_letters_and_rare_ones_stand_far_back():
    """Bound as 1 over the rank: the first key sixteen times as often as the sixteenth."""
    texts = [document["text"] for document in get_task("mixed:zipf").documents("validation", 200, "here")]
    bound, asked = (re.findall(rf"<([A-P]){mark}[a-p]>", " ".join(texts)) for mark in ("=", r"\?"))
    assert set(bound) == set(asked) == set(KEYS[:16])
    assert 9 < bound.count("A") / max(1, bound.count("P")) < 27
    back = {key: [] for key in "AP"}
    for text in texts:
        for place, *_, since in replayed(text, binds_once=False):
            back.get(text[place - 2], []).append(since)
    assert np.mean(back["P"]) > 2 * np.mean(back["A"])


def test_a_mixed_row_is_its_address_and_its_prose_is_the_split_s():
    task = get_task("mixed")
    rows = [task.batch("train", 2, "seed", step).inputs_BT for step in (0, 0, 1)]
    assert (rows[0] == rows[1]).all()
    assert (rows[0] != rows[2]).any()
    longer = task.batch("train", 1, "seed", 0, seq_len=2 * task.seq_len).inputs_BT
    assert longer.shape == (1, 2 * task.seq_len)
    assert (longer == ord(">")).sum() >= 2 * task.settings["spans"]
    assert SPAN_BYTES * task.settings["spans"] < task.seq_len


def test_only_answers_are_trained_on():
    batch = get_task("mixed").batch("train", 4, "seed", 0)
    for inputs_T, targets_T in zip(batch.inputs_BT, batch.targets_BT, strict=True):
        text = bytes([*inputs_T[1:].tolist(), 0]).decode()
        asked = [place for place, *_ in replayed(text, binds_once=True) if place < len(text) - 2]
        trained = [place for place in np.flatnonzero(targets_T != IGNORE).tolist() if place < len(text) - 2]
        assert trained == asked and asked
        assert [chr(targets_T[place]) for place in asked] == [text[place] for place in asked]


def test_a_mixed_row_is_bytes():
    with pytest.raises(TaskError, match="are bytes"):
        get_task("mixed", "bpe-512")


# --- code and rows ----------------------------------------------------------------------------------------------------


def test_code_alone_has_neither_comments_nor_docstrings_and_is_still_python():
    source = (
        b'"""Module."""\n# a comment\ndef area_of_circle(radius):\n    """Doc."""\n    return 3.14 * radius  # why\n'
    )
    source += b'class Empty:\n    """Nothing but this, and it is a long line of words."""\nx = 1\n'
    (first, second) = code_alone(source + b"class Named(Empty, Exception):\n    '''Doc.'''\n    value_of_it = 1\n")
    assert first == "def area_of_circle(radius):\n    return 3.14 * radius"
    assert second.startswith("class Named")
    assert not any('"""' in text or "#" in text for text in (first, second))
    assert all(ast.parse(text) for text in (first, second))
    assert not list(code_alone(b"print 'no python of this version'"))


def test_longer_rows_are_fewer_and_leave_the_others_alone():
    from asiarc.core.recipe import MICRO, SMALL
    from asiarc.loop.trials import trial_recipe

    assert trial_recipe("text", MICRO, 7, 1.0) == MICRO.at(steps=7)
    for recipe in (MICRO, SMALL):
        long = trial_recipe("text:long", recipe, 7, 1.0)
        assert (long.seq_len, long.tokens) == (512, recipe.at(steps=7).tokens)
    assert trial_recipe("text:long", MICRO.at(seq_len=2048, batch_size=4), 7, 1.0).seq_len == 2048


def test_documents_of_long_rows_are_as_long():
    assert {len(d["text"]) for d in get_task("text:long").documents("validation", 3, "x")} == {512}
    assert get_task("text").scored(np.arange(9)) is None
    assert get_task("text:recurring").scored(np.arange(9)).tolist() == [False] * 9


def test_whatever_decides_says_what_it_would_take_to_measure_memory():
    for name, listing in CATALOGUE.items():
        assert 0 < listing.validity.share < 1
        assert listing.validity.shown.keys() <= listing.levels.keys(), name
        if listing.role == "decides":
            assert "local_filter" in listing.validity.controls


# --- what decides -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "decide"),
    [
        (("text", "overwrite"), ("text",)),
        (("text", "mixed:zipf", "overwrite"), ("mixed:zipf",)),
        (("mixed", "text"), ("mixed", "text")),
        (("mixed", "mixed:zipf-once"), ("mixed:zipf-once",)),
        (("overwrite", "recall"), ()),
        (("text", "text"), ("text",)),
    ],
)
def test_a_text_that_was_not_shown_to_measure_memory_stands_back_for_one_that_was(tasks, decide):
    assert deciding(tasks) == decide
