"""Texts as vectors, by an embedding endpoint; each is an exchange like any other: recorded, replayed, paid for once,
and kept under the hash of its text. All are kept for one place, since which proposal asked first says nothing.

An endpoint that does not answer stops a run, as it does in every role: what a search finds must not hang on an outage.
A reply that is no vector is `UnusableReplyError`, and who asked goes by words instead.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite

from asiarc.llm.client import Ask, Client
from asiarc.llm.exchange import EMBEDDING, Message, Question, UnusableReplyError
from asiarc.llm.reading import ReadingError

PLACE = "embeddings"


class Embedder:
    """Asks one embedding model over a client; a text that was asked for is not asked for again."""

    def __init__(self, client: Client, model: str) -> None:
        self.client, self.model = client, model
        self._known: dict[str, list[float]] = {}

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of some texts, all of one length; `UnusableReplyError` where a reply is none."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        answers = self.client.ask_all([self._ask(text) for text in new])
        for text, answer in zip(new, answers, strict=True):
            if isinstance(answer, UnusableReplyError):
                raise answer
            self._known[text] = answer
        found = [self._known[text] for text in texts]
        lengths = {len(vector) for vector in found}
        if len(lengths) > 1:
            reason = f"{self.model} gave vectors of {len(lengths)} lengths: {', '.join(map(str, sorted(lengths)))}"
            raise UnusableReplyError("wrong schema", reason, "")
        return found

    def _ask(self, text: str) -> Ask[list[float]]:
        question = Question(role=EMBEDDING, model=self.model, messages=(Message("user", text),), max_tokens=0)
        return Ask(question, _vector, PLACE)


def _vector(text: str) -> list[float]:
    try:
        numbers = [float(number) for number in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise ReadingError("invalid JSON", f"a vector was expected: {error}") from error
    if not numbers or not all(map(isfinite, numbers)):
        raise ReadingError("wrong schema", "a vector of finite numbers was expected")
    return numbers


def cosines(query: Sequence[float], others: Sequence[Sequence[float]]) -> list[float]:
    """The cosine of each vector with the query's, to six digits: the next one is rounding, and would order ties."""
    import numpy as np

    vectors = np.array([query, *others])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    return [round(float(cosine), 6) for cosine in vectors[1:] @ vectors[0]]
