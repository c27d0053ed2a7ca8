"""The generators against readers written on their own, for every level; then what makes a benchmark
honest."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.errors import TaskError
from asiarc.tasks import BOS, IGNORE, SPLITS, get_task
from asiarc.tasks.catalogue import CATALOGUE
from asiarc.tasks.synthetic import GENERATORS, S3, S3_IDENTITY, S3_PRODUCT

_spec = importlib.util.spec_from_file_location("readers", Path(__file__).with_name("readers.py"))
readers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(readers)

LEVELS = [f"{name}:{level}" for name, entry in CATALOGUE.items() if entry.kind == "synthetic" for level in entry.levels]
READ = [name for name in LEVELS if not name.startswith("memorisation")]


def disagreement(base, inputs_BT, targets_BT, level_settings):
    """The first place where reader and target differ, as text to read; None when there is none."""
    for inputs_T, targets_T in zip(inputs_BT, targets_BT, strict=True):
        for t, answer in enumerate(readers.answers(base, inputs_T, level_settings)):
            # The answer to the last character of a fuzzy value that the end cuts off cannot be seen coming.
            if base == "fuzzy_recall" and t == len(inputs_T) - 1:
                continue
            due = None if targets_T[t] == IGNORE else chr(targets_T[t])
            if answer != due:
                return f"after {bytes(inputs_T[1 : t + 1].tolist()).decode()!r}: reader {answer}, target {due}"
    return None


@pytest.mark.parametrize("name", READ)
def test_targets_are_what_a_slow_reader_answers(name):
    task = get_task(name)
    batch = task.batch("validation", 24, "readers")
    assert disagreement(task.base, batch.inputs_BT, batch.targets_BT, task.settings) is None
    assert (batch.targets_BT != IGNORE).any(axis=1).all()


@pytest.mark.parametrize("level", ["memorisation", "memorisation:hard"])
def test_facts_hold_in_every_split(level):
    task = get_task(level)
    facts = {}
    for split in SPLITS:
        batch = task.batch(split, 64, "facts")
        assert (batch.targets_BT[:, 2::2] != IGNORE).all()
        assert (batch.targets_BT[:, ::2][:, 0] == IGNORE).all()
        assert (batch.targets_BT[:, 1::2] == IGNORE).all()
        for inputs_T, targets_T in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            for t in range(2, len(inputs_T), 2):
                key = (inputs_T[t - 1], inputs_T[t])
                assert facts.setdefault(key, targets_T[t]) == targets_T[t]
    assert len(facts) > 200
    assert len(set(facts.values())) == task.settings["values"]


@pytest.mark.parametrize("name", LEVELS)
def test_inputs_are_readable_and_open_with_bos(name):
    task = get_task(name)
    batch = task.batch("train", 32, "readable")
    assert batch.inputs_BT.dtype == batch.targets_BT.dtype == np.int64
    assert batch.inputs_BT.shape == batch.targets_BT.shape == (32, task.seq_len)
    assert (batch.inputs_BT[:, 0] == BOS).all()
    assert (batch.inputs_BT[:, 1:] > 32).all()
    assert (batch.inputs_BT[:, 1:] < 127).all()
    assert {chr(c) for c in np.unique(batch.targets_BT) if c != IGNORE} <= set(task.choices)


@pytest.mark.parametrize("name", LEVELS)
def test_an_answer_is_never_shown_before_it_is_due(name):
    """The character at a position is either the answer that was due just before, or no answer at all (by
    state)."""
    task = get_task(name)
    batch = task.batch("train", 8, "causal")
    shown, due = batch.inputs_BT[:, 1:], batch.targets_BT[:, :-1]
    if task.base in {"parity", "s3", "memorisation"}:
        assert not set(np.unique(batch.inputs_BT)) & set(np.unique(batch.targets_BT))
    else:
        assert (shown == due)[due != IGNORE].all()


@pytest.mark.parametrize("name", LEVELS)
def test_chance_is_what_the_best_blind_guesser_gets(name):
    """The most frequent answer at each position, learnt from other rows: nothing better is to be had
    unread."""
    task = get_task(name)
    rows = 600 if task.seq_len > 100 else 2_500
    targets_BT = task.batch("train", rows, "blind").targets_BT
    fresh_BT = task.batch("validation", rows, "blind").targets_BT
    guess_T = np.array([np.bincount(column[column > 0], minlength=1).argmax() for column in targets_BT.T])
    blind = (fresh_BT == guess_T)[fresh_BT != IGNORE].mean()
    constant = np.bincount(targets_BT[targets_BT > 0]).argmax()
    assert task.chance - 0.02 < blind < task.chance + 0.02
    assert (fresh_BT == constant)[fresh_BT != IGNORE].mean() < task.chance + 0.02


@pytest.mark.parametrize("name", LEVELS)
def test_an_address_is_a_batch(name):
    task = get_task(name)
    first, again = (get_task(name).batch("train", 16, "seed", 3) for _ in range(2))
    assert (first.inputs_BT == again.inputs_BT).all()
    assert (first.targets_BT == again.targets_BT).all()
    rows = set()
    for split in SPLITS:
        for step in range(3, 5):
            rows |= {row.tobytes() for row in task.batch(split, 16, "seed", step).inputs_BT}
    distinct = 6 * 16 if name != "recall:easy" else 6 * 16 - 1
    assert len(rows) >= distinct


@pytest.mark.parametrize("name", LEVELS)
def test_documents_ask_what_the_batch_asks(name):
    """Each document's context and answer stand at the same place in its row of the batch."""
    task = get_task(name)
    documents = task.documents("confirmation", 16, "run", 1)
    batch = task.batch("confirmation", 16, "run", 1)
    assert len(documents) == 16
    assert documents == task.documents("confirmation", 16, "run", 1)
    for document, inputs_T, targets_T in zip(documents, batch.inputs_BT, batch.targets_BT, strict=True):
        context, target = document["context"].encode(), document["target"].encode()
        assert bytes(inputs_T[1 : len(context) + 1].tolist()) == context
        assert targets_T[len(context) : len(context) + len(target)].tolist() == list(target)
        assert document["context"].split() == [document["context"]], "lm-eval would move or strip white space"
        if task.style == "choice":
            assert document["choices"][document["answer"]] == document["target"]
            assert len(set(document["choices"])) == len(document["choices"])


def test_fuzzy_documents_ask_for_whole_values():
    documents = get_task("fuzzy_recall").documents("validation", 64, "whole")
    assert {len(d["target"]) for d in documents} == {1, 2, 3}
    assert all(d["context"][-1].islower() for d in documents)


def test_documents_ask_at_many_places():
    places = {len(d["context"]) for d in get_task("parity").documents("validation", 64, "places")}
    assert len(places) > 20


def test_s3_is_a_group_whose_sign_is_parity():
    elements = range(6)
    for a in elements:
        assert S3_PRODUCT[a, S3_IDENTITY] == S3_PRODUCT[S3_IDENTITY, a] == a
        assert sorted(S3_PRODUCT[a]) == list(elements)
        for b in elements:
            for c in elements:
                assert S3_PRODUCT[S3_PRODUCT[a, b], c] == S3_PRODUCT[a, S3_PRODUCT[b, c]]
    assert (S3_PRODUCT != S3_PRODUCT.T).any()
    swap = [sum(p[i] == i for i in range(3)) == 1 for p in S3]
    assert swap == [True] * 3 + [False] * 3
    assert all(swap[S3_PRODUCT[a, b]] == (swap[a] != swap[b]) for a in elements for b in elements)


def test_alias_is_the_same_task():
    a, b = get_task("state_tracking:hard"), get_task("s3:hard")
    assert a.name == b.name == "s3:hard"
    assert a.identity == b.identity


def test_length_follows_where_the_task_is_a_stream():
    for name in ("parity", "s3", "memorisation", "in_context_recall", "fuzzy_recall"):
        task = get_task(name)
        batch = task.batch("train", 4, "long", seq_len=201)
        assert batch.inputs_BT.shape == (4, 201)
        if name != "memorisation":
            assert disagreement(name, batch.inputs_BT, batch.targets_BT, task.settings) is None
    with pytest.raises(TaskError, match=r"32 positions, not 64.*hard"):
        get_task("overwrite").batch("train", 4, seq_len=64)


def test_identities_differ():
    assert len({get_task(name).identity for name in LEVELS}) == len(LEVELS)


@pytest.mark.parametrize(
    ("given_name", "message"),
    [
        ("overwrit", "unknown task 'overwrit'.*Did you mean 'overwrite'"),
        ("overwrite:hrd", "level.*Did you mean 'hard'"),
        ("overwrite:", "level"),
        ("fineweb-edu:/tmp", "level"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(given_name, message):
    with pytest.raises(TaskError, match=message):
        get_task(given_name)


counts = st.integers(1, 12)


@st.composite
def drawn_settings(draw):
    """A task with settings that nobody chose by hand."""
    base = draw(st.sampled_from([*readers.READERS]))
    keys, values = draw(st.integers(1, 12)), draw(st.integers(1, 26))
    length = draw(st.integers(8, 70))
    return base, {
        "overwrite": {"keys": keys, "writes": keys + draw(st.integers(0, 20)), "values": values},
        "reset": {
            "segments": draw(st.integers(1, 4)),
            "pairs": draw(st.integers(1, keys)),
            "queries": draw(st.integers(1, keys)),
            "keys": keys,
            "values": values,
        },
        "recall": {"pairs": draw(st.integers(1, keys)), "keys": keys, "values": values},
        "selective_copying": {"slots": keys + draw(st.integers(0, 20)), "letters": keys, "values": values},
        "in_context_recall": {
            "length": length,
            "keys": keys,
            "values": values,
            "noise": draw(st.sampled_from([0.0, 0.3, 0.9])),
        },
        "fuzzy_recall": {"length": length, "motifs": keys, "letters": draw(st.integers(3, 6)), "values": values},
        "compression": {"letters": keys, "values": values},
        "parity": {"length": length},
        "s3": {"length": length, "generators": draw(st.integers(1, 6))},
    }[base]


@given(drawn=drawn_settings(), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_settings_agree_with_the_reader(drawn, seed):
    base, level_settings = drawn
    inputs_BT, targets_BT = GENERATORS[base](np.random.default_rng(seed), 3, **level_settings)
    assert disagreement(base, inputs_BT, targets_BT, level_settings) is None


@given(seed=st.integers(0, 2**32), where=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_reader_would_notice_one_wrong_target(seed, where):
    """A mutant of the data: the comparison above is able to fail."""
    inputs_BT, targets_BT = GENERATORS["overwrite"](np.random.default_rng(seed), 3, keys=4, writes=12, values=16)
    rows, places = np.nonzero(targets_BT != IGNORE)
    i = where % len(rows)
    targets_BT[rows[i], places[i]] += 1
    assert disagreement("overwrite", inputs_BT, targets_BT, {"writes": 12}) is not None


GOLDEN = {
    "overwrite:base": "bbfde78340f5",
    "overwrite:hard": "0230019a435e",
    "overwrite:extreme": "cb24b69859cb",
    "reset:base": "b6addf00b498",
    "reset:hard": "0efc6b83c4fb",
    "recall:easy": "fa1ac9335313",
    "recall:base": "631a3bd476c9",
    "recall:hard": "81d7b2b5ee51",
    "selective_copying:base": "c614bfd0128a",
    "selective_copying:hard": "b06f842f7865",
    "in_context_recall:base": "e924efdc822a",
    "in_context_recall:noisy": "f83edfcd9c0f",
    "in_context_recall:hard": "ffbb51641112",
    "fuzzy_recall:base": "c3d871e54987",
    "fuzzy_recall:hard": "329f61a9cce8",
    "compression:base": "8eced57d1470",
    "compression:hard": "819d6e715494",
    "memorisation:base": "128df6d38c66",
    "memorisation:hard": "a8b2e243aa79",
    "parity:base": "e38fee242522",
    "parity:hard": "8f58cefb5542",
    "s3:swaps": "f74e2f065043",
    "s3:base": "c5150cf23b5c",
    "s3:hard": "98f2a1478c57",
}


def digest(name):
    batch = get_task(name).batch("train", 8, "golden")
    return hashlib.blake2b(batch.inputs_BT.tobytes() + batch.targets_BT.tobytes(), digest_size=6).hexdigest()


@pytest.mark.parametrize("name", LEVELS)
def test_an_address_gives_the_same_bytes_for_ever(name):
    """Scores are comparable only on the same data: whoever changes a generator changes these."""
    assert digest(name) == GOLDEN[name]
