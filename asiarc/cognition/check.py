"""What keeps the base honest: problems in its entries, found without a network.

Whether an identifier exists cannot be seen offline; that it is well formed, agrees with the year and names
one title can. A text that nearly repeats another is a problem, because it takes a place in every answer
without adding to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from asiarc.cognition.base import Base, tokens_of
from asiarc.cognition.entry import FIELDS, Entry, Publication

MINIMUM_PAPERS, MINIMUM_ENTRIES = 100, 200
MOST_ENTRIES_A_PAPER = 3
LONGEST = 420
"""Characters of one field; what needs more is two entries."""
OVERLAP = 0.4
"""Share of common word pairs (Jaccard) from which two entries say the same."""


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where: an entry's id, an identifier, or the base."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check(base: Base) -> list[Problem]:
    """Every problem of the entries and of the base as a whole, in a fixed order; empty when it is sound."""
    return [*check_entries(base.entries), *_counts(base.entries)]


def check_entries(entries: Sequence[Entry]) -> list[Problem]:
    """Problems that entries have by themselves or with each other, whatever their number."""
    return [
        *_repeated_ids(entries),
        *_papers(entries),
        *(problem for entry in entries for problem in _texts(entry)),
        *_near_duplicates(entries),
    ]


def _repeated_ids(entries: Iterable[Entry]) -> Iterator[Problem]:
    titles: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        titles[entry.id].append(entry.paper.title)
    for entry_id, found in titles.items():
        if len(found) > 1:
            yield Problem(entry_id, f"the id is used {len(found)} times ({'; '.join(found)}); give each its own.")


def _papers(entries: Iterable[Entry]) -> Iterator[Problem]:
    by_identifier: dict[str, dict[Publication, int]] = defaultdict(lambda: defaultdict(int))
    by_title: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        by_identifier[entry.paper.identifier][entry.paper] += 1
        by_title[entry.paper.title.lower()].add(entry.paper.identifier)
    for identifier, papers in by_identifier.items():
        if len(papers) > 1:
            yield Problem(identifier, f"stands for {len(papers)} papers: {'; '.join(p.title for p in papers)}.")
        if (count := sum(papers.values())) > MOST_ENTRIES_A_PAPER:
            yield Problem(identifier, f"{count} entries of one paper; keep the {MOST_ENTRIES_A_PAPER} that matter.")
        yield from (problem for paper in papers for problem in _year(paper))
    for title, identifiers in by_title.items():
        if len(identifiers) > 1:
            yield Problem(title, f"has {len(identifiers)} identifiers: {', '.join(sorted(identifiers))}.")


def _year(paper: Publication) -> Iterator[Problem]:
    kind, _, number = paper.identifier.partition(":")
    if kind == "arXiv" and paper.year != 2000 + int(number[:2]):
        yield Problem(paper.identifier, f"year {paper.year}, but the identifier is of {2000 + int(number[:2])}.")


def _texts(entry: Entry) -> Iterator[Problem]:
    for field in FIELDS:
        if len(text := getattr(entry, field)) > LONGEST:
            yield Problem(entry.id, f"{field} has {len(text)} characters, at most {LONGEST}; shorten or split.")
    own = entry.paper.identifier.startswith("asiarc:")
    if own != (entry.evidence is not None):
        yield Problem(entry.id, "evidence belongs to entries of our own campaigns, and to all of them.")


def _near_duplicates(entries: Sequence[Entry]) -> Iterator[Problem]:
    pairs = [(entry.id, _word_pairs(entry)) for entry in entries]
    for (one, a), (other, b) in combinations(pairs, 2):
        if len(a & b) >= OVERLAP * len(a | b):
            yield Problem(one, f"says nearly the same as {other}; merge them or say what differs.")


def _word_pairs(entry: Entry) -> frozenset[tuple[str, str]]:
    words = tokens_of(f"{entry.problem} {entry.trigger} {entry.mechanism}")
    return frozenset(pairwise(words))


def _counts(entries: Sequence[Entry]) -> Iterator[Problem]:
    papers = len({entry.paper.identifier for entry in entries})
    for name, count, minimum in (("papers", papers, MINIMUM_PAPERS), ("entries", len(entries), MINIMUM_ENTRIES)):
        if count < minimum:
            yield Problem("base", f"{count} {name}, at least {minimum}.")
