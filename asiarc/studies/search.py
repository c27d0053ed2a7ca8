"""Arms of a search against one another: the same loop and compute, each arm repeated, winners trained again together.

Every repeat of an arm is a campaign of its own that explores; equal repeats start from equal seeds. What it puts
first enters one study, with the design that all started from, on seeds and text that no arm has seen. The repeat,
not the seed, is the unit of the statistics. What every candidate computes is fingerprinted, so that repeats can be
counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from asiarc.archive.results import mean_gain
from asiarc.campaign.declaration import ARMS, Budget, Campaign, Declaration, Stage, by_tier
from asiarc.campaign.identity import made_by, provenance, run_identity
from asiarc.core.candidate import content_address
from asiarc.core.digest import digest
from asiarc.core.errors import EvidenceError, unknown_name
from asiarc.core.recipe import MICRO, Protocol, Tier
from asiarc.models.baselines import baseline_source
from asiarc.studies.study import Say, Study, StudyResult, needs_tier

if TYPE_CHECKING:
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop
    from asiarc.evidence.effects import Effect

UNLIMITED_MINUTES = 1e6  # the budget is in candidates
RECORD = "arms"  # under which a finished search is kept, and the field of its identity
DISCOVERY = 0.05  # bits a byte over the start on the first rung, well above its seed noise
FULL = "full"  # the loop with all of its parts
BEHAVIOUR = "behaviour"  # under which a run's fingerprints are kept


class Search(Declaration):
    """What is searched: by which arms (`FULL` or a name of `declaration.ARMS`), how often and how long."""

    arms: tuple[str, ...] = Field(default=(FULL,), min_length=1)
    researcher: Any = "grammar"
    start_from: str = "delta_net"
    repeats: int = Field(default=5, ge=2)
    candidates: int = Field(default=10, ge=1, description="of one arm in one repeat")
    explore_seeds: int = 1
    explore_as: Tier = Field(default="quick", description="the tier whose rungs it explores on, below paper")
    seeds: int = Field(default=2, ge=2, description="fresh seeds of a winner")
    steps: int = 125
    tier: Tier = "full"

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        for arm in arms:
            if arm not in (FULL, *ARMS):
                raise ValueError(unknown_name("arm", arm, (FULL, *ARMS)))
        return arms

    def campaign(self, arm: str, repeat: int, tier: Tier) -> Campaign:
        """One arm's campaign at the tier it explores at; equal repeats of two arms share the campaign's seed."""
        campaign = Campaign(
            start_from=self.start_from,
            baselines=(self.start_from,),
            explore=Stage(tasks=("text",), seeds=self.explore_seeds),
            researcher=self.researcher,
            at_most={"state_bytes": 2.0, "flops": 2.0},
            budget=by_tier(**{tier: Budget(candidates=self.candidates, minutes=UNLIMITED_MINUTES)}),
            seed=repeat,
        )
        return campaign if arm == FULL else campaign.as_arm(arm)

    def explored_at(self, tier: Tier) -> Tier:
        """The tier at which the arms' campaigns explore when the search is run at a tier."""
        return tier if tier == "paper" else self.explore_as

    def run_of(self, name: str, arm: str, repeat: int, tier: Tier) -> str:
        """The identity of one arm's run."""
        explored = self.explored_at(tier)
        return digest(run_identity(self.campaign(arm, repeat, explored), name, explored))

    # --- cost -----------------------------------------------------------------------------------------------------

    def trials(self, tier: Tier) -> list[tuple[int, Protocol]]:
        """How many trials of which kind it takes at most."""
        from asiarc.studies.plan import stage_trials

        explored = self.explored_at(tier)
        rows = stage_trials(self.campaign(self.arms[0], 0, explored), "explore", explored)
        runs = len(self.arms) * self.repeats
        measured = self._study({self.start_from: baseline_source(self.start_from)}).trials(tier)
        return [
            *((runs * count, protocol) for count, protocol in rows),
            *(((runs + 1) * count, protocol) for count, protocol in measured),
        ]

    # --- running and reading --------------------------------------------------------------------------------------

    def run(self, name: str, tier: Tier, archive: Archive, workshop: Workshop, say: Say) -> SearchResult:
        """Run every arm's searches and their winners, but for what the archive holds."""
        from asiarc.loop.run import Run

        needs_tier(tier, self.tier, f"search {name}")
        explored, record = self.explored_at(tier), self._announce(name, tier, archive)
        workshop.fingerprints(self.start, MICRO)
        for repeat in range(self.repeats):
            for arm in self.arms:
                campaign = self.campaign(arm, repeat, explored)
                say(f"search {name}: {arm}, repeat {repeat + 1} of {self.repeats}")
                run = Run(campaign, name, explored, archive, workshop, lambda _: None)
                run.ensure("explore")
                self._fingerprint(run.run, archive, workshop)
        self._winners(name, tier, archive)[0].run(name, tier, archive, workshop, say)
        result = self.result(archive, tier, name)
        archive.finish_stage(record, RECORD, result.as_dict())
        return result

    def _announce(self, name: str, tier: Tier, archive: Archive) -> str:
        """Remember the search as a run of its own, which says what its arms' runs are."""
        identity = {
            RECORD: self.model_dump(mode="json", exclude={"researcher"}),
            "tier": tier,
            "runs": {
                arm: [self.run_of(name, arm, r, tier) for r in range(self.repeats)] for arm in self.arms
            },
            **made_by("trial"),
        }
        run = digest(identity)
        archive.add_run(run, name, tier, 0, identity, provenance())
        return run

    @property
    def start(self) -> dict[str, str]:
        """Address to source of what all arms start from."""
        source = baseline_source(self.start_from)
        return {content_address(source): source}

    def _fingerprint(self, run: str, archive: Archive, workshop: Workshop) -> None:
        if archive.stage_result(run, BEHAVIOUR) is None:
            proposed = {row["address"]: row["source"] for row in archive.proposals(run)}
            archive.finish_stage(run, BEHAVIOUR, workshop.fingerprints(self.start | proposed, MICRO))

    def _winners(
        self, name: str, tier: Tier, archive: Archive
    ) -> tuple[Study, dict[tuple[str, int], str | None]]:
        """The study of all winners and the start; and the address of each arm's winner by repeat."""
        sources = {self.start_from: baseline_source(self.start_from)}
        winners: dict[tuple[str, int], str | None] = {}
        for arm in self.arms:
            for repeat in range(self.repeats):
                explored = archive.stage_result(self.run_of(name, arm, repeat, tier), "explore")
                if explored is None:
                    raise EvidenceError(
                        f"search {name} has not been run at tier {tier}; run: pytest reproductions --tier {tier} "
                        f"-k {name}"
                    )
                winners[arm, repeat] = winner = next(iter(explored["finalists"]), None)
                if winner is not None:
                    row = archive.candidate(winner)
                    assert row is not None, winner
                    sources[winner_name(winner)] = row["source"]
        return self._study(sources), winners

    def _study(self, sources: dict[str, str]) -> Study:
        """The fresh trials of some mixers, the start among them."""
        return Study(
            mixers=sources, seeds=self.seeds, steps=self.steps, size_of=self.start_from, tier=self.tier
        )

    def result(self, archive: Archive, tier: Tier, name: str) -> SearchResult:
        """What a finished search found; `EvidenceError` where it has not been run, or needs a larger tier."""
        needs_tier(tier, self.tier, f"search {name}")
        study, winners = self._winners(name, tier, archive)
        return SearchResult(self, name, tier, archive, study.result(archive, tier, name), winners)


@dataclass(frozen=True)
class SearchResult:
    """Every arm's winners on fresh seeds, and how their candidates began."""

    search: Search
    name: str
    tier: Tier
    archive: Archive
    measured: StudyResult
    winners: dict[tuple[str, int], str | None]

    @property
    def run(self) -> str:
        """The identity of the study of the winners."""
        return self.measured.run

    def gains(self, arm: str) -> dict[int, float]:
        """Repeat to the winner's mean gain over the start on fresh seeds, bits a byte; no winner gained nothing."""
        if arm not in self.search.arms:
            raise EvidenceError(unknown_name("arm of this search", arm, self.search.arms))
        start = self.measured.values(self.search.start_from)
        found = {}
        for repeat in range(self.search.repeats):
            winner = self.winners[arm, repeat]
            values = self.measured.values(winner_name(winner)) if winner else {}
            gain = mean_gain(values, start, higher_is_better=False)
            found[repeat] = 0.0 if gain is None else gain
        return found

    def advantage(self, arm: str, other: str, *, num_comparisons: int = 1) -> Effect:
        """How much more one arm's winners gain than another's, paired by repeat."""
        from asiarc.evidence.effects import paired_effect

        return paired_effect(
            self.gains(arm), self.gains(other), higher_is_better=True, num_comparisons=num_comparisons
        )

    def later(self, arm: str) -> dict[int, float]:
        """Repeat to the mean gain on the first rung of what was proposed after the first generation and scored.

        The first generation knows nothing yet, so that arms which differ by what they learn share it.
        """
        found = {}
        for repeat in range(self.search.repeats):
            run = self.run_of(arm, repeat)
            gains = first_rung_gains(self.archive, run, self.search.start_from)
            addresses = [row["address"] for row in self.archive.proposals(run) if row["generation"] > 0]
            if scored := [gains[address] for address in addresses if address in gains]:
                found[repeat] = fmean(scored)
        return found

    def same_winner(self, arm: str, other: str) -> int:
        """In how many repeats two arms put the same candidate first: there, nothing tells them apart."""
        return sum(
            self.winners[arm, repeat] == self.winners[other, repeat] for repeat in range(self.search.repeats)
        )

    def run_of(self, arm: str, repeat: int) -> str:
        """The identity of one arm's run."""
        return self.search.run_of(self.name, arm, repeat, self.tier)

    def discoveries(self, arm: str, repeat: int, margin: float) -> list[bool]:
        """In the order of the proposals: did it beat the start by `margin` bits a byte on the first rung?"""
        run = self.run_of(arm, repeat)
        gains = first_rung_gains(self.archive, run, self.search.start_from)
        return [gains.get(row["address"], 0.0) > margin for row in self.archive.proposals(run)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, by arm and repeat: the winner's gain, the first rung's gains in order, CPU-seconds of explore."""
        start, repeats = self.search.start_from, range(self.search.repeats)
        found: dict[str, Any] = {"gains": {}, "first_rung": {}, "cpu_s": {}}
        for arm in self.search.arms:
            runs = [self.run_of(arm, repeat) for repeat in repeats]
            rungs = [first_rung_gains(self.archive, run, start) for run in runs]
            found["gains"][arm] = {str(repeat): gain for repeat, gain in self.gains(arm).items()}
            found["first_rung"][arm] = {
                str(repeat): [
                    rungs[repeat].get(row["address"]) for row in self.archive.proposals(runs[repeat])
                ]
                for repeat in repeats
            }
            found["cpu_s"][arm] = [sum(t.cpu_s for t in self.archive.trials(run, "explore")) for run in runs]
        return found

    def repeated(self, arm: str, repeat: int) -> float:
        """The share of proposals that compute what the start or an earlier one does, by fingerprint or address."""
        from asiarc.researcher.novelty import same_behaviour

        run = self.run_of(arm, repeat)
        prints, proposals = self.archive.stage_result(run, BEHAVIOUR) or {}, self.archive.proposals(run)
        earlier = list(self.search.start)
        count = 0
        for row in proposals:
            address = row["address"]
            mine = prints.get(address)
            count += any(
                address == other or (mine and prints.get(other) and same_behaviour(mine, prints[other]))
                for other in earlier
            )
            earlier.append(address)
        return count / len(proposals)


def winner_name(address: str) -> str:
    """What a winner is called in the study of the winners."""
    return f"winner {address}"


def first_rung_gains(archive: Archive, run: str, start_from: str) -> dict[str, float]:
    """Address to gain over the start on the first rung of explore, the one measure that every candidate has.

    Bits a byte on the first seed; a candidate that was rejected or failed is absent.
    """
    trials = [t for t in archive.trials(run, "explore") if t.task == "text"]
    scored = [(t.steps, t.address, t.seed, t.value) for t in trials if t.value is not None]
    if not scored:
        raise EvidenceError("the run has no scored trial on text in explore")
    steps, start = min(scored)[0], content_address(baseline_source(start_from))
    first = {(address, seed): value for rung, address, seed, value in scored if rung == steps}
    seed = min(its_seed for address, its_seed in first if address == start)
    return {
        address: first[start, seed] - value
        for (address, its_seed), value in first.items()
        if its_seed == seed and address != start
    }
