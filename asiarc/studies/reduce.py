"""Reduction: a winner part by part down to the smallest mixer that keeps its gain, by taking away, not by counting.

Each round trains the mixer without one of its parts, for every part, at one size and on the same fresh seeds and text.
A part may go where what is left is still ahead of the reference by an interval, and not behind the whole winner by one;
of those that may, the one whose absence costs least goes, and the next round begins without it. What is left when none
may is named: its parts carry the gain. Intervals are widened for all comparisons of a round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from asiarc.core.candidate import content_address
from asiarc.core.errors import CandidateError, EvidenceError
from asiarc.core.genome import Genome, Tag, defaults
from asiarc.researcher.mechanisms import describe, phrase, tag_of
from asiarc.researcher.render import render
from asiarc.studies.study import Say, Study, StudyResult
from asiarc.studies.verdicts import shown

if TYPE_CHECKING:
    from asiarc.archive.store import Archive
    from asiarc.core.recipe import Tier
    from asiarc.engineer.workshop import Workshop
    from asiarc.evidence.effects import Effect

WHOLE, LEFT, REFERENCE = "the winner", "what is left", "the reference"
Conduct = Callable[[Study, int], StudyResult]  # a round's study and its number


@dataclass(frozen=True)
class Without:
    """What is left of the mixer without one part: its gain over the reference and over the whole winner."""

    part: Tag
    source: str
    over_reference: Effect
    over_whole: Effect

    @property
    def keeps(self) -> bool:
        """Whether the part may go: still ahead of the reference, and not behind the whole."""
        return self.over_reference.low > 0 and self.over_whole.high >= 0


@dataclass(frozen=True)
class Reduced:
    """A winner's rounds, what went in which order, and what is left."""

    whole: Genome
    left: Genome
    gone: tuple[Tag, ...]
    rounds: tuple[tuple[Without, ...], ...]
    gain: Effect  # of what is left, over the reference

    @property
    def source(self) -> str:
        """Of what is left."""
        return render(self.left, describe(self.left))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "whole": self.whole.model_dump(),
            "left": self.left.model_dump(),
            "address": content_address(self.source),
            "gone": list(self.gone),
            "gain": self.gain.as_dict(),
            "rounds": [[asdict(one) | {"keeps": one.keeps} for one in found] for found in self.rounds],
            "source": self.source,
        }

    def lines(self) -> list[str]:
        """A line a part and round, and what is left, in words."""
        told = [
            f"round {number + 1}, without {phrase(one.part)}: {shown(one.over_reference)} over the reference, "
            f"{shown(one.over_whole)} over the winner: {'may go' if one.keeps else 'is needed'}"
            for number, found in enumerate(self.rounds)
            for one in found
        ]
        gone = ", ".join(map(phrase, self.gone)) or "nothing"
        kept = ", ".join(phrase(tag_of(*choice)) for choice in self.left.choices().items())
        return [*told, f"taken away: {gone}", f"left, {shown(self.gain)} over the reference: {kept}"]


def parts_of(genome: Genome) -> dict[Tag, Genome]:
    """What is left without each of the choices that differ from the default, by the choice; the memory has one, too:
    without it stands the plain sum. Two choices whose absence leaves the same are one part, under the first."""
    found: dict[Tag, Genome] = {}
    for field, value in genome.choices().items():
        left = Genome(**genome.model_dump() | {field: defaults()[field]})
        if left not in (genome, *found.values()):
            found[tag_of(field, value)] = left
    return found


def reduce(
    genome: Genome, reference: str, conduct: Conduct, *, seeds: int, steps: int, task: str, tier: Tier
) -> Reduced:
    """The smallest mixer that keeps the gain over a reference (source). `EvidenceError` where there is no gain to keep:
    the winner is not ahead of the reference on fresh seeds."""
    left, gone, rounds = genome, tuple[Tag, ...](), list[tuple[Without, ...]]()
    while True:
        mixers = {REFERENCE: reference, WHOLE: render(genome), **_named(left)}
        mixers |= {LEFT: render(left)} if gone else {}
        study = Study(mixers=mixers, tasks=(task,), seeds=seeds, steps=steps, size_of=REFERENCE, tier=tier)
        result = conduct(study, len(rounds))
        found = _without(result, left, task)
        gain = result.gain(LEFT if gone else WHOLE, REFERENCE, task)
        if not rounds and gain.low <= 0:
            raise EvidenceError(
                f"there is no gain to keep: on {gain.n} fresh seeds it is {shown(gain)} over the reference; more "
                "seeds may show one, or it is none"
            )
        rounds.append(found)
        may = [one for one in found if one.keeps]
        if not may:
            return Reduced(genome, left, gone, tuple(rounds), gain)
        least = max(may, key=lambda one: one.over_whole.mean)
        left, gone = parts_of(left)[least.part], (*gone, least.part)


def _named(left: Genome) -> dict[str, str]:
    """The sources without each part, by name."""
    return {f"without {part}": render(child) for part, child in parts_of(left).items()}


def _without(result: StudyResult, left: Genome, task: str) -> tuple[Without, ...]:
    """What a round says of each part; one that no seed scored twice without is needed, and is not in it."""
    parts = parts_of(left)
    named = {part: f"without {part}" for part in parts}
    scored = [part for part, name in named.items() if len(result.values(name, task)) > 1]
    count = 2 * len(scored)
    return tuple(
        Without(
            part,
            result.study.mixers[named[part]],
            result.gain(named[part], REFERENCE, task, num_comparisons=count),
            result.gain(named[part], WHOLE, task, num_comparisons=count),
        )
        for part in scored
    )


def genome_of(name: str, stored: dict[str, Any] | None, source: str) -> Genome:
    """The genome of a candidate as it is kept, or of the design that a source is. `CandidateError` where its parts are
    not known."""
    from asiarc.researcher.designs import baseline_genomes

    found = Genome(**stored) if stored else baseline_genomes().get(content_address(source))
    if found is None:
        raise CandidateError(
            f"{name} was not written by the grammar, so its parts are not known; propose it without the part in "
            "question: asiarc propose FILE --parent ADDRESS"
        )
    return found


def conducted(name: str, tier: Tier, archive: Archive, workshop: Workshop, say: Say) -> Conduct:
    """Rounds as studies in an archive, each resumed like any other."""
    return lambda study, number: study.run(f"{name} round {number + 1}", tier, archive, workshop, say)
