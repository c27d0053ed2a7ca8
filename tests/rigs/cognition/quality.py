"""Does retrieval find what answers a weakness? Measured on `labelled.toml`, by which no weight was set.

Recall at k of a query is the share of its labelled entries among the first k; with at most three labels a
query, one is reachable at k = 3. A random choice of k out of n entries has recall k/n in expectation,
exactly. Intervals are bootstrap intervals over queries, paired where two ways are compared. Entries that
would also have served but are not labelled count as misses.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path

import click

from asiarc.cognition.base import WEIGHTS, Base, Find, hits, shipped
from asiarc.cognition.check import Problem
from asiarc.evidence import Effect, bootstrap_effect
from asiarc.harness.cognition_verbs import by_meaning

LABELLED = Path(__file__).parent / "labelled.toml"
MINIMUM_QUERIES = 60
MOST_LABELS = 3
PLAIN: Mapping[str, int] = dict.fromkeys(WEIGHTS, 1)
"""Every field alike: what the base's weights are compared with."""


KINDS = ("query", "paraphrase")
"""Written before most entries, and written after all of them in other words."""


@dataclass(frozen=True)
class Label:
    """A weakness as an analyst would write it, and the entries that answer it."""

    weakness: str
    entries: tuple[str, ...]


def load_labels(kinds: Sequence[str] = KINDS, path: Path = LABELLED) -> tuple[Label, ...]:
    """The labelled weaknesses of some kinds, in the order of the file."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(Label(row["weakness"], tuple(row["entries"])) for kind in kinds for row in tables[kind])


def check_labels(base: Base, labels: Sequence[Label]) -> Iterator[Problem]:
    """Labels that cannot be measured: unknown entries, too many or none for one query, too few queries."""
    known = {entry.id for entry in base.entries}
    for label in labels:
        where = f"labelled.toml: {label.weakness[:60]!r}"
        if missing := sorted(set(label.entries) - known):
            yield Problem(where, f"names entries that do not exist: {', '.join(missing)}.")
        if not 1 <= len(set(label.entries)) <= MOST_LABELS:
            yield Problem(where, f"has {len(set(label.entries))} labels; one to {MOST_LABELS}.")
    if len(labels) < MINIMUM_QUERIES:
        yield Problem("labelled.toml", f"{len(labels)} queries, at least {MINIMUM_QUERIES}.")


def recall(find: Find, labels: Sequence[Label], k: int = 3) -> dict[int, float]:
    """Recall at k by the query's number, of any search."""
    found = {}
    for number, label in enumerate(labels):
        first = {hit.entry.id for hit in find(label.weakness, k)}
        found[number] = len(first & set(label.entries)) / len(set(label.entries))
    return found


def mechanism_found(base: Base, labels: Sequence[Label], k: int = 3) -> tuple[dict[int, float], dict[int, float]]:
    """Whether `hits` names a labelled mechanism, and the chance of that for k mechanisms drawn at random.

    By the number of each query whose labels have one that the grammar can express.
    """
    every = {entry.grammar for entry in base.entries if entry.grammar}
    found, chance = {}, {}
    for number, label in enumerate(labels):
        if wanted := {base[entry].grammar for entry in label.entries} - {None}:
            named = {hit.mechanism for hit in hits(label.weakness, k, base)}
            found[number] = float(bool(named & wanted))
            chance[number] = 1 - comb(len(every) - len(wanted), k) / comb(len(every), k)
    return found, chance


def report(base: Base, k: int = 3, find: Find | None = None) -> str:
    """Recall at k against random and against unweighted fields, and mechanisms found, with intervals.

    `find` is another search of the base, by meaning, that is held against BM25.
    """
    blocks = [(kind, load_labels([kind])) for kind in KINDS]
    head = f"{len(base)} entries; a random choice has recall {k / len(base):.3f} at {k}"
    return "\n\n".join([head, *(f"{kind}:\n{_block(base, labels, k, find)}" for kind, labels in blocks)])


def _block(base: Base, labels: Sequence[Label], k: int, find: Find | None) -> str:
    weighted, plain = recall(base.search, labels, k), recall(Base(base.entries, PLAIN).search, labels, k)
    named, chance = mechanism_found(base, labels, k)
    rows = [
        (f"recall at {k}, field-weighted", weighted, dict.fromkeys(weighted, 0.0)),
        (f"recall at {k}, unweighted BM25", plain, dict.fromkeys(plain, 0.0)),
        ("gain of weighted over random", weighted, dict.fromkeys(weighted, k / len(base))),
        ("gain of weighted over unweighted", weighted, plain),
        (f"a labelled mechanism among {k} hits", named, dict.fromkeys(named, 0.0)),
        ("gain of that over random mechanisms", named, chance),
    ]
    if find is not None:
        dense = recall(find, labels, k)
        rows += [
            (f"recall at {k}, by meaning", dense, dict.fromkeys(dense, 0.0)),
            ("gain of that over field-weighted", dense, weighted),
        ]
    return "\n".join(f"  {name:38}{_shown(better, than)}" for name, better, than in rows)


def _shown(better: Mapping[int, float], than: Mapping[int, float]) -> str:
    effect: Effect = bootstrap_effect(better, than, higher_is_better=True, method="percentile")
    return f"{effect.mean:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}] (95 %, n={effect.n} queries)"


@click.command()
@click.option("-k", type=click.IntRange(min=1), default=3, show_default=True, help="how many are looked at")
@click.option("--dense", metavar="MODEL", help="an embedding model to hold against BM25")
@click.option("--base-url", metavar="URL", help="its OpenAI-compatible endpoint (default: OpenAI's own)")
def main(k: int, dense: str | None, base_url: str | None) -> None:
    """Recall at K and mechanisms found on the labelled weaknesses, with intervals."""
    base = shipped()
    problems = [*check_labels(base, load_labels())]
    find = by_meaning(base, dense, base_url, Path(".asiarc") / "embeddings.jsonl") if dense else None
    click.echo("\n".join([*map(str, problems), report(base, k, find)]))
    sys.exit(bool(problems))
