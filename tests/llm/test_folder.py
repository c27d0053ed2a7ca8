"""A folder in the place of a server: whole replies only, each question once, and nothing lost when the waiting ends."""

from __future__ import annotations

import json
import os
import threading

import pytest

from asiarc.campaign.declaration import Models
from asiarc.llm import Client, Ledger, Message, ModelError, Price, Question
from asiarc.llm.client import Ask
from asiarc.llm.folder import Folder, folder_of
from asiarc.llm.tape import MemoryTape
from asiarc.loop.connect import connect

QUESTION = Question(role="researcher", model="hand", messages=(Message("user", "why?"),), max_tokens=100)
OTHER = Question(role="analyst", model="hand", messages=(Message("user", "and then?"),), max_tokens=100)


def moved(folder, number, text):
    """A reply as it should come."""
    (folder / "draft").write_text(text)
    os.utime(folder / "draft", (1, 1))
    (folder / "draft").rename(folder / f"{number:04}.reply.md")


def waiting(folder, *steps, **changes):
    """A folder in which the steps are taken one by one while it waits; True where it should be stopped."""
    left = list(steps)
    return Folder(folder, pause=lambda _: left.pop(0)() is True, **changes)


@pytest.mark.parametrize(
    ("given", "folder"),
    [("file:ideas", "ideas"), ("file:///tmp/ideas", "/tmp/ideas"), ("file:/a b", "/a b"), ("http://a", None)],
)
def test_an_address_of_a_folder(given, folder):
    found = folder_of(given)
    assert (found and str(found)) == folder


def test_a_question_goes_out_and_its_reply_comes_in(tmp_path):
    asked = waiting(tmp_path / "new", lambda: moved(tmp_path / "new", 1, "because"))
    reply = asked.send(QUESTION)
    assert (reply.text, reply.fault, reply.counted) == ("because", None, False)
    assert (reply.prompt_tokens, reply.completion_tokens) == (QUESTION.most_prompt_tokens, 100)
    page = (tmp_path / "new" / "0001.question.md").read_text()
    assert "to the researcher (hand)" in page and "why?" in page and "0001.reply.md" in page
    assert json.loads((tmp_path / "new" / "0001.question.json").read_text())["key"] == QUESTION.key
    assert [file.name for file in (tmp_path / "new").glob(".*")] == []


def test_a_reply_that_is_being_written_is_not_read(tmp_path):
    """Nothing in it, then half of it, then all: written in place it counts when it has rested."""
    reply, clock = tmp_path / "0001.reply.md", [0.0]

    def written(text, at_s, now_s):
        def step():
            reply.write_text(text)
            os.utime(reply, (at_s, at_s))
            clock[0] = now_s

        return step

    asked = waiting(
        tmp_path, written("", 0, 100), written("becau", 101, 101), written("because", 102, 103.9),
        lambda: clock.__setitem__(0, 104.0), now=lambda: clock[0],
    )  # fmt: skip
    asked._was_moved = lambda _: False  # here a time that is set looks like a file that was moved
    assert asked.send(QUESTION).text == "because"


def test_a_question_keeps_its_number_from_run_to_run(tmp_path):
    with pytest.raises(ModelError, match=r"nobody has written .*0001\.reply\.md yet; run the same command again"):
        waiting(tmp_path, lambda: True).send(QUESTION)
    moved(tmp_path, 1, "meanwhile")
    moved(tmp_path, 2, "early")
    assert Folder(tmp_path).send(OTHER).text == "early"
    assert Folder(tmp_path).send(QUESTION).text == "meanwhile"
    assert len(list(tmp_path.glob("*.question.md"))) == 2


def test_what_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"unreachable: the folder .* cannot be used"):
        Folder(tmp_path / "file").send(QUESTION)
    with pytest.raises(ModelError, match=r"gives no vectors.*leave models\.embedding out"):
        Folder(tmp_path).send(Question(role="embedding", model="v", messages=(Message("user", "a"),), max_tokens=1))
    (tmp_path / "0001.reply.md").write_bytes(b"\xef\xbb\xbf\xff" + b"a" * 2_000_001)
    os.utime(tmp_path / "0001.reply.md", (1, 1))
    reply = Folder(tmp_path).send(QUESTION)
    assert reply.fault == "too long" and reply.text.startswith("\ufffda")


def test_ctrl_c_ends_the_waiting_and_keeps_the_question(tmp_path, monkeypatch):
    """The thread that waits for a reply goes when the client is interrupted; what was reserved is free again."""
    ledger, tape, said, before = Ledger({"hand": Price(1, 1)}, most_usd=1.0), MemoryTape(), [], threading.active_count()
    client = Client(tape, ledger, "record", Folder(tmp_path), say=said.append)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("asiarc.llm.client.wait", interrupted)
        client.ask(Ask(QUESTION, str, "0 propose"))
    assert threading.active_count() == before and ledger.usd == 0
    assert len(said) == 1 and "Ctrl-C loses nothing" in said[0]
    moved(tmp_path, 1, "because")
    again = Client(tape, ledger, "record", Folder(tmp_path), say=said.append)
    assert again.ask(Ask(QUESTION, str, "0 propose")) == "because"
    assert Client(tape, ledger).ask(Ask(QUESTION, str, "0 propose")) == "because", "it is replayed as any other"


def test_an_address_makes_the_client_ask_there(tmp_path):
    client = connect(
        "record", f"file:{tmp_path}", tmp_path / "none.jsonl", print, None, "run", None, Models()
    )  # fmt: skip
    assert client.endpoint.path == tmp_path
