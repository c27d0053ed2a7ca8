"""The analyst's reading: what the cognition base answers to an observed weakness."""

from __future__ import annotations

from collections.abc import Collection

from asiarc.cognition.base import Find, hits, query_of, shipped
from asiarc.core.proposal import CognitionHit, Insight

K = 3  # entries a proposal, as in the paper's code


def read_up(
    insight: Insight, *, without: Collection[str], in_grammar: bool, find: Find | None = None, own: tuple[str, ...] = ()
) -> tuple[CognitionHit, ...]:
    """The best `K` entries for an insight's query, or else for its weakness, but for mechanisms that are there already.

    With `in_grammar` only what the grammar can express; a language model can use any entry. `find` searches in place
    of BM25; `own` names entries beside the shipped ones.
    """
    wanted = insight.query or insight.weakness
    if not wanted:
        return ()
    if in_grammar:
        return hits(wanted, k=K, base=shipped(own), without=without, find=find)
    found = (find or shipped(own).search)(query_of(wanted), K)
    return tuple(
        CognitionHit(entry=hit.entry.id, title=hit.entry.paper.title, mechanism=hit.entry.grammar or "")
        for hit in found
    )
