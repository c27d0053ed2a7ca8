"""The caps hold before the call that would cross them, whatever is in flight; what is in flight then is kept."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.campaign.declaration import Models
from asiarc.cognition.base import shipped
from asiarc.cognition.dense import words_of
from asiarc.core.errors import BudgetExhaustedError
from asiarc.llm import Client, Ledger, Message, ModelError, Price, Question, Reply
from asiarc.llm.address import key_from
from asiarc.llm.client import Ask
from asiarc.llm.endpoint import Endpoint
from asiarc.llm.ledger import NANO
from asiarc.llm.tape import MemoryTape
from asiarc.loop.cost import estimate
from tests.rigs.llm.faults import PRICE
from tests.rigs.llm.loopback import Server, fails, says


def question(text="x", *, role="researcher", max_tokens=100, seed=0):
    return Question(role=role, model="model", messages=(Message("user", text),), max_tokens=max_tokens, seed=seed)


calls = st.tuples(
    st.sampled_from(["researcher", "analyst"]), st.integers(0, 200), st.integers(1, 300), st.integers(0, 3)
)


@given(st.lists(calls, max_size=30), st.floats(0, 0.02), st.integers(0, 2000))
def test_no_cap_is_ever_crossed(asked, usd, tokens):
    """Against a bookkeeper that adds up afterwards: calls stay in flight for some steps and cost all they may."""
    ledger = Ledger({"model": PRICE}, most_usd=usd, role_usd={"analyst": usd / 2}, role_tokens={"researcher": tokens})
    flying, spent = [], []
    for number, (role, size, limit, delay) in enumerate(asked):
        for entry in [f for f in flying if f[0] <= number]:
            flying.remove(entry)
            worst = Reply(text="", prompt_tokens=entry[1].most_prompt_tokens, completion_tokens=entry[1].max_tokens)
            ledger.settle(entry[1], worst)
            spent.append((entry[1].role, worst))
        one = question("é" * size, role=role, max_tokens=limit, seed=number)
        try:
            ledger.reserve(one)
        except BudgetExhaustedError:
            continue
        flying.append((number + delay, one))
    cost = {role: sum(PRICE.nano_usd(r.prompt_tokens, r.completion_tokens) for of, r in spent if of == role) for role in
            ("researcher", "analyst")}  # fmt: skip
    assert sum(cost.values()) <= usd * NANO + 1
    assert cost["analyst"] <= usd / 2 * NANO + 1
    assert sum(r.prompt_tokens + r.completion_tokens for of, r in spent if of == "researcher") <= tokens


@given(st.text(max_size=200))
def test_no_tokenizer_makes_more_tokens_than_the_bound(text):
    assert question(text).most_prompt_tokens >= len(text.encode(errors="replace")) + 1


def test_a_call_that_brought_nothing_costs_nothing():
    ledger = Ledger({"model": PRICE}, most_usd=PRICE.nano_usd(17, 100) / NANO)
    ledger.reserve(question())
    with pytest.raises(BudgetExhaustedError):
        ledger.reserve(question(seed=1))
    ledger.release(question())
    ledger.reserve(question(seed=1))
    assert ledger.usd == 0


def test_the_sum_does_not_depend_on_the_order():
    prices = [Reply(text="", prompt_tokens=i * 7919 % 1000, completion_tokens=i * 104729 % 777) for i in range(200)]
    sums = set()
    for order in (prices, prices[::-1], sorted(prices, key=lambda r: r.prompt_tokens)):
        ledger = Ledger({"model": Price(0.15, 0.6)})
        for reply in order:
            ledger.settle(question(), reply)
        sums.add(ledger.usd)
    assert len(sums) == 1


def ask(seed=0, text="x"):
    return Ask(question(text, seed=seed), str, f"{seed} propose")


def test_questions_go_out_together_and_come_back_in_order():
    """Four requests are under way before the first is answered, or this would never end."""
    together = threading.Barrier(4, timeout=20)

    def answer(handler):
        together.wait()
        says(f"seed {handler.body['seed']}")(handler)

    with Server((answer,)) as server:
        client = Client(MemoryTape(), Ledger({"model": PRICE}), "record", Endpoint(server.url), workers=4)
        assert client.ask_all([ask(seed) for seed in range(8)]) == [f"seed {seed}" for seed in range(8)]


def test_no_more_than_so_many_at_once():
    most, now, lock = [0], [0], threading.Lock()

    def answer(handler):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        says("fine")(handler)
        with lock:
            now[0] -= 1

    with Server((answer,)) as server:
        client = Client(MemoryTape(), Ledger({"model": PRICE}), "record", Endpoint(server.url), workers=2)
        client.ask_all([ask(seed) for seed in range(12)])
    assert most[0] <= 3  # a handler may still be leaving while the next is let in


def test_what_is_in_flight_when_the_cap_is_reached_is_kept():
    worst = PRICE.nano_usd(question().most_prompt_tokens, 100)
    with Server((says("fine"),)) as server:
        ledger = Ledger({"model": PRICE}, most_usd=2.5 * worst / NANO)
        client = Client(MemoryTape(), ledger, "record", Endpoint(server.url), workers=4)
        with pytest.raises(BudgetExhaustedError):
            client.ask_all([ask(seed) for seed in range(8)])
        served = len(server.requests)
    assert served == 2 == len(client.tape.exchanges) == ledger.accounts["researcher"].calls


def test_what_is_in_flight_when_another_call_fails_is_kept():
    def answer(handler):
        (fails(401, "no") if handler.body["seed"] == 1 else says("fine"))(handler)

    with Server((answer,)) as server:
        client = Client(MemoryTape(), Ledger({"model": PRICE}), "record", Endpoint(server.url), workers=4)
        with pytest.raises(ModelError, match="key rejected"):
            client.ask_all([ask(seed) for seed in range(4)])
        answered = {body["seed"] for body in server.requests} - {1}
    assert {e.question.seed for e in client.tape.exchanges.values()} == answered


def test_record_asks_once_and_live_asks_anew():
    with Server((says("fine"),)) as server:
        tape = MemoryTape()
        for mode, requests in (("record", 1), ("record", 1), ("live", 2), ("replay", 2)):
            client = Client(tape, Ledger({"model": PRICE}), mode, None if mode == "replay" else Endpoint(server.url))
            assert client.ask(ask()) == client.ask(ask()) == "fine"
            assert len(server.requests) == requests


def test_the_key_comes_from_the_environment():
    assert key_from({}) is None and key_from({"OPENAI_API_KEY": ""}) is None
    assert key_from({"OPENAI_API_KEY": "a", "ASIARC_API_KEY": "b"}) == "b"


def test_the_plan_knows_what_a_search_asks_and_costs():
    models = Models(
        researcher=("a", "b"), analyst="a", judge="a", judge_samples=3, checker="a", context_tokens=1000,
        reply_tokens=2000, prices={"a": (1.0, 2.0), "b": (10.0, 20.0)},
    )  # fmt: skip
    calls, usd = estimate(models, 10, checks_motivations=True)
    assert calls == 10 * (1 + 1 + 1 + 3)
    expected = (10_000 + 40_000) + (1000 + 2 * 1500) + (1000 + 2 * 500) + 3 * (1000 + 2 * 600)
    assert usd == pytest.approx(10 * expected / 1e6)
    assert estimate(Models(), 10, checks_motivations=False) == (0, 0.0)
    vectors = Models(embedding="v", prices={"v": (1.0, 0)})
    more, usd = estimate(vectors, 10, checks_motivations=True)
    assert more == 20 + len(shipped()) and usd == pytest.approx(more * 1000 / 1e6)
    assert max(len(words_of(entry)) for entry in shipped().entries) < 3 * 1000
