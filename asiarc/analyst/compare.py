"""The analyst: explains a trial by numbers, against its parent, its siblings and the baselines.

Every statement is arithmetic on stored trials. `mechanism_effects` is the population's pseudo-ablation: the mean gain
of the candidates that have a mechanism minus that of those that have not. It is confounded by what else differs, so it
steers proposals and supports no claim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from asiarc.core.proposal import Insight

Tag = str  # "field=value", one choice of a genome


@dataclass(frozen=True)
class Observation:
    """A scored candidate as the analyst sees it: gains are against start_from, positive is better."""

    address: str
    name: str
    tags: frozenset[Tag]
    gain: float
    gains: Mapping[str, float]  # by task


def tags_of(genome: Mapping[str, Any] | None) -> frozenset[Tag]:
    """The choices of a genome as tags."""
    return frozenset(f"{name}={value}" for name, value in (genome or {}).items())


def mechanism_effects(population: Sequence[Observation], minimum: int = 2) -> dict[Tag, float]:
    """Mean gain with a tag minus mean gain without it, for tags that at least `minimum` candidates have and lack."""
    holders: dict[Tag, list[int]] = defaultdict(list)
    for index, seen in enumerate(population):
        for tag in seen.tags:
            holders[tag].append(index)
    effects = {}
    for tag, indices in sorted(holders.items()):
        inside = set(indices)
        without = [seen.gain for index, seen in enumerate(population) if index not in inside]
        if len(indices) >= minimum and len(without) >= minimum:
            effects[tag] = fmean(population[i].gain for i in indices) - fmean(without)
    return effects


def analyse(
    child: Observation,
    parent: Observation,
    siblings: Sequence[Observation],
    effects: Mapping[Tag, float],
    *,
    start_name: str,
    noise: float,
) -> Insight:
    """One insight: what changed, what it did, what is weakest, which mechanisms to favour or avoid.

    `noise` is the gain below which two candidates cannot be told apart here; differences under it are called so.
    """
    added, removed = sorted(child.tags - parent.tags), sorted(parent.tags - child.tags)
    step = child.gain - parent.gain
    verdict = "cannot be told from" if abs(step) < noise else "is ahead of" if step > 0 else "is behind"
    changed = ", ".join(added) or "nothing that the grammar names"
    text = [
        f"{child.name} gains {child.gain:+.3f} over {start_name}.",
        f"With {changed}{' instead of ' + ', '.join(removed) if removed else ''} it {verdict} its parent "
        f"{parent.name} ({step:+.3f}).",
    ]
    better = [s for s in siblings if s.gain > child.gain + noise]
    if better:
        best = max(better, key=lambda s: (s.gain, s.address))
        has = sorted(best.tags - child.tags)
        choices = ", ".join(has) or "the same choices"
        text.append(f"Its sibling {best.name} is {best.gain - child.gain:.3f} ahead with {choices}.")
    weakness = min(child.gains, key=lambda task: (child.gains[task], task)) if child.gains else ""
    if weakness:
        text.append(f"Weakest on {weakness} ({child.gains[weakness]:+.3f} against {start_name}).")
    good = [tag for tag in added if step > noise or effects.get(tag, 0) > noise]
    bad = [tag for tag in added if step < -noise and effects.get(tag, 0) < 0]
    leading = sorted(
        (tag for tag in effects if effects[tag] > noise and tag not in child.tags), key=lambda t: -effects[t]
    )[:2]
    if leading:
        text.append(
            "In the population so far " + ", ".join(f"{tag} goes with {effects[tag]:+.3f}" for tag in leading) + "."
        )
    mechanisms = (*good, *leading, *(f"-{tag}" for tag in bad))
    return Insight(text=" ".join(text), weakness=weakness, mechanisms=tuple(dict.fromkeys(mechanisms)))
