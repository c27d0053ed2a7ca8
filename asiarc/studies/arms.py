"""Ways of searching side by side: one campaign's search, repeated with and without a part of it, at equal compute.

Every repeat of an arm is a search of its own with the same number of candidates, steps and gates; equal repeats start
from equal seeds, so their first generation is the same. Two things are compared, paired by repeat: what the winners
gain over the start on seeds and text that no search has seen, and the mean gain of what was proposed after the first
generation (before it there is nothing to learn from), on the first rung, which every candidate enters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from asiarc.campaign.declaration import Budget, Campaign, by_tier
from asiarc.core.errors import CampaignError
from asiarc.core.recipe import Tier, stage_plan
from asiarc.studies.search import FULL, UNLIMITED_MINUTES, Search, SearchResult

if TYPE_CHECKING:
    from asiarc.archive.store import Archive
    from asiarc.evidence.effects import Effect

TOKENS_PER_CPU_S = 25_000  # of one thread and the micro model, gates and scoring included


class ArmsOf(Search):
    """The search of a campaign that asks no language model, as declared but for its size; the full loop comes first."""

    question: Campaign
    arms: tuple[str, ...] = Field(default=(FULL, "no_cognition"), min_length=2)

    @model_validator(mode="after")
    def _comparable(self) -> ArmsOf:
        if self.question.models is not None:
            raise ValueError(
                "a campaign with language models declares its arms itself: arms=('no_cognition',)"
            )
        if self.arms[0] != FULL or len(set(self.arms)) != len(self.arms):
            raise ValueError(f"name each arm once, {FULL!r} first; given: {', '.join(self.arms)}")
        return self

    def campaign(self, arm: str, repeat: int, tier: Tier) -> Campaign:
        """One arm's search in one repeat."""
        size = Budget(candidates=self.candidates, minutes=UNLIMITED_MINUTES)
        changes = {
            "baselines": (self.question.start_from,),
            "explore": self.question.explore.model_copy(update={"seeds": self.explore_seeds}),
            "verify": None,
            "confirm": None,
            "arms": (),
            "budget": by_tier(**{tier: size}),
            "seed": repeat,
        }
        declared = self.question.model_copy(update=changes)
        return declared if arm == FULL else declared.as_arm(arm)

    def minutes(self, workers: int) -> float:
        """About how long it takes."""
        tokens = sum(count * protocol.tokens for count, protocol in self.trials(self.tier))
        return tokens / TOKENS_PER_CPU_S / workers / 60


def arms_of(
    question: Campaign, arms: tuple[str, ...], tier: Tier, *, repeats: int, candidates: int, seeds: int
) -> ArmsOf:
    """The comparison of a campaign's full loop with some arms; winners train as long as explore's last rung."""
    if not arms:
        raise CampaignError("name at least one arm to compare with the full loop, e.g. --arm no_cognition")
    return ArmsOf(
        question=question,
        arms=(FULL, *arms),
        start_from=question.start_from,
        repeats=repeats,
        candidates=candidates,
        seeds=seeds,
        steps=stage_plan(tier, "explore").rungs[-1],
        explore_as=tier,
        tier=tier,
    )


@dataclass(frozen=True)
class Comparison:
    """The full loop against one arm; positive: the full loop is ahead. Bits a byte, paired by repeat."""

    arm: str
    winners: Effect
    later: Effect

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"arm": self.arm, "winners": self.winners.as_dict(), "later": self.later.as_dict()}

    def lines(self) -> list[str]:
        """What may be said, a sentence a measure."""
        told = (
            ("winners on fresh seeds and text", self.winners),
            ("candidates after the first generation", self.later),
        )
        return [
            f"full against {self.arm}, {what}: {_says(effect)}; {effect.explain()}" for what, effect in told
        ]


def _says(effect: Effect) -> str:
    if effect.low > 0:
        return f"the full loop is ahead by {effect.mean:.3f}"
    return f"the arm is ahead by {-effect.mean:.3f}" if effect.high < 0 else "no difference can be told"


def compare(result: SearchResult) -> list[Comparison]:
    """The full loop against each other arm, widened for all comparisons that are made."""
    from asiarc.evidence.effects import paired_effect

    others = result.search.arms[1:]
    later = {arm: result.later(arm) for arm in result.search.arms}
    count = 2 * len(others)
    return [
        Comparison(
            arm,
            result.advantage(FULL, arm, num_comparisons=count),
            paired_effect(later[FULL], later[arm], higher_is_better=True, num_comparisons=count),
        )
        for arm in others
    ]


def report(result: SearchResult) -> dict[str, Any]:
    """Everything that was compared, as JSON values."""
    winners = {arm: result.gains(arm) for arm in result.search.arms}
    later = {arm: result.later(arm) for arm in result.search.arms}
    return {
        "search": result.name,
        "tier": result.tier,
        "repeats": result.search.repeats,
        "candidates": result.search.candidates,
        "start_from": result.search.start_from,
        "arms": [
            {
                "arm": arm,
                "winners": list(winners[arm].values()),
                "later": list(later[arm].values()),
                **_spent(result, arm),
            }
            for arm in result.search.arms
        ],
        "comparisons": [comparison.as_dict() for comparison in compare(result)],
    }


def _spent(result: SearchResult, arm: str) -> dict[str, Any]:
    """What an arm took, and whether cognition came in: proposals, scored, those with an origin in it, CPU-seconds."""
    runs = [result.run_of(arm, repeat) for repeat in range(result.search.repeats)]
    archive: Archive = result.archive
    proposals = [row for run in runs for row in archive.proposals(run)]
    return {
        "proposals": len(proposals),
        "scored": sum(row["outcome"].kind == "scored" for run in runs for row in archive.results(run)),
        "from_cognition": sum(any(o["kind"] == "cognition" for o in row["origins"]) for row in proposals),
        "cpu_s": round(sum(trial.cpu_s for run in runs for trial in archive.trials(run, "explore")), 1),
    }


def lines(found: Mapping[str, Any], comparisons: list[Comparison]) -> list[str]:
    """The report as a table and sentences."""
    head = (
        "arm",
        "proposals",
        "scored",
        "from cognition",
        "CPU-s",
        "mean gain of winners",
        "mean gain of later ones",
    )
    rows = [
        (
            row["arm"], str(row["proposals"]), str(row["scored"]), str(row["from_cognition"]), f"{row['cpu_s']:.0f}",
            f"{fmean(row['winners']):+.4f}", f"{fmean(row['later']):+.4f}" if row["later"] else "none scored",
        )
        for row in found["arms"]
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
    title = (
        f"{found['search']} at tier {found['tier']}: {found['repeats']} repeats of {found['candidates']} "
        f"candidates an arm; gains over {found['start_from']} in bits a byte"
    )
    return [title, *table, *(line for comparison in comparisons for line in comparison.lines())]
