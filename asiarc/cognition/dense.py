"""Dense retrieval: entries by the cosine between their words and a query's, where an embedding model is named.

BM25 is the default, and the fall-back for a query whose vectors cannot be used. Entries are asked for once a run, and
recorded and replayed like everything that a model was asked.
"""

from __future__ import annotations

from asiarc.cognition.base import Base, Hit
from asiarc.cognition.entry import Entry
from asiarc.llm.embedding import Embedder, cosines
from asiarc.llm.exchange import UnusableReplyError


class Dense:
    """A base that is searched by meaning; `search` is that of `Base`."""

    def __init__(self, base: Base, embedder: Embedder) -> None:
        self.base, self.embedder = base, embedder

    def search(self, query: str, k: int = 3) -> list[Hit]:
        """The k nearest entries, best first; scores are cosines, or BM25's where there are no vectors."""
        assert k >= 1, k
        if not query.strip() or not self.base.entries:
            return []
        texts = [words_of(entry) for entry in self.base.entries]
        try:
            mine, *others = self.embedder.vectors([query, *texts])
        except UnusableReplyError:
            return self.base.search(query, k)
        hits = [Hit(entry, score) for entry, score in zip(self.base.entries, cosines(mine, others), strict=True)]
        return sorted(hits, key=lambda hit: (-hit.score, hit.entry.id))[:k]


def words_of(entry: Entry) -> str:
    """What of an entry is embedded: what was observed first, since that is what a query talks about."""
    return f"{entry.trigger} {entry.problem} {entry.paper.title}. {entry.mechanism}"
