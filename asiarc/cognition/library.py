"""The analyst's reading: what the cognition base answers to an observed weakness."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from asiarc.cognition.base import Find, Hit, hits, query_of, shipped
from asiarc.core.proposal import CognitionHit, Insight
from asiarc.core.seeds import rng_of

K = 3  # entries a proposal, as in the paper's code
POOL = 10  # of the best entries for a query, one is drawn


def read_up(insight: Insight, *, without: Collection[str], own: tuple[str, ...] = ()) -> tuple[CognitionHit, ...]:
    """The best `K` entries for an insight's query, or else for its weakness, that the grammar can express, but for
    mechanisms that are there already; `own` names entries beside the shipped ones."""
    wanted = insight.query or insight.weakness
    return hits(wanted, k=K, base=shipped(own), without=without) if wanted else ()


def read_around(
    queries: Sequence[str], seed: int, *, find: Find | None = None, own: tuple[str, ...] = ()
) -> tuple[CognitionHit, ...]:
    """An entry for each of up to `K` queries, drawn by the seed among its best `POOL` (the n-th with weight 1 / n).

    None comes twice; whether the grammar can express it does not count. `find` searches in place of BM25.
    """
    search, rng = find or shipped(own).search, rng_of(seed, "reading")
    chosen: dict[str, Hit] = {}
    for query in [query for query in queries if query.strip()][:K]:
        found = [hit for hit in search(query_of(query), POOL) if hit.score > 0 and hit.entry.id not in chosen]
        if found:
            hit = rng.choices(found, [1 / rank for rank in range(1, len(found) + 1)])[0]
            chosen[hit.entry.id] = hit
    return tuple(
        CognitionHit(entry=hit.entry.id, title=hit.entry.paper.title, mechanism=hit.entry.grammar or "")
        for hit in chosen.values()
    )
