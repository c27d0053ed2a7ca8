"""A referee and a model in one process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from asiarc.engineer.dialogue import Model, answer_all
from asiarc.engineer.referee import StreamedLM
from asiarc.engineer.scoring import score_documents
from asiarc.engineer.trial import reader
from asiarc.execution.line import Line


@contextmanager
def streamed(model, max_length):
    """lm-eval's view of a model here, read token by token from a thread of its own."""
    mine, theirs = Line.pair()
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(answer_all, theirs, reader(model.eval()))
        lm = StreamedLM(Model(mine, model.config.vocab_size), max_length)
        try:
            yield lm
        finally:
            lm.model.end()
            answering.result()
            mine.close()
            theirs.close()


def score(model, tasks, *, max_length):
    """The scores of a model here."""
    with streamed(model, max_length) as lm:
        return score_documents(lm, tasks)
