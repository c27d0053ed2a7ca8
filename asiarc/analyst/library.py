"""The analyst's reading: what the cognition base answers to an observed weakness."""

from __future__ import annotations

from collections.abc import Collection

from asiarc.cognition.base import WEAKNESSES, hits, shipped
from asiarc.researcher.protocol import CognitionHit, Insight

K = 3  # entries a proposal, as in the paper's code


def read_up(insight: Insight, *, without: Collection[str], in_grammar: bool) -> tuple[CognitionHit, ...]:
    """The best `K` entries for an insight's query, or else for its weakness, but for mechanisms that are there already.

    With `in_grammar` only what the grammar can express; a language model can use any entry.
    """
    wanted = insight.query or insight.weakness
    if not wanted:
        return ()
    if in_grammar:
        return hits(wanted, k=K, without=without)
    query = " ".join([wanted, *(meaning for task, meaning in WEAKNESSES.items() if task in wanted.split())])
    found = shipped().search(query, k=K)
    return tuple(
        CognitionHit(entry=hit.entry.id, title=hit.entry.paper.title, mechanism=hit.entry.grammar or "")
        for hit in found
    )
