"""Search: against a reference BM25, deterministic, quiet, and importing nothing heavy before the first query."""

import math
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.cognition import Base, CognitionError, hits
from asiarc.cognition.base import WEAKNESSES, WEIGHTS, _document, query_of, shipped, tokens_of
from asiarc.cognition.library import POOL, K, read_around
from asiarc.tasks.catalogue import ALIASES, CATALOGUE

from .test_entry import ENTRY, written


def bm25(documents, query, k1=1.5, b=0.75):
    """Okapi BM25 with Lucene's idf, straight from Robertson and Zaragoza 2009."""
    counts, mean = [Counter(d) for d in documents], sum(map(len, documents)) / len(documents)
    scores = []
    for document, count in zip(documents, counts, strict=True):
        score = 0.0
        for word in query:
            holders = sum(word in c for c in counts)
            idf = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
            length = 1 - b + b * len(document) / mean
            score += idf * count[word] / (count[word] + k1 * length) if count[word] else 0.0
        scores.append(score)
    return scores


@pytest.mark.parametrize("weights", [WEIGHTS, dict.fromkeys(WEIGHTS, 1)])
@pytest.mark.parametrize("query", ["stale value after a key is written again", "parity", "router collapse one branch"])
def test_scores_are_bm25(query, weights):
    base = Base(shipped().entries, weights)
    expected = bm25([_document(entry, weights) for entry in base.entries], tokens_of(query))
    ranked = sorted(range(len(base)), key=lambda i: (-expected[i], base.entries[i].id))
    ranked = [i for i in ranked if expected[i] > 0][:10]
    found = base.search(query, 10)
    assert [hit.score for hit in found] == pytest.approx([expected[i] for i in ranked], rel=1e-4)
    assert {hit.entry.id for hit in found[:5]} == {base.entries[i].id for i in ranked[:5]}


def test_an_entry_answers_its_own_trigger():
    base = shipped()
    missed = [e.id for e in base.entries if base.search(e.trigger, 1)[0].entry.id != e.id]
    assert missed == []


def test_the_order_of_files_does_not_matter():
    base = shipped()
    turned = Base(tuple(reversed(base.entries)))
    query = "recall of many pairs fails"
    assert {h.entry.id: h.score for h in base.search(query, 5)} == pytest.approx(
        {h.entry.id: h.score for h in turned.search(query, 5)}
    )


def test_equal_scores_are_ordered_by_id():
    twin = shipped()["delta-rule"]
    base = Base(tuple(twin.model_copy(update={"id": name}) for name in ("b", "c", "a")))
    assert [hit.entry.id for hit in base.search(twin.trigger, 3)] == ["a", "b", "c"]


@pytest.mark.parametrize("query", ["", "   ", "?!", "zzzz qqqq", "the of and", "\x00"])
def test_a_query_without_known_words_has_no_hits(query):
    assert shipped().search(query) == []
    assert hits(query) == ()


@given(st.text(max_size=200), st.integers(1, 20))
def test_any_query_is_answered_within_k(query, k):
    found = shipped().search(query, k)
    assert len(found) <= k
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert all(hit.score > 0 for hit in found)


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_tokens_ignore_case_and_punctuation(text):
    assert tokens_of(text.upper()) == tokens_of(text.lower()) == tokens_of(f"({text})!")


def test_endings_are_cut_alike():
    assert len(set(tokens_of("decays decayed decaying decay"))) == 1
    assert tokens_of("memories memory") == ["memory", "memory"]
    assert tokens_of("loss") == ["loss"]


def test_hits_name_distinct_mechanisms_of_the_grammar():
    found = hits("stale bindings, bits per byte on text, recall of many pairs", k=8)
    assert len(found) == 8 and len({hit.mechanism for hit in found}) == 8
    assert all(shipped()[hit.entry].grammar == hit.mechanism for hit in found)
    assert all(shipped()[hit.entry].paper.title == hit.title for hit in found)


def test_hits_leave_out_what_the_parent_has():
    first, *rest = hits("overwrite", k=4)
    assert hits("overwrite", k=3, without={first.mechanism}) == tuple(rest)


def test_every_task_of_the_catalogue_has_a_meaning():
    assert set(WEAKNESSES) == {*CATALOGUE, *ALIASES}


@pytest.mark.parametrize(
    ("task", "mechanism"),
    [
        ("overwrite", "memory=delta"),
        ("reset", "memory=gated_delta"),
        ("parity", "negative_eigenvalues=True"),
        ("s3", "memory=delta_product"),
        ("selective_copying", "memory=ssd"),
    ],
)
def test_a_weak_task_finds_what_the_literature_answers(task, mechanism):
    assert mechanism in {hit.mechanism for hit in hits(task, k=3)}
    assert hits(f"Weakest on {task} (-0.030 against delta_net).", k=3)


def test_own_entries_join_the_shipped_ones(tmp_path):
    path = written(tmp_path, entry=ENTRY | {"trigger": "the flux capacitor oscillates wildly"})
    for extra in (path, tmp_path):
        base = Base.load(extra)
        assert len(base) == len(shipped()) + 1
        assert base.search("flux capacitor", 1)[0].entry.id == "an-entry"


def test_a_missing_folder_or_entry_is_a_user_error(tmp_path):
    with pytest.raises(CognitionError, match="no cognition entries at"):
        Base.load(tmp_path / "none")
    with pytest.raises(CognitionError, match="Did you mean 'delta-rule'"):
        shipped()["delta-rul"]


def test_importing_and_loading_stay_light_and_search_stays_quiet():
    code = (
        "import sys; from asiarc.cognition import Base, hits; base = Base.load();"
        "heavy = {'bm25s', 'numpy', 'scipy', 'torch'} & set(sys.modules); assert not heavy, heavy;"
        "assert hits('reset'); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_processes_give_the_same_hits():
    code = "from asiarc.cognition import hits; print(hits('text', 5), hits('recall', 5))"
    outs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outs) == 1 and "CognitionHit" in outs.pop()


def test_reading_varies_with_the_seed_and_with_nothing_else():
    queries = ("text", "a memory that corrects what a key holds", "delta rule l2 norm")
    found = [read_around(queries, seed) for seed in range(60)]
    assert found == [read_around(queries, seed) for seed in range(60)]
    entries = Counter(hit.entry for hits in found for hit in hits)
    assert all(len({hit.entry for hit in hits}) == len(hits) == K for hits in found)
    assert len(entries) >= 20
    for query in queries:
        best = [hit.entry.id for hit in shipped().search(query_of(query), POOL)]
        assert sum(entries[entry] for entry in best) >= 60, "an entry for each query"
        assert entries[best[0]] > entries[best[-1]], "what answers best comes most often"


@pytest.mark.parametrize("queries", [(), ("", "  "), ("qqqq",)])
def test_where_nothing_is_asked_or_found_nothing_is_read(queries):
    assert read_around(queries, 0) == ()
