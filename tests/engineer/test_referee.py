"""The referee: what it hands over and when, that a look ahead gains nothing, and what it makes of nonsense.

Nothing here is admitted by the gates first: what is shown is the structure.
"""

from __future__ import annotations

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
from asiarc.engineer.referee import RejectedError, StreamedLM
from asiarc.engineer.scoring import score_documents
from asiarc.execution.line import Line
from asiarc.models.backbone import build
from asiarc.tasks import get_task

from .here import streamed
from .test_trial import OVERWRITE

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
        for asked, logs_V in super()._stream(rows):
            handed = {len(row) for row in self.spy.rows[-1]}
            assert len(handed) == 1, "all rows are read side by side"
            self.used += [(place, token, handed.copy().pop()) for place, token in asked]
            yield asked, logs_V


tokens = st.lists(st.integers(1, 255), min_size=1, max_size=9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=12), st.integers(1, 4))
def test_no_token_is_handed_over_before_its_distribution_is_taken(pairs, side_by_side):
    """For texts of any lengths: when a token is scored, the model has been given what stands before it, and no more."""
    mine, theirs = Line.pair()
    spy = Spy()
    thread = threading.Thread(target=answer_all, args=(theirs, spy.read))
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
    assert scored["leaky"] > scored["honest"] - 0.05
