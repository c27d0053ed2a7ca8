"""Arms of a search against one another: ways of searching, each repeated, at equal compute.

Every repeat of an arm is a campaign of its own that explores; equal repeats start from equal seeds, so their first
generation is the same. What it puts first enters one study, with the design that all started from, on seeds and text
that no arm has seen. The repeat, not the seed, is the unit of the statistics. Two things are compared, paired by
repeat: what the winners gain over the start, and the mean gain on the first rung, which every candidate enters, of what
was proposed after the first generation (before it there is nothing to learn from). What every candidate computes is
fingerprinted, so that repeats can be counted.

A campaign's own ``arms=(...)`` are searched once beside it, all stages through: `arm_lines` sets them side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from asiarc.archive.results import CampaignResult, address_in, mean_gain, paired_by_seed
from asiarc.archive.retry import forget_failures
from asiarc.campaign.declaration import ARMS, Budget, Campaign, Stage, by_tier
from asiarc.campaign.identity import made_by, provenance, run_identity
from asiarc.campaign.own import Baseline
from asiarc.campaign.recipe import CampaignDeclaration
from asiarc.core.digest import digest
from asiarc.core.errors import CampaignError, EvidenceError, unknown_name
from asiarc.core.recipe import MICRO, ON_GPU, Tier, TrialRecipe
from asiarc.core.seeds import seed_of
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.studies.study import Say, Study, StudyResult, needs_tier
from asiarc.tasks import deciding, get_task

if TYPE_CHECKING:
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop

UNLIMITED_MINUTES = 1e6  # the budget is in candidates
RECORD = "arms"  # under which a finished search is kept, and the field of its identity
DISCOVERY = 0.05  # bits over the start's mean on the first rung, on one seed: promising, to be counted and not believed
FULL = "full"  # the loop with all of its parts
BEHAVIOUR = "behaviour"  # under which a run's fingerprints are kept
TOKENS_PER_CPU_S = 25_000  # of one thread and the micro model, gates and scoring included
RESAMPLES = 2000


class Winners(Study):
    """What the arms put first and the start, judged as the searches' last rung judges, on seeds and text of its own."""

    judged: TrialRecipe

    def text(self, tier: Tier) -> TrialRecipe:
        """The last rung's."""
        return self.judged


class Search(CampaignDeclaration):
    """What is searched: by which arms (`FULL` or a name of `declaration.ARMS`), how often and how long."""

    arms: tuple[str, ...] = Field(default=(FULL,), min_length=1)
    researcher: Any = "grammar"
    start_from: str = "delta_net"
    task: str = Field(default="mixed:zipf", description="the text that is searched and judged on")
    repeats: int = Field(default=5, ge=2)
    candidates: int = Field(default=10, ge=1, description="of one arm in one repeat")
    explore_seeds: int = 1
    explore_as: Tier = Field(default="quick", description="the tier whose rungs it explores on, below gpu")
    seeds: int = Field(default=2, ge=2, description="fresh seeds of a winner")
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
            explore=Stage(tasks=(self.task,), seeds=self.explore_seeds),
            researcher=self.researcher,
            at_most={"state_bytes": 2.0, "flops": 2.0},
            budget=by_tier(**{tier: Budget(candidates=self.candidates, minutes=UNLIMITED_MINUTES)}),
            seed=repeat,
        )
        return campaign if arm == FULL else campaign.as_arm(arm)

    def explored_at(self, tier: Tier) -> Tier:
        """The tier at which the arms' campaigns explore when the search is run at a tier."""
        return tier if tier in ON_GPU else self.explore_as

    def run_of(self, name: str, arm: str, repeat: int, tier: Tier) -> str:
        """The identity of one arm's run."""
        explored = self.explored_at(tier)
        return digest(run_identity(self.campaign(arm, repeat, explored), name, explored))

    # --- cost -----------------------------------------------------------------------------------------------------

    def trials(self, tier: Tier) -> list[tuple[int, TrialRecipe]]:
        """How many trials of which kind it takes at most."""
        from asiarc.studies.plan import stage_trials

        explored = self.explored_at(tier)
        rows = stage_trials(self.campaign(self.arms[0], 0, explored), "explore", explored)
        runs = len(self.arms) * self.repeats
        measured = self._study({self.start_from: self._start.source}, tier).trials(tier)
        return [
            *((runs * count, recipe) for count, recipe in rows),
            *(((runs + 1) * count, recipe) for count, recipe in measured),
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

    def retry(self, name: str, tier: Tier, archive: Archive) -> str:
        """As `Study.retry`, of its arms and of their winners' trials."""
        needs_tier(tier, self.tier, f"search {name}")
        runs = {
            (arm, repeat): self.run_of(name, arm, repeat, tier) for arm in self.arms for repeat in range(self.repeats)
        }
        told = {}
        if all(archive.stage_result(run, "explore") is not None for run in runs.values()):
            told["winners"] = self._winners(name, tier, archive)[0].retry(name, tier, archive)
        told |= {f"{arm}, repeat {repeat + 1}": forget_failures(archive, run) for (arm, repeat), run in runs.items()}
        return "; ".join(f"{which}: {dropped}" for which, dropped in told.items() if dropped)

    def _announce(self, name: str, tier: Tier, archive: Archive) -> str:
        """Remember the search as a run of its own, which says what its arms' runs are."""
        identity = {
            RECORD: self.model_dump(mode="json", exclude={"researcher"}),
            "tier": tier,
            "runs": {arm: [self.run_of(name, arm, r, tier) for r in range(self.repeats)] for arm in self.arms},
            **made_by("trial"),
        }
        run = digest(identity)
        archive.add_run(run, name, tier, 0, identity, provenance())
        return run

    @property
    def start(self) -> dict[str, str]:
        """Address to source of what all arms start from."""
        return {self._start.address: self._start.source}

    @property
    def _start(self) -> Baseline:
        return self.campaign(self.arms[0], 0, self.explored_at(self.tier)).baseline(self.start_from)

    def _fingerprint(self, run: str, archive: Archive, workshop: Workshop) -> None:
        if archive.stage_result(run, BEHAVIOUR) is None:
            proposed = {row["address"]: row["source"] for row in archive.proposals(run)}
            archive.finish_stage(run, BEHAVIOUR, workshop.fingerprints(self.start | proposed, MICRO))

    def _winners(self, name: str, tier: Tier, archive: Archive) -> tuple[Study, dict[tuple[str, int], str | None]]:
        """The study of all winners and the start; and the address of each arm's winner by repeat."""
        sources = {self.start_from: self._start.source}
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
        return self._study(sources, tier), winners

    def _study(self, sources: dict[str, str], tier: Tier) -> Study:
        """The fresh trials of some mixers, the start among them."""
        explored = self.explored_at(tier)
        plan = self.campaign(self.arms[0], 0, explored).plan("explore", explored)
        return Winners(
            mixers=sources, tasks=(self.task,), seeds=self.seeds, size_of=self.start_from, tier=self.tier,
            judged=plan.text.at(steps=plan.rungs[-1]),
        )  # fmt: skip

    def result(self, archive: Archive, tier: Tier, name: str) -> SearchResult:
        """What a finished search found; `EvidenceError` where it has not been run, or needs a larger tier."""
        needs_tier(tier, self.tier, f"search {name}")
        study, winners = self._winners(name, tier, archive)
        return SearchResult(self, name, tier, archive, study.result(archive, tier, name), winners)


class ArmsOf(Search):
    """The search of a campaign that asks no language model, as declared but for its size; the full loop comes first."""

    question: Campaign
    arms: tuple[str, ...] = Field(default=(FULL, "no_cognition"), min_length=2)

    @model_validator(mode="after")
    def _comparable(self) -> ArmsOf:
        if self.question.models is not None:
            raise ValueError("a campaign with language models declares its arms itself: arms=('no_cognition',)")
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
        tokens = sum(count * recipe.tokens for count, recipe in self.trials(self.tier))
        return tokens / TOKENS_PER_CPU_S / workers / 60


def arms_of(
    question: Campaign, arms: tuple[str, ...], tier: Tier, *, repeats: int, candidates: int, seeds: int
) -> ArmsOf:
    """The comparison of a campaign's full loop with some arms; winners train as long as explore's last rung."""
    if not arms:
        raise CampaignError("name at least one arm to compare with the full loop, e.g. --arm no_cognition")
    texts = judged_on(question.explore.tasks)
    if not texts:
        raise CampaignError(
            f"arms are compared in bits on a text that decides, and explore asks {', '.join(question.explore.tasks)}: "
            "declare arms=('no_cognition',) in the campaign, whose stages compare them on its own tasks"
        )
    return ArmsOf(
        question=question,
        arms=(FULL, *arms),
        start_from=question.start_from,
        task=texts[0],
        repeats=repeats,
        candidates=candidates,
        seeds=seeds,
        explore_as=tier,
        tier=tier,
    )


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
        """Repeat to the winner's mean gain over the start on fresh seeds, in bits; no winner gained nothing."""
        if arm not in self.search.arms:
            raise EvidenceError(unknown_name("arm of this search", arm, self.search.arms))
        start = self.measured.values(self.search.start_from, self.search.task)
        found = {}
        for repeat in range(self.search.repeats):
            winner = self.winners[arm, repeat]
            values = self.measured.values(winner_name(winner), self.search.task) if winner else {}
            gain = mean_gain(values, start, higher_is_better=False)
            found[repeat] = 0.0 if gain is None else gain
        return found

    def advantage(self, arm: str, other: str, *, num_comparisons: int = 1) -> Effect:
        """How much more one arm's winners gain than another's, paired by repeat."""
        return paired_effect(self.gains(arm), self.gains(other), higher_is_better=True, num_comparisons=num_comparisons)

    def later_advantage(self, arm: str, other: str, *, num_comparisons: int = 1) -> Effect:
        """How much more what one arm proposed later gains on the first rung than another's, paired by repeat."""
        return paired_effect(self.later(arm), self.later(other), higher_is_better=True, num_comparisons=num_comparisons)

    def first_rung(self, arm: str, repeat: int) -> list[tuple[int, float | None]]:
        """Every proposal in order: its generation, and its gain over the start on the first rung; None: not scored."""
        run = self.run_of(arm, repeat)
        gains = first_rung_gains(self.archive, run, self.search.start_from)
        return [(row["generation"], gains.get(row["address"])) for row in self.archive.proposals(run)]

    def later(self, arm: str) -> dict[int, float]:
        """Repeat to the mean gain on the first rung of what was proposed after the first generation and scored.

        The first generation knows nothing yet, so that arms which differ by what they learn share it.
        """
        found = {}
        for repeat in range(self.search.repeats):
            told = self.first_rung(arm, repeat)
            if scored := [gain for generation, gain in told if generation > 0 and gain is not None]:
                found[repeat] = fmean(scored)
        return found

    def same_winner(self, arm: str, other: str) -> int:
        """In how many repeats two arms put the same candidate first: there, nothing tells them apart."""
        return sum(self.winners[arm, repeat] == self.winners[other, repeat] for repeat in range(self.search.repeats))

    def run_of(self, arm: str, repeat: int) -> str:
        """The identity of one arm's run."""
        return self.search.run_of(self.name, arm, repeat, self.tier)

    def discoveries(self, arm: str, margin: float = DISCOVERY) -> tuple[int, int]:
        """Of what was proposed after the first generation and scored, over all repeats: how many beat the start by
        `margin` bits a byte on the first rung, and of how many."""
        told = [one for repeat in range(self.search.repeats) for one in self.first_rung(arm, repeat)]
        scored = [gain for generation, gain in told if generation > 0 and gain is not None]
        return sum(gain > margin for gain in scored), len(scored)

    def ended(self, arm: str) -> Counter[str]:
        """How many proposals over all repeats were scored, refused or failed."""
        runs = [self.run_of(arm, repeat) for repeat in range(self.search.repeats)]
        return sum((ends_of(self.archive, run) for run in runs), Counter())

    def cpu_s(self, arm: str) -> list[float]:
        """CPU-seconds of each repeat's trials."""
        runs = [self.run_of(arm, repeat) for repeat in range(self.search.repeats)]
        return [sum(trial.cpu_s for trial in self.archive.trials(run, "explore")) for run in runs]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, by arm and repeat: the winner's gain, the first rung's gains in order, CPU-seconds of explore."""
        arms, repeats = self.search.arms, range(self.search.repeats)
        return {
            "gains": {arm: {str(repeat): gain for repeat, gain in self.gains(arm).items()} for arm in arms},
            "first_rung": {
                arm: {str(repeat): [gain for _, gain in self.first_rung(arm, repeat)] for repeat in repeats}
                for arm in arms
            },
            "cpu_s": {arm: self.cpu_s(arm) for arm in arms},
        }

    def repeated(self, arm: str, repeat: int, *, copies: bool = True) -> float:
        """The share of proposals that compute what the start or an earlier one does, by fingerprint or address.

        Without `copies`, of those that are no copy of an earlier program: other programs that behave alike.
        """
        from asiarc.researcher.novelty import same_behaviour

        run = self.run_of(arm, repeat)
        prints, proposals = self.archive.stage_result(run, BEHAVIOUR) or {}, self.archive.proposals(run)
        earlier = list(self.search.start)
        count = 0
        for row in proposals:
            address = row["address"]
            mine = prints.get(address)
            alike = (mine and prints.get(other) and same_behaviour(mine, prints[other]) for other in earlier)
            is_copy = address in earlier
            count += (copies or not is_copy) and (is_copy or any(alike))
            earlier.append(address)
        return count / len(proposals)


def winner_name(address: str) -> str:
    """What a winner is called in the study of the winners."""
    return f"winner {address}"


def judged_on(tasks: Iterable[str]) -> list[str]:
    """Of some tasks, the texts that decide: a search is compared in bits on the first of them."""
    return [task for task in deciding(tasks) if not get_task(task).higher_is_better]


def first_rung_gains(archive: Archive, run: str, start_from: str) -> dict[str, float]:
    """Address to gain over the start's mean on the first rung of explore, the one measure that every candidate has.

    Bits on the first seed, on the first task that decides; a candidate that was rejected or failed is absent.
    """
    trials = [t for t in archive.trials(run, "explore") if "tuning" not in t.seed]
    texts = judged_on(sorted({t.task for t in trials}))
    scored = [(t.steps, t.address, t.seed, t.value) for t in trials if t.task in texts[:1] and t.value is not None]
    if not scored:
        raise EvidenceError("the run has no scored trial on a text that decides in explore")
    steps, start = min(scored)[0], address_in(archive, run, start_from)
    first = {(address, seed): value for rung, address, seed, value in scored if rung == steps}
    theirs = {seed: value for (address, seed), value in first.items() if address == start}
    seed, base = min(theirs), fmean(theirs.values())
    return {
        address: base - value
        for (address, its_seed), value in first.items()
        if its_seed == seed and address != start
    }


def ends_of(archive: Archive, run: str) -> Counter[str]:
    """How many proposals of a run were "scored", "refused" (by a gate or a cap) or "failed" (in training, or with the
    machine): a refusal is the arm's own, a failure need not be."""
    words = {"scored": "scored", "rejected": "refused"}
    return Counter(words.get(row["outcome"].kind, "failed") for row in archive.results(run))


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
        return [f"full against {self.arm}, {what}: {_says(effect)}; {effect.explain()}" for what, effect in told]


def _says(effect: Effect) -> str:
    if effect.low > 0:
        return f"the full loop is ahead by {effect.mean:.3f}"
    return f"the arm is ahead by {-effect.mean:.3f}" if effect.high < 0 else "no difference can be told"


def compare(result: SearchResult) -> list[Comparison]:
    """The full loop against each other arm, widened for all comparisons that are made."""
    others = result.search.arms[1:]
    count = 2 * len(others)
    return [
        Comparison(
            arm,
            result.advantage(FULL, arm, num_comparisons=count),
            result.later_advantage(FULL, arm, num_comparisons=count),
        )
        for arm in others
    ]


def report(result: SearchResult) -> dict[str, Any]:
    """Everything that was compared, as JSON values."""
    search = result.search
    return {
        "search": result.name,
        "tier": result.tier,
        "repeats": search.repeats,
        "candidates": search.candidates,
        "start_from": search.start_from,
        "task": search.task,
        "arms": [
            {
                "arm": arm,
                "winners": list(result.gains(arm).values()),
                "later": list(result.later(arm).values()),
                **_spent(result, arm),
            }
            for arm in search.arms
        ],
        "comparisons": [comparison.as_dict() for comparison in compare(result)],
    }


def _spent(result: SearchResult, arm: str) -> dict[str, Any]:
    """What an arm took and gave, and whether cognition came in: proposals, how they ended, discoveries of those that
    were scored after the first generation, proposals with an origin in cognition, CPU-seconds."""
    runs = [CampaignResult.load(result.archive, result.run_of(arm, r)) for r in range(result.search.repeats)]
    origins = [found for run in runs for found in run.origins(scored=False)]
    (discoveries, of), ends = result.discoveries(arm), result.ended(arm)
    return {
        "proposals": len(origins),
        **{end: ends[end] for end in ("scored", "refused", "failed")},
        "discoveries": discoveries,
        "scored_later": of,
        "from_cognition": sum(any(o["kind"] == "cognition" for o in found) for found in origins),
        "cpu_s": round(sum(result.cpu_s(arm)), 1),
    }


def lines(found: Mapping[str, Any], comparisons: list[Comparison]) -> list[str]:
    """The report as a table and sentences."""
    head = ("arm", "proposals", "scored", "refused", "failed", "discoveries later", "from cognition", "CPU-s",
            "mean gain of winners", "mean gain of later ones")  # fmt: skip
    rows = [
        (
            row["arm"], *(str(row[count]) for count in ("proposals", "scored", "refused", "failed")),
            f"{row['discoveries']} of {row['scored_later']}", str(row["from_cognition"]), f"{row['cpu_s']:.0f}",
            f"{fmean(row['winners']):+.4f}", f"{fmean(row['later']):+.4f}" if row["later"] else "none scored",
        )
        for row in found["arms"]
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    title = (
        f"{found['search']} at tier {found['tier']}: {found['repeats']} repeats of {found['candidates']} "
        f"candidates an arm; gains over {found['start_from']} in bits on {found['task']}"
    )
    return [title, *table, *(line for comparison in comparisons for line in comparison.lines())]


# --- the arms of one campaign -----------------------------------------------------------------------------------------


def arm_lines(archive: Archive, runs: Iterable[tuple[str, str, str]]) -> list[str]:
    """A line for each arm of each campaign; takes (campaign, arm, run), the full loop with an empty arm.

    Two comparisons with the full loop, each with its interval: the winners, paired on the fresh seeds of the last stage
    that ran (one campaign seed, so this says which winner is better, not which arm finds better ones), and the mean
    gain of all scored candidates of explore (a bootstrap over candidates).
    """
    found = [(name, arm, CampaignResult.load(archive, run)) for name, arm, run in runs]
    full = {name: result for name, arm, result in found if not arm}
    return [line for name, arm, result in found for line in _arm(name, arm, result, full.get(name))]


def _arm(name: str, arm: str, result: CampaignResult, full: CampaignResult | None) -> list[str]:
    rows = result.archive.results(result.run)
    gains = [row["gain"] for row in rows if row["gain"] is not None]
    cpu_s = result.spend("explore")["cpu_s"]
    best = f"best in explore {max(gains):+.3f}, mean {fmean(gains):+.3f}" if gains else "nothing scored"
    ends = ends_of(result.archive, result.run)
    counts = ", ".join(f"{ends[end]} {end}" for end in ("scored", "refused", "failed") if ends[end] or end == "scored")
    lines = [f"{name} {arm or 'full loop'}: {len(rows)} candidates, {counts}, {cpu_s:.0f} CPU-s; {best}"]
    if full is not None and arm:
        lines.append(f"  full loop against it: {_winners(full, result)}; {_means(full, gains)}")
    return lines


def _winners(full: CampaignResult, other: CampaignResult) -> str:
    """The paired gain of the full loop's winner over the arm's, on fresh seeds."""
    stage = "confirm" if "confirm" in full.stages else "verify"
    if full.winner_address and full.winner_address == other.winner_address:
        return "the same winner"
    try:
        mine, theirs = full.winner, other.winner
        task = full.first_that_decides(stage)
        effect = paired_by_seed(mine.values(task, stage), theirs.values(task, stage), task)
    except EvidenceError as error:
        return f"no winners to compare ({error})"
    return f"winner {effect.mean:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}] on {task} (n = {effect.n} seeds)"


def _means(full: CampaignResult, theirs: Sequence[float]) -> str:
    """The difference of the mean explore gains, with a 95 % bootstrap interval over candidates."""
    import numpy as np

    mine = [row["gain"] for row in full.archive.results(full.run) if row["gain"] is not None]
    if len(mine) < 2 or len(theirs) < 2:
        return "too few scored candidates to compare means"
    rng = np.random.default_rng(seed_of("arms", len(mine), len(theirs)))
    draws = [rng.choice(side, (RESAMPLES, len(side))).mean(axis=1) for side in (mine, list(theirs))]
    low, high = np.quantile(draws[0] - draws[1], [0.025, 0.975])
    return f"mean gain {fmean(mine) - fmean(theirs):+.3f} [{low:+.3f}, {high:+.3f}] (n = {len(mine)}, {len(theirs)})"
