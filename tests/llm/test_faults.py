"""Every fault over a real connection: how it ends, what was waited, what was kept, and that the key stays unseen."""

from __future__ import annotations

import json

import psutil
import pytest

from asiarc.llm.client import Ask, Client
from asiarc.llm.endpoint import Endpoint
from asiarc.llm.exchange import ModelError, ReplayMissError
from asiarc.llm.ledger import Ledger
from asiarc.llm.tape import MemoryTape
from tests.rigs.llm.faults import FAULTS, KEY, NOW, PRICE, Row, _read, idea, play, question, render
from tests.rigs.llm.loopback import Server, fails, says


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_ends_as_named_and_replays_alike(fault):
    row, client = play(fault)
    assert row.as_named, (row.ends, row.reason, row.waits_s, row.kept)
    kept = json.dumps([exchange.as_dict() for exchange in client.tape.exchanges.values()])
    assert KEY not in kept + row.reason + repr(client.endpoint)
    assert row.tokens > 0 or not row.kept
    if row.ends.startswith("stopped"):
        return
    again = Client(client.tape, Ledger({"model": PRICE}))
    ask = Ask(question(fault.prompt), _read, "0 propose")
    answers = [c.ask_all([ask])[0] for c in (client, again)]
    assert str(answers[0]) == str(answers[1])
    assert again.ledger.usd == pytest.approx(row.usd)
    assert again.ledger.accounts["researcher"].paid_now == 0


def test_the_table_says_what_was_not_as_named():
    row = Row(FAULTS[0], "answered", waits_s=[8.0], kept=1)
    assert not row.as_named
    assert "0 of 1" in render([row])
    assert not Row(FAULTS[0], "answered", KEY, waits_s=[7.0], kept=1).as_named
    assert Row(FAULTS[0], "answered", "fine", waits_s=[7.0], kept=1).as_named


def test_what_is_sent_is_what_was_asked():
    with Server((says(idea(), tokens=(11, 7)),)) as server:
        client = Client(MemoryTape(), Ledger({"model": PRICE}), "record", Endpoint(server.url, KEY, now=lambda: NOW))
        client.ask(Ask(question("Hello."), _read, "0 propose"))
        (sent,) = server.requests
    assert sent["messages"] == [{"role": "user", "content": "Hello."}]
    assert (sent["model"], sent["max_tokens"], sent["stream"]) == ("model", 1000, True)
    assert "temperature" not in sent and "frequency_penalty" not in sent and "response_format" not in sent
    account = client.ledger.accounts["researcher"]
    assert (account.prompt_tokens, account.completion_tokens) == (11, 7)
    assert account.nano_usd == 1000 * (2 * 11 + 8 * 7)


def test_a_penalty_for_repetition_is_sent_and_is_part_of_the_question():
    tape = MemoryTape()
    with Server((says(idea()),)) as server:
        client = Client(tape, Ledger({"model": PRICE}), "record", Endpoint(server.url, KEY), frequency_penalty=0.5)
        client.ask(Ask(question("Hello."), _read, "0 propose"))
        (sent,) = server.requests
    assert sent["frequency_penalty"] == 0.5
    again = Client(tape, Ledger({"model": PRICE}), frequency_penalty=0.25)
    with pytest.raises(ReplayMissError, match="frequency_penalty"):
        again.ask(Ask(question("Hello."), _read, "0 propose"))


def test_nothing_is_left_open_after_a_reply():
    with Server((fails(404, "no such model"),)) as server:
        client = Client(MemoryTape(), Ledger({"model": PRICE}), "record", Endpoint(server.url, KEY))
        with pytest.raises(ModelError, match="does not know"):
            client.ask(Ask(question("Hello."), _read, "0 propose"))
        connections = psutil.Process().net_connections("tcp")
        there = [c for c in connections if c.raddr and c.raddr.port == server.server_address[1]]
        assert not [c for c in there if c.status == psutil.CONN_ESTABLISHED]
