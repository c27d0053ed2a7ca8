"""The referee: what it hands over and when, that a look ahead gains nothing, and what it makes of nonsense.

Nothing here is admitted by the gates first: what is shown is the structure.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asiarc.engineer import referee
from asiarc.engineer.dialogue import Model, answer_all
from asiarc.engineer.referee import RejectedError, StreamedLM, score
from asiarc.engineer.scoring import score_documents
from asiarc.execution import InlineExecutor
from asiarc.execution.line import Line, LineError
from asiarc.models.backbone import build
from asiarc.tasks import get_task

from .here import streamed
from .test_trial import OVERWRITE, request

HEAD = """
import torch
from torch import nn

class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.proj = nn.Linear(d_model, d_model, bias=False)
        self.turns, self.backward_passes = 0, 0
        {init}

    def forward(self, x, state=None):
        before = torch.zeros_like(x[:, :1]) if state is None else state
        core = self.proj(torch.cat([before, x[:, :-1]], 1))
        {act}
        return core, x[:, -1:]
"""
AHEAD = "core = core + torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)"
LEAKS = {
    "always": ("pass", AHEAD),
    "in training only": ("pass", f"if self.training: {AHEAD}"),
    "when scored only": ("pass", f"if not self.training: {AHEAD}"),
    "in long inputs": ("pass", f"if x.shape[1] > 8: {AHEAD}"),
    "in small batches": ("pass", f"if len(x) < 16: {AHEAD}"),
    "by the mean of all": ("pass", "core = core + x.mean(1, keepdim=True) - x"),
    "across rows": ("pass", "core = core + x.roll(-1, 0) - x.roll(1, 0)"),
    "after some passes": ("pass", f"self.turns += 1\n        if self.turns > 9: {AHEAD}"),
}


def mixer(init="pass", act="pass"):
    return HEAD.format(init=init, act=act)


@pytest.fixture(scope="module")
def recipe(tiny):
    return tiny.at(seq_len=get_task(OVERWRITE).seq_len, steps=12)


class Spy:
    """The candidate's end of a line, played by somebody who keeps every message and answers as he likes."""

    def __init__(self, vocab_size=256):
        self.rows, self.vocab_size, self.whole = [], vocab_size, []

    def read(self, reading, ids_RT):
        if reading == "whole":
            self.whole.append(ids_RT)
            return np.zeros((*ids_RT.shape, self.vocab_size), np.float32)
        self.rows = [*self.rows, [list(row) for row in ids_RT]] if reading == "open" else self.rows
        if reading == "next":
            for row, ids in zip(self.rows[-1], ids_RT, strict=True):
                row.extend(ids)
        return np.zeros((len(ids_RT), self.vocab_size), np.float32)


class Watching(StreamedLM):
    """Notes, each time that a distribution is used for a score, how much of that row had been handed over."""

    def __init__(self, spy, *arguments):
        super().__init__(*arguments)
        self.spy, self.used = spy, []

    def _stream(self, rows):
        for position, due, logs_RV in super()._stream(rows):
            (handed,) = {len(row) for row in self.spy.rows[-1]}  # all rows are read side by side
            self.used += [(place, token, handed) for _, place, token in np.transpose(due).tolist()]
            yield position, due, logs_RV


tokens = st.lists(st.integers(1, 255), min_size=1, max_size=9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=12), st.integers(1, 4))
def test_no_token_is_handed_over_before_its_distribution_is_taken(pairs, side_by_side):
    """For texts of any lengths: when a token is scored, the model has been given what stands before it, and no more."""
    mine, theirs = Line.pair()
    spy = Spy()
    thread = threading.Thread(target=answer_all, args=(theirs, spy.read), daemon=True)
    thread.start()
    lm = Watching(spy, Model(mine, 256), 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(referee, "ROWS", side_by_side)
        answers = lm._loglikelihood_tokens([(None, [0, *context], due) for context, due in pairs])
    assert not spy.whole, "nothing is read whole while anything is to be scored"
    lm.compare()
    lm.model.end()
    thread.join()
    first = {place: 1 + len(context) for place, (context, _) in enumerate(pairs)}
    places = {place: iter(range(first[place], first[place] + len(due))) for place, (_, due) in enumerate(pairs)}
    scored = sorted(lm.used, key=lambda use: (use[0], use[2]))
    assert len(scored) == sum(len(due) for _, due in pairs)
    for place, token, handed in scored:
        position = next(places[place])
        assert handed == position and token == [0, *pairs[place][0], *pairs[place][1]][position]
    assert [a for a, _ in answers] == pytest.approx([-len(due) * math.log(256) for _, due in pairs])
    for line in (mine, theirs):
        line.close()


@pytest.mark.parametrize("leak", LEAKS)
def test_a_look_ahead_gains_nothing(leak, tiny, text_name):
    """Each against its honest core with the same weights: under the streaming score it is no better, and it is seen."""
    task = get_task(text_name)
    documents = [{"text": d["text"][:20]} for d in task.documents("validation", 20, "leaks")]
    init, act = LEAKS[leak]
    honest, leaky = (build(mixer(*m), tiny, "leak", hidden=8) for m in ((), (init, act)))
    scored = {}
    for name, model in (("honest", honest), ("leaky", leaky)):
        with streamed(model, 32) as lm:
            scored[name] = score_documents(lm, [(task, documents)])[0].value
            if name == "leaky" and leak not in ("in training only", "in long inputs"):
                with pytest.raises(RejectedError, match="read whole"):
                    lm.compare()
    with torch.no_grad():
        ids = torch.tensor([[0, *documents[0]["text"].encode()]])
        told = nn.functional.cross_entropy(leaky(ids[:, :-1]).logits[0], ids[0, 1:]) / math.log(2)
    if leak == "always":
        assert told < scored["honest"] - 1, "the look ahead would have paid in one pass"
    # Weights are random: another function of the same past is better or worse by chance, and by a fraction of a bit.
    assert scored["leaky"] > scored["honest"] - (0.3 if leak == "across rows" else 0.05)


# --- what the job tells of itself -------------------------------------------------------------------------------------

TOLD = {"curve": [[1, 2.0, 3.0]], "hidden": 32, "parameters": 100, "target": None}
FOUND = {"rejected": None, "hidden": 32, "state_bytes": 64, "flops_per_token": 9.5}


def verdict(recipe, told=TOLD, found=FOUND, read=None, **asked):
    """The referee's verdict on a job that says just this, each as JSON or as the bytes themselves."""
    mine, theirs = Line.pair()

    def job():
        with contextlib.suppress(LineError):
            for message in (told, found):
                theirs.send(message if isinstance(message, bytes) else json.dumps(message).encode())
                if message is told:
                    theirs.receive(1 << 20)
            answer_all(theirs, read or Spy().read)

    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    try:
        return score(request(recipe, **asked).job.secret, mine)
    finally:
        mine.close()
        thread.join()
        theirs.close()


def test_a_plain_account_is_scored(recipe):
    found = verdict(recipe)
    assert found["metric"] == "accuracy" and found["parameters"] == 100 and found["state_bytes"] == 64
    assert found["curve"] == [[1, 2.0, 3.0]]
    assert {type(v) for k, v in found.items() if k != "items"} <= {int, float, str, list}


@pytest.mark.parametrize("length", [16, 48])
def test_a_text_is_read_in_one_go_as_far_as_its_task_says(recipe, text_name, monkeypatch, length):
    spy = Spy()
    monkeypatch.setattr("asiarc.tasks.task.Task.read_length", lambda task, trained: length)
    found = verdict(recipe, read=spy.read, task=text_name)
    assert found["metric"] == "bits_per_byte" and max(len(row) for rows in spy.rows for row in rows) == length


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (b"", FOUND),
        (b"{", FOUND),
        (b"[]", FOUND),
        (b"\xff\xfe", FOUND),
        (b"[" * 100_000, FOUND),
        (b"x" * (2 << 20), FOUND),
        (TOLD | {"parameters": "100"}, FOUND),
        (TOLD | {"parameters": -1}, FOUND),
        (TOLD | {"parameters": True}, FOUND),
        (TOLD | {"parameters": math.nan}, FOUND),
        (TOLD | {"parameters": 10**30}, FOUND),
        (TOLD, FOUND | {"state_bytes": None}),
        (TOLD, FOUND | {"state_bytes": math.inf}),
        (TOLD, FOUND | {"flops_per_token": [1]}),
        (TOLD, FOUND | {"hidden": {}}),
        (TOLD, FOUND | {"rejected": "causality"}),
        (TOLD, FOUND | {"rejected": [1, 2, 3]}),
        (TOLD, {}),
        ({}, FOUND),
    ],
)
def test_nonsense_is_the_jobs_fault_and_no_number(recipe, told, found):
    with pytest.raises(LineError):
        verdict(recipe, told, found)


@pytest.mark.parametrize(
    "curve", ["none", [[1, 2]], [[1, 2, math.inf]], [["a", 1, 2]], {"a": 1}, [[1, 2, 3], [1]], None]
)
def test_a_curve_that_is_none_is_left_out(recipe, curve):
    assert verdict(recipe, TOLD | {"curve": curve})["curve"] == []


@pytest.mark.parametrize(
    ("parameters", "ended"), [(100, None), (102, None), (103, "rejected"), (97, "rejected"), (1, "rejected")]
)
def test_what_was_kept_must_be_of_the_size_that_was_asked_for(recipe, parameters, ended):
    found = verdict(recipe, TOLD | {"target": 100, "parameters": parameters})
    assert found.get("ended") == ended
    assert ended is None or (found["gate"], "value" in found) == ("size match", False)


@pytest.mark.parametrize(
    ("ended", "kind"), [("size", "size"), ("diverged", "diverged"), ("scored", "crashed"), ([1], "crashed")]
)
def test_an_ending_is_one_of_two(recipe, ended, kind):
    assert verdict(recipe, TOLD | {"ended": ended, "reason": "so it was"})["ended"] == kind


def test_a_finding_in_the_trained_model_is_a_rejection(recipe):
    found = verdict(recipe, found=FOUND | {"rejected": ["trained", "it looks ahead"]})
    assert (found["ended"], found["gate"], found["reason"]) == ("rejected", "trained", "it looks ahead")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_answers_that_are_no_numbers_are_a_divergence(recipe, number):
    found = verdict(recipe, read=lambda reading, ids_RT: np.full((len(ids_RT), 256), number, np.float32))
    assert found["ended"] == "diverged" and "value" not in found


@pytest.mark.parametrize("shape", [(1, 256), (1, 1), (7, 255), (7, 257)])
def test_answers_of_another_size_are_the_jobs_fault(recipe, shape):
    with pytest.raises(LineError):
        verdict(recipe, read=lambda reading, ids_RT: np.zeros(shape, np.float32))


# --- what is scored is what was kept ----------------------------------------------------------------------------------

ELSEWHERE = mixer(
    "self.secret = torch.zeros(d_model)",
    "self.secret = self.secret + x.detach().mean((0, 1))\n        core = core + self.secret",
)
COUNTS = mixer("pass", f"self.backward_passes += self.training\n        if self.backward_passes > 4: {AHEAD}")


@pytest.mark.parametrize("source", [ELSEWHERE, COUNTS], ids=["in an attribute", "in a counter"])
def test_what_training_left_elsewhere_is_not_there_when_it_is_scored(recipe, source):
    """The same weights give the same score, whatever the process that trained them had in mind."""
    found = InlineExecutor().run([request(recipe, source, match=None).job])[0].value
    assert found.get("ended") in (None, "rejected")
    plain = InlineExecutor().run([request(recipe, mixer(), match=None).job])[0].value
    assert "value" not in found or found["parameters"] == plain["parameters"]


HIDDEN_SIZE = mixer(
    """
class Small(nn.Parameter):
    def numel(self):
        return 1
""".replace("\n", "\n        ").strip()
    + "\n        self.large = Small(torch.randn(200, d_model))",
    "core = core + self.large.sum(0)",
)


def test_sizes_are_counted_from_what_was_kept(recipe):
    asked = request(recipe, HIDDEN_SIZE)
    found = InlineExecutor().run([asked.job])[0].value
    assert (found["ended"], found.get("gate")) == ("rejected", "size match")
    assert found["parameters"] > 200 * recipe.d_model * recipe.num_layers


def test_nothing_of_what_is_scored_is_in_the_payload(recipe):
    asked = request(recipe)
    assert {"split", "documents", "items"}.isdisjoint(asked.payload)
    assert {"split", "documents", "items"} <= asked.job.secret.keys()
