"""Whether a task measures memory: what the controls, which lack one, leave to the mixers that have one."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asiarc.core.errors import EvidenceError
from asiarc.evidence.effects import Effect, paired_effect

Values = Mapping[str, float]  # by seed


@dataclass(frozen=True)
class MemoryFinding:
    """What a task's trials say of it: the `best` mixer with a memory, its gain over each control, memory's `share` of
    what context gives, how many of the mixers with a memory are `ahead` of every control by an interval, of how many.
    """

    best: str
    gains: Mapping[str, Effect]
    share: float
    ahead: int
    mixers: int
    asked: float

    @property
    def is_valid(self) -> bool:
        """Whether the best mixer with a memory is ahead of every control by an interval, and by share enough."""
        return min(gain.low for gain in self.gains.values()) > 0 and self.share >= self.asked

    @property
    def reason(self) -> str:
        """In words."""
        control, least = min(self.gains.items(), key=lambda found: found[1].low)
        told = (
            f"{self.best} is {least.mean:+.3f} [{least.low:+.3f}, {least.high:+.3f}] over {control}; memory's share is "
            f"{self.share:.0%}, asked are {self.asked:.0%}; {self.ahead} of {self.mixers} mixers with a memory are "
            "ahead of every control"
        )
        return told if self.is_valid else f"not shown to measure memory: {told}"


def memory_share(best: float, control: float, uninformed: float) -> float:
    """Memory's share of all that a reader of the context gains: (control - best) / (uninformed - best).

    `best` is the mean of the best mixer with a memory, `control` of the best control, `uninformed` what a reader pays
    who knows frequencies and reads nothing: the entropy of what is scored, in bits; of an accuracy, chance. 0 where the
    best control is not behind, 1 where it learns nothing from the context. Raises `EvidenceError` where nobody gains
    anything from the context.
    """
    if best == uninformed:
        raise EvidenceError(f"nothing was learnt from the context: the best mixer is at {best:.4g}, as without one")
    return (control - best) / (uninformed - best)


def examined(
    mixers: Mapping[str, Values],
    controls: Mapping[str, Values],
    *,
    uninformed: float,
    higher_is_better: bool,
    share: float,
) -> MemoryFinding:
    """What trials of mixers with a memory and of controls say of a task, paired by seed.

    Intervals hold for all pairs of a mixer and a control at once, since the best is chosen among them. Raises
    `EvidenceError` where a side is missing, or has fewer than two common seeds.
    """
    if not mixers or not controls or not all([*mixers.values(), *controls.values()]):
        raise EvidenceError("a task is examined with trials of mixers with a memory and of controls: one has none")
    pairs = len(mixers) * len(controls)
    gains = {
        mixer: {
            control: paired_effect(values, lacks, higher_is_better=higher_is_better, num_comparisons=pairs)
            for control, lacks in controls.items()
        }
        for mixer, values in mixers.items()
    }
    best = _best(mixers, higher_is_better=higher_is_better)
    control = _best(controls, higher_is_better=higher_is_better)
    means = statistics.fmean(mixers[best].values()), statistics.fmean(controls[control].values())
    ahead = sum(_is_ahead(list(found.values())) for found in gains.values())
    return MemoryFinding(best, gains[best], memory_share(*means, uninformed), ahead, len(mixers), share)


def _best(values: Mapping[str, Values], *, higher_is_better: bool) -> str:
    sign = 1 if higher_is_better else -1
    return max(values, key=lambda name: sign * statistics.fmean(values[name].values()))


def _is_ahead(gains: Sequence[Effect]) -> bool:
    return all(gain.low > 0 for gain in gains)
