"""The base: every entry, found again by the weakness that it answers.

BM25 (Robertson and Zaragoza 2009, through bm25s) over one document an entry. Fields are weighted as in
BM25F: a word of a field of weight w counts w times before saturation. What was observed (`trigger`,
`problem`) counts most, because that is what a query talks about. bm25s and numpy are imported with the
first search, so that collecting campaigns stays quick. Ties are broken by id: the same query gives the same
hits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from asiarc.cognition.entry import CognitionError, Entry, load_file, load_folder
from asiarc.core.errors import nearest
from asiarc.core.proposal import CognitionHit

if TYPE_CHECKING:
    from bm25s import BM25

ENTRIES = Path(__file__).resolve().parent / "entries"

WEIGHTS: Mapping[str, int] = {"trigger": 4, "problem": 3, "title": 2, "mechanism": 1, "limits": 0, "cost": 0}
"""How often a word of a field counts; fixed beforehand, not fitted to the labelled queries."""

WEAKNESSES: Mapping[str, str] = {
    "text": "high bits per byte on English prose, worse next byte prediction in language modelling",
    "fineweb-edu": "high bits per byte on web pages, worse next byte prediction in language modelling",
    "code": "high bits per byte on source code, names that stood before in the context are not recalled",
    "mixed": "pairs bound inside running text are not recalled, memory of marked keys fails among distractors",
    "overwrite": "stale value returned after a key is written again, updating associations fails",
    "reset": "old bindings survive after a delimiter, cannot clear or forget the whole memory at once",
    "recall": "associative recall of many key value pairs fails, keys collide in a fixed-size state",
    "selective_copying": "cannot ignore filler and copy the marked tokens in order, selection by content is missing",
    "in_context_recall": "value of a repeated key in context is not found, recall and induction fail",
    "fuzzy_recall": "recall of keys of several tokens fails, neighbouring tokens are not joined into a key",
    "compression": "cannot repeat a random string from the state, information is lost in compression",
    "memorisation": "facts fixed across sequences are not stored in the weights",
    "parity": "cannot track parity of bits, eigenvalues of the transition are never negative",
    "s3": "cannot track state under permutations, group word problems are not solved",
    "state_tracking": "cannot track state under permutations, group word problems are not solved",
}
"""What it means to be weak on a task, in the words of an analyst."""

_STOP_WORDS = """
    a an and are as at be but by for from has have if in into is it its no not of on or so such than that the their
    then there these they this to was when where which while will with
"""
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class Hit:
    """An entry and its BM25 score; only the order of scores means anything."""

    entry: Entry
    score: float


Find = Callable[[str, int], list[Hit]]
"""What searches: a query and a number of hits."""


@dataclass(frozen=True)
class Base:
    """The entries, ordered by id, and their index; a word of a field of weight w counts w times."""

    entries: tuple[Entry, ...]
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS, compare=False)

    @classmethod
    def load(cls, extra: Path | None = None) -> Base:
        """The shipped base, with the entries of a folder or file of your own. Raises `CognitionError`."""
        found = load_folder(ENTRIES)
        if extra is not None and extra.resolve() != ENTRIES:
            if not extra.exists():
                raise CognitionError(f"no cognition entries at {extra}: give a TOML file or a folder of them.")
            found += load_file(extra) if extra.is_file() else load_folder(extra)
        return cls(tuple(sorted(found, key=lambda entry: entry.id)))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, entry_id: str) -> Entry:
        if entry_id not in self._by_id:
            close = nearest(entry_id, self._by_id)
            hint = f" Did you mean {close!r}?" if close else ""
            raise CognitionError(
                f"no cognition entry {entry_id!r} among {len(self)}.{hint} Search for one by weakness."
            )
        return self._by_id[entry_id]

    def search(self, query: str, k: int = 3) -> list[Hit]:
        """At most k entries that share a word with the query, best first."""
        assert k >= 1, k
        tokens = tokens_of(query)
        if not tokens or not self.entries:
            return []
        scores = self._index.get_scores(tokens)
        order = sorted(range(len(self)), key=lambda i: (-float(scores[i]), self.entries[i].id))
        return [Hit(self.entries[i], float(scores[i])) for i in order[:k] if scores[i] > 0]

    @cached_property
    def _by_id(self) -> dict[str, Entry]:
        return {entry.id: entry for entry in self.entries}

    @cached_property
    def _index(self) -> BM25:
        from bm25s import BM25

        index = BM25(method="lucene", k1=1.5, b=0.75)
        index.index([_document(entry, self.weights) for entry in self.entries], show_progress=False)
        return index


def tokens_of(text: str) -> list[str]:
    """Lower-case words and numbers without stop words, plural and verb endings cut."""
    return [_stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _STOP]


def _stem(word: str) -> str:
    """Cuts the first ending that fits and leaves four letters or more, in entries and queries alike."""
    for ending, instead in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(ending) and not word.endswith("ss") and len(word) - len(ending) >= 4:
            return word[: -len(ending)] + instead
    return word


def _document(entry: Entry, weights: Mapping[str, int]) -> list[str]:
    texts = {"title": entry.paper.title} | {name: getattr(entry, name) for name in weights if name != "title"}
    return [token for name, weight in weights.items() for token in tokens_of(texts[name]) * weight]


@cache
def shipped(own: tuple[str, ...] = ()) -> Base:
    """The base that comes with the package, with files and folders of entries of one's own; loaded once a process."""
    base = Base.load()
    for path in own:
        base = Base(tuple(sorted({*base.entries, *Base.load(Path(path)).entries}, key=lambda entry: entry.id)))
    _entries.update((entry.id, entry) for entry in base.entries)
    return base


_entries: dict[str, Entry] = {}  # of every base that was loaded


def entry_of(hit: CognitionHit) -> Entry:
    """The entry that was hit, of whichever base."""
    return _entries.get(hit.entry) or shipped()[hit.entry]


def query_of(weakness: str) -> str:
    """A weakness as it is searched for: tasks that it names are read as what failing them means."""
    return " ".join([weakness, *(meaning for task, meaning in WEAKNESSES.items() if task in weakness.split())])


def hits(
    weakness: str, k: int = 3, base: Base | None = None, *, without: Collection[str] = (), find: Find | None = None
) -> tuple[CognitionHit, ...]:
    """What a researcher is given: the k best answers that the grammar can express, each mechanism once.

    `weakness` is free text, an insight, or a task's name. `without` names mechanisms (``memory=gated_delta``) that are
    of no use, such as those the parent already has. `find` searches in place of BM25 (`asiarc.cognition.dense`).
    """
    base = base or shipped()
    best: dict[str, Entry] = {}
    for hit in (find or base.search)(query_of(weakness), max(len(base), 1)):
        if hit.entry.grammar is not None and hit.entry.grammar not in without:
            best.setdefault(hit.entry.grammar, hit.entry)
    return tuple(
        CognitionHit(entry=entry.id, title=entry.paper.title, mechanism=mechanism)
        for mechanism, entry in list(best.items())[:k]
    )
