"""The analyst: explains a trial by numbers, against its parent, its siblings and the baselines.

Every statement is arithmetic on stored trials, at a rung that both sides stand on (`asiarc.archive.gains`), and says at
which. `mechanism_effects` is the population's pseudo-ablation: the mean gain of the candidates that have a mechanism
minus that of those that have not. It is confounded by what else differs, so it steers proposals and supports no claim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance
from textwrap import shorten
from typing import Any

from asiarc.archive.gains import NOISE, Gain, Gains
from asiarc.core.proposal import Insight
from asiarc.evidence.additive import t_factor

IDEA = 160  # characters of an idea
Tag = str  # "field=value", one choice of a genome, or "calls=name", read from a source


@dataclass(frozen=True)
class Observation:
    """A scored candidate as the analyst sees it: gains are against start_from, each at its own deepest rung.

    `tags` are choices of the grammar, or what its source calls where one that it is compared with has no genome;
    `saturated` are the tasks on which nothing is left to gain; `idea` is what it was meant to do, where no
    grammar says.
    """

    address: str
    name: str
    tags: frozenset[Tag]
    gains: Mapping[str, Gain]  # by task
    saturated: frozenset[str] = frozenset()
    idea: str = ""


@dataclass(frozen=True)
class TagEffect:
    """Mean effect of the mixers that have a tag minus that of those that lack it, with half a 95 % interval."""

    mean: float
    radius: float
    have: int
    lack: int

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.radius:.3f} ({self.have} have it, {self.lack} lack it)"


def tags_of(genome: Mapping[str, Any] | None) -> frozenset[Tag]:
    """The choices of a genome as tags."""
    return frozenset(f"{name}={value}" for name, value in (genome or {}).items())


def mechanism_effects(
    population: Sequence[Observation], effects: Mapping[str, float], minimum: int = 2
) -> dict[Tag, TagEffect]:
    """What goes with each tag that at least `minimum` candidates have and lack.

    `effects` are mixer effects by address, all of one rung; who does not stand on it takes no part.
    """
    here = [(seen.tags, effects[seen.address]) for seen in population if seen.address in effects]
    holders: dict[Tag, set[int]] = defaultdict(set)
    for index, (tags, _) in enumerate(here):
        for tag in tags:
            holders[tag].add(index)
    found = {}
    for tag, indices in sorted(holders.items()):
        sides = [[one for i, (_, one) in enumerate(here) if (i in indices) is has] for has in (True, False)]
        if min(map(len, sides)) >= minimum:
            found[tag] = _apart(*sides)
    return found


def _apart(have: Sequence[float], lack: Sequence[float]) -> TagEffect:
    """The difference of two means with a t interval of the pooled spread."""
    freedom = len(have) + len(lack) - 2
    squares = sum((len(side) - 1) * variance(side) for side in (have, lack) if len(side) > 1)
    error = sqrt(squares / freedom * (1 / len(have) + 1 / len(lack))) if freedom else 0.0
    return TagEffect(fmean(have) - fmean(lack), t_factor(max(1, freedom)) * error, len(have), len(lack))


def analyse(
    child: Observation,
    parent: Observation,
    siblings: Sequence[Observation],
    effects: Mapping[Tag, TagEffect],
    gains: Gains,
    *,
    start: Observation,
) -> Insight:
    """One insight: what it gained, where, over whom; what is weakest; which mechanisms to favour or avoid.

    Two that stand on no common rung are not compared, and two that cannot be told apart are called so.
    """
    over_start, step = gains.over(child.address, start.address), gains.over(child.address, parent.address)
    added, removed = sorted(child.tags - parent.tags), sorted(parent.tags - child.tags)
    text = [f"{child.name} {over_start.than(start.name)}."] if over_start else []
    text += [_against_parent(child, parent, step)] if parent.address != start.address else []
    if child.tags and parent.tags and (added or removed):
        text.append(f"It has {', '.join(added) or 'nothing'} instead of {', '.join(removed) or 'nothing'}.")
    text += [f"Its idea: {shorten(child.idea, IDEA, placeholder=' ...')}"] if child.idea else []
    text += _ahead_of_it(child, siblings, gains)
    weakness = _weakness(child)
    if weakness:
        gain = child.gains[weakness]
        text.append(f"Weakest on {weakness} ({gain.size} against {start.name} {gain.where}).")
    direction = step.direction if step else "same"
    helps = [tag for tag in effects if effects[tag].mean > NOISE]
    good = [tag for tag in added if direction == "better" or tag in helps]
    bad = [tag for tag in added if direction == "worse" and tag in effects and effects[tag].mean < 0]
    leading = sorted((tag for tag in helps if tag not in child.tags), key=lambda tag: -effects[tag].mean)[:2]
    if leading:
        told = ", ".join(f"{tag} goes with {effects[tag]}" for tag in leading)
        text.append(f"In the population so far, on the rung that most stand on, {told}.")
    mechanisms = (*good, *leading, *(f"-{tag}" for tag in bad))
    return Insight(text=" ".join(text), weakness=weakness, mechanisms=tuple(dict.fromkeys(mechanisms)))


def _against_parent(child: Observation, parent: Observation, step: Gain | None) -> str:
    told = step.than(f"its parent {parent.name}") if step else f"shares no rung with its parent {parent.name}"
    return f"It {told}."


def _ahead_of_it(child: Observation, siblings: Sequence[Observation], gains: Gains) -> list[str]:
    """The sibling that is shown to be ahead by most."""
    against = [(other, gains.over(other.address, child.address)) for other in siblings]
    ahead = [(other, gain) for other, gain in against if gain is not None and gain.direction == "better"]
    if not ahead:
        return []
    best, gain = max(ahead, key=lambda pair: (pair[1].mean, pair[0].address))
    choices = ", ".join(sorted(best.tags - child.tags)) or "the same choices"
    return [f"Its sibling {best.name} {gain.than('it')}, with {choices}."]


def _weakness(child: Observation) -> str:
    """The task with the least gain, of those on which anything is left to gain; empty where there is none."""
    left = [task for task in child.gains if task not in child.saturated]
    return min(left, key=lambda task: (child.gains[task].mean, task), default="")
