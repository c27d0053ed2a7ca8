"""A campaign's board and the policy that decides on it, with every draw seeded by address.

Proposal n is candidate n + 1 of the board; a proposal that was not admitted stands there unfit. The budget is in
evaluations on the last rung (`StagePlan.runs`); start_from's own trials, which gains are measured against, and
capability checks come on top. Whatever is left of it, a candidate's first evaluation is always paid: none that was
admitted ends without a number. The paper's policy is told start_from's loss and the judge's marks, which its fitness is
made of; its filter on the loss is left out, because small mixers lie further apart than the paper's 10 %. No other
policy is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asiarc.campaign.declaration import Campaign
from asiarc.core.recipe import StagePlan, Tier
from asiarc.core.seeds import seed_of
from asiarc.search.estimate import chances, posterior
from asiarc.search.policies import POLICIES
from asiarc.search.policies.bayes import screened_on
from asiarc.search.policies.paper import PaperPolicy
from asiarc.search.protocol import ROOT, Board, Evaluation, Recommendation, Traits

LEADING = 2000  # scored candidates that parents and references are chosen among
CHANCE = 0.02  # to be the best, above which it says more of a candidate than how high it may lie


@dataclass(frozen=True)
class Believed:
    """The posterior of one proposal's gain on the last rung, and how likely it is the best of all (start_from, whose
    number is -1, among them)."""

    number: int
    mean: float
    sd: float
    chance: float

    @property
    def promise(self) -> tuple[float, float]:
        """The likeliest first; among the unlikely, who may lie highest."""
        return (self.chance if self.chance >= CHANCE else 0.0, self.mean + 2 * self.sd)


def generations(candidates: int, *, one_by_one: bool = False) -> list[range]:
    """Numbers of the proposals, in generations whose size depends on the budget only (never on the workers), or each
    by itself."""
    size = 1 if one_by_one else max(4, min(16, candidates // 6))
    return [range(first, min(first + size, candidates)) for first in range(0, candidates, size)]


class Exploration:
    """What explore has seen of one campaign at one tier, and what its policy wants next."""

    def __init__(
        self,
        campaign: Campaign,
        name: str,
        tier: Tier,
        plan: StagePlan,
        start_loss: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.campaign, self.address = campaign, (name, tier, campaign.seed, "explore")
        self.is_papers = campaign.policy == "paper"
        self.policy = PaperPolicy(band=None) if self.is_papers else POLICIES[campaign.policy]()
        one_by_one = campaign.researcher == "open"  # whoever brings one reads its number before making the next
        self.generations = generations(campaign.budget.at(tier).candidates, one_by_one=one_by_one)
        expected = self.generations[-1].stop
        seeds = min(campaign.explore.seeds, plan.most_seeds)
        self.board = Board(
            plan.costs,
            expected * plan.runs(seeds),
            expected,
            reference_loss=start_loss() if self.is_papers else None,
            generation=len(self.generations[0]),
        )

    def enter(self, traits: Traits | None) -> None:
        """The next proposal: what it is, or None where it was not admitted."""
        self.board.enter(traits)

    def wanted(self, generation: int, turn: int) -> list[Evaluation]:
        """What is trained next, as far as it is paid; nothing: the next generation may be proposed."""
        return self.board.paid(self.policy.next(self.board, self._draws("next", generation, turn)))

    def observe(self, evaluation: Evaluation, gain: float, *, holds: bool) -> None:
        """An evaluation's gain, and whether the candidate has kept its capabilities."""
        self.board.observe(evaluation, gain)
        self.board.fit[evaluation.candidate] &= holds

    def replace(self, candidate: int, traits: Traits | None) -> None:
        """The candidate broke in training: another version stands in its place, or (None) it is given up."""
        self.board.forget(candidate)
        self.board.traits[candidate] = traits or Traits()
        self.board.fit[candidate] = traits is not None

    def mark(self, marks: Mapping[int, float]) -> None:
        """The judge's mean marks, 1 to 10, by the numbers of the proposals: for the paper's fitness, and no other."""
        for number, mark in marks.items():
            self.board.marks[number + 1] = mark

    def parents(self, leading: Sequence[int], generation: int, number: int) -> tuple[int, list[int]]:
        """The numbers of the parent and of up to four references of a proposal, -1 standing for start_from.

        `leading` are the numbers of the scored candidates to choose among, in order.
        """
        if self.campaign.arm == "best_of_n":
            return -1, []
        rows = [ROOT, *(n + 1 for n in leading)]
        draws = self._draws(generation, number, "sample")
        parent, references = self.policy.parents(self.board.part(rows), draws)
        return rows[parent] - 1, [rows[i] - 1 for i in references]

    def named(self) -> list[Recommendation]:
        """The candidates that the policy would go on with, the best first."""
        return self.policy.recommend(self.board) if self.board.counts.any() else []

    def belief(self, generation: int, number: int) -> list[Believed]:
        """What is believed of start_from and every candidate that was trained, the most promising first."""
        among = np.array([ROOT, *(i for i in self.board.fit_candidates if self.board.counts[i].any())], int)
        if len(among) == 1:
            return []
        known = posterior(self.board, screened_on(self.policy, self.board))
        best = chances(known, among, self._draws(generation, number, "belief"))
        rows = zip(among, known.mean[among], known.sd[among], best, strict=True)
        found = [Believed(int(i) - 1, float(mean), float(sd), float(share)) for i, mean, sd, share in rows]
        return sorted(found, key=lambda one: one.promise, reverse=True)

    def standing(self, candidate: int) -> tuple[int, int]:
        """The deepest rung that a candidate was trained on, and how often; (-1, 0) where on none."""
        counts = self.board.counts[candidate]
        rung = int(np.flatnonzero(counts)[-1]) if counts.any() else -1
        return rung, int(counts[rung]) if rung >= 0 else 0

    def order(self) -> list[int]:
        """Every scored candidate: those that the policy names first, then the others by the board's ranking."""
        named = [found.candidate for found in self.named()]
        others = set(named) | {ROOT}
        return named + [i for i in self.board.ranking() if i not in others and self.board.counts[i].any()]

    def finalists(self) -> list[int]:
        """Of `order`, those that got as deep as any that the policy names (or as any at all, where it names none)."""
        order = self.order()
        named = [found.candidate for found in self.named()] or order
        deepest = max((self.standing(i)[0] for i in named), default=-1)
        return [i for i in order if self.standing(i)[0] >= deepest]

    def _draws(self, *purpose: str | int) -> np.random.Generator:
        return np.random.default_rng(seed_of(*self.address, *purpose))
