"""Vectors over a real server: asked once, replayed, paid for once, and what happens where they are none; and the search
by meaning that rests on them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.cognition.base import hits, shipped, tokens_of
from asiarc.cognition.dense import Dense, words_of
from asiarc.cognition.library import read_around
from asiarc.core.seeds import rng_of
from asiarc.llm import Client, Ledger, ModelError, Price, ReplayMissError, UnusableReplyError
from asiarc.llm.embedding import Embedder, cosines
from asiarc.llm.endpoint import Endpoint
from asiarc.llm.tape import MemoryTape
from tests.rigs.llm.loopback import Server, embeds, fails

KEY = "sk-never-to-be-seen"
SIZE = 64


def vector_of(text):
    """Words as directions that are drawn for them: texts that share words are near."""
    vector = [0.0] * SIZE
    for word in tokens_of(text):
        rng = rng_of("word", word)
        vector = [value + rng.gauss(0, 1) for value in vector]
    return vector


def whole(value, status=200):
    return lambda handler: handler.whole(status, value)


def reply(data, **more):
    return {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}} | more


def vector(numbers):
    return [{"object": "embedding", "index": 0, "embedding": numbers}]


class Asked:
    """An embedder over a server that plays a script."""

    def __init__(self, *script, most_usd=None):
        self.server, self.tape, self.waits = Server(script), MemoryTape(), []
        self.ledger = Ledger({"m": Price(1.0, 0)}, most_usd=most_usd)

    def __enter__(self):
        self.server.__enter__()
        endpoint = Endpoint(self.server.url, KEY, sleep=self.waits.append)
        self.embedder = Embedder(Client(self.tape, self.ledger, "record", endpoint), "m")
        return self

    def __exit__(self, *exception):
        self.server.__exit__(*exception)

    def replayed(self):
        return Embedder(Client(self.tape, Ledger({"m": Price(1.0, 0)})), "m")


def test_a_text_is_asked_for_once_and_replayed():
    with Asked(embeds(vector_of)) as asked:
        first = asked.embedder.vectors(["one text", "another", "one text"])
        assert first[0] == first[2] == pytest.approx(vector_of("one text"), abs=1e-5)
        assert asked.embedder.vectors(["another"]) == first[1:2]
        assert [body["input"] for body in asked.server.requests] in ([["one text"], ["another"]],
                                                                     [["another"], ["one text"]])  # fmt: skip
        assert asked.replayed().vectors(["one text", "another"]) == first[:2]
        with pytest.raises(ReplayMissError):
            asked.replayed().vectors(["a third"])


def test_what_is_used_often_is_paid_for_once():
    with Asked(embeds(vector_of)) as asked:
        for _ in range(5):
            Embedder(asked.embedder.client, "m").vectors(["one text"])
        account = asked.ledger.accounts["embedding"]
        assert (account.calls, account.prompt_tokens) == (1, 3) and len(asked.server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        whole(reply(vector([]))),
        whole(reply([])),
        whole({"error": None}),
        lambda handler: page(handler, "<html>This is no API.</html>"),
        lambda handler: page(handler, "{", kind="application/json"),
    ],
    ids=["an empty vector", "no vector", "another object", "a page", "broken JSON"],
)
def test_an_endpoint_that_gives_nothing_stops_the_run(answer):
    with Asked(answer) as asked, pytest.raises(ModelError, match="broken replies"):
        asked.embedder.vectors(["text"])


def page(handler, text, kind="text/html"):
    handler.send_response(200)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text.encode())


@pytest.mark.parametrize("numbers", [["a", "b"], [math.nan, 1.0], [math.inf], "AAAA", [None]])
def test_what_is_no_vector_is_unusable(numbers):
    with Asked(whole(reply(vector(numbers)))) as asked:
        with pytest.raises(UnusableReplyError):
            asked.embedder.vectors(["text"])
        assert len(asked.tape.exchanges) == 2  # it was asked once more, and both are kept
        with pytest.raises(UnusableReplyError):
            asked.replayed().vectors(["text"])


def test_vectors_of_two_lengths_are_unusable():
    with (
        Asked(embeds(lambda text: [1.0] * (1 + len(text) % 2))) as asked,
        pytest.raises(UnusableReplyError, match="2 lengths"),
    ):
        asked.embedder.vectors(["a", "bb"])


def test_without_usage_the_bound_is_booked():
    with Asked(whole(reply(vector([1.0, 2.0]), usage=None))) as asked:
        assert asked.embedder.vectors(["text"]) == [[1.0, 2.0]]
        (exchange,) = asked.tape.exchanges.values()
        assert not exchange.reply.counted and exchange.reply.prompt_tokens == exchange.question.most_prompt_tokens


def test_waits_and_caps_hold_for_vectors_too():
    with Asked(fails(429, "slow", retry_after="7"), embeds(vector_of)) as asked:
        asked.embedder.vectors(["text"])
        assert asked.waits == [7]
    from asiarc.core.errors import BudgetExhaustedError

    with Asked(embeds(vector_of), most_usd=1e-6) as asked, pytest.raises(BudgetExhaustedError):
        asked.embedder.vectors(["text"])
    assert asked.server.requests == []


@given(st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=1, max_size=6))
def test_cosines_are_the_cosines(vectors):
    for other, found in zip(vectors[1:], cosines(vectors[0], vectors[1:]), strict=True):
        sizes = math.hypot(*vectors[0]) * math.hypot(*other)
        expected = sum(a * b for a, b in zip(vectors[0], other, strict=True)) / sizes if sizes > 1e-20 else None
        assert expected is None or found == pytest.approx(expected, abs=2e-6)
        assert -1.000001 <= found <= 1.000001


# --- the cognition base -----------------------------------------------------------------------------------------------


def test_an_entry_is_found_by_meaning_over_a_server_and_again_from_the_tape():
    base = shipped()
    entry = base["delta-rule"]
    with Asked(embeds(vector_of)) as asked:
        found = Dense(base, asked.embedder).search(words_of(entry), 3)
        assert found[0].entry == entry and found[0].score == pytest.approx(1, abs=1e-5)
        assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
        requests = len(asked.server.requests)
        assert requests == len(base)  # the query is one of them
        Dense(base, asked.embedder).search("a new query", 3)
        assert len(asked.server.requests) == requests + 1
        again = Dense(base, asked.replayed()).search(words_of(entry), 3)
    assert again == found


def test_the_order_is_that_of_the_vectors_and_not_of_the_words():
    """A model for which every entry is the same but one."""
    chosen = shipped()["token-shift"]
    with Asked(
        embeds(lambda text: [1.0, 0.0] if "recall of pairs" in text or text == words_of(chosen) else [0.0, 1.0])
    ) as asked:
        dense = Dense(shipped(), asked.embedder)
        assert dense.search("recall of pairs", 1)[0].entry == chosen != shipped().search("recall of pairs", 1)[0].entry
        assert [hit.entry for hit in read_around(["recall of pairs"], 0, find=dense.search)] == [chosen.id]


def test_mechanisms_are_found_by_meaning_too():
    with Asked(embeds(vector_of)) as asked:
        found = hits("overwrite", 3, find=Dense(shipped(), asked.embedder).search)
        assert len(found) == 3 and all(shipped()[hit.entry].grammar == hit.mechanism for hit in found)
        assert asked.server.requests


@pytest.mark.parametrize("broken", ["everything", "the query"])
def test_where_vectors_cannot_be_used_bm25_answers(broken):
    query = "stale value after a key is written again"

    def answer(handler):
        is_bad = broken == "everything" or handler.body["input"] == [query]
        embeds(lambda text: [math.nan] if is_bad else vector_of(text))(handler)

    with Asked(answer) as asked:
        assert Dense(shipped(), asked.embedder).search(query, 3) == shipped().search(query, 3)


def test_an_empty_query_asks_nothing():
    with Asked(embeds(vector_of)) as asked:
        assert Dense(shipped(), asked.embedder).search("  ") == []
        assert asked.server.requests == []


def test_the_key_is_nowhere_on_the_tape():
    with Asked(whole(reply(vector([f"Bearer {KEY}"])))) as asked:
        with pytest.raises(UnusableReplyError):
            asked.embedder.vectors(["text"])
        kept = json.dumps([exchange.as_dict() for exchange in asked.tape.exchanges.values()])
    assert "(the key)" in kept and KEY not in kept
