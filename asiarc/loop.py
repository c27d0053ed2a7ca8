"""The closed loop (the paper's Figure 4): researcher -> engineer -> analyst, fed by the cognition base.

    for each generation
        sample      a parent and references from the candidate pool
        propose     a candidate each                                    the researcher
        admit       through the gates, behind the wall                  the engineer
        train       and score, by halving over rungs                    the engineer
        analyse     against parent, siblings and baselines              the analyst
        archive     outcome, gain and insight; the pool grows

explore searches, verify measures the finalists again with more training on fresh seeds, confirm measures the winner
once more on fresh seeds and fresh items. A stage hands over through the archive only, so each can be run, interrupted
and asked for on its own; work that the archive holds is not done again. Every draw is seeded by address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from asiarc.analyst.compare import Observation, analyse, mechanism_effects, tags_of
from asiarc.archive.pool import POLICY_CLASSES, Member, ranked
from asiarc.archive.store import Archive, Trial
from asiarc.cognition import hits
from asiarc.engineer.candidate import content_address, motivation
from asiarc.engineer.workshop import Request, Workshop
from asiarc.errors import ExecutionError
from asiarc.identity import digest, moved_fields, provenance, run_identity
from asiarc.models.baselines import QUADRATIC, baseline_source
from asiarc.outcome import SCORED, Outcome
from asiarc.protocol import MICRO, Protocol, StageName, Tier, stage_plan
from asiarc.researcher.designs import BASELINES
from asiarc.researcher.protocol import CognitionHit, Context, Failure, Insight, Origin, Proposal, Relative, Researcher
from asiarc.results import mean_gain, values_of
from asiarc.seeds import rng_of, seed_of
from asiarc.spec import Campaign, Stage
from asiarc.tasks import get_task

NOISE = 0.02  # bits a byte or accuracy: differences under it are within the seed noise of a short trial
CAPABILITY_SHARE = (
    0.5  # a capability holds when at least this share of start_from's distance from chance is kept
)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Draft:
    """A proposal with its place in the run."""

    number: int
    generation: int
    address: str
    proposal: Proposal


class Run:
    """One campaign at one tier over one archive; `explore`, `verify` and `confirm` return what they hand over."""

    def __init__(
        self, campaign: Campaign, name: str, tier: Tier, archive: Archive, workshop: Workshop, say: Say
    ) -> None:
        self.campaign, self.name, self.tier = campaign, name, tier
        self.archive, self.workshop, self.say = archive, workshop, say
        self.budget = campaign.budget.at(tier)
        self.identity = run_identity(campaign, name, tier)
        self.run = digest(self.identity)
        self._announce_moved_fields()
        archive.add_run(self.run, name, tier, campaign.seed, self.identity, provenance())
        self.start = self._keep(campaign.start_from)
        self.baselines = {baseline: self._keep(baseline) for baseline in campaign.baselines}

    def _announce_moved_fields(self) -> None:
        earlier = self.archive.runs(self.name, self.tier)
        if earlier and self.archive.run(self.run) is None:
            moved = moved_fields(earlier[-1]["identity"], self.identity)
            self.say(f"a new run: since the last one moved {'; '.join(moved)}")

    def _keep(self, baseline: str) -> str:
        source = baseline_source(baseline)
        address = content_address(source)
        self.archive.add_candidate(address, baseline, source, motivation(source), _genome(baseline))
        return address

    # --- the three stages -----------------------------------------------------------------------------------------

    def ensure(self, stage: StageName) -> dict[str, Any]:
        """A stage's result: from the archive when it is finished, else by running it (and those before it)."""
        return (
            self.archive.stage_result(self.run, stage)
            or {"explore": self.explore, "verify": self.verify, "confirm": self.confirm}[stage]()
        )

    def explore(self) -> dict[str, Any]:
        """Search: propose, admit and halve `budget.candidates` candidates, generation by generation."""
        self._admit_baselines()
        reference = self._train_baselines("explore")
        deepest = len(self.plan("explore").rungs) - 1
        pool = [Member(self.start, -1, 0.0, deepest, holds=True)]
        for generation, numbers in enumerate(self._generations()):
            drafts = self.propose(pool, generation, numbers)
            admitted = self.admit(drafts)
            members = self.train(admitted, reference)
            self.analyse(drafts, members, pool)
            pool += members.values()
            self._say_generation(generation, drafts, members, pool)
        order = [member for member in ranked(pool) if member.number >= 0]
        finalists = [member.address for member in order if member.rung == deepest]
        result = {
            "entrants": [member.address for member in order],
            "finalists": finalists,
            "candidates": self.budget.candidates,
        }
        self.archive.finish_stage(self.run, "explore", result)
        return result

    def verify(self) -> dict[str, Any]:
        """The finalists and every baseline again: more training, fresh seeds, one grid of learning rates for all."""
        stage = self.campaign.stage("verify")
        entrants = self.ensure("explore")["finalists"][: stage.top or 4]
        rates = self._tune(stage, [*entrants, *self.baselines.values()])
        self._train_stage("verify", entrants, rates)
        gains = {address: self._gain("verify", address) for address in entrants}
        holding = [a for a in entrants if gains[a] is not None and self._holds("verify", a)]
        scored = holding or [a for a in entrants if gains[a] is not None]
        winner = max(scored, key=lambda a: (gains[a], a), default=None)
        result = {
            "entrants": entrants,
            "winner": winner,
            "gains": gains,
            "holds": holding,
            "learning_rates": rates,
        }
        self.archive.finish_stage(self.run, "verify", result)
        return result

    def confirm(self) -> dict[str, Any]:
        """The winner and every baseline once more, on seeds and items that nothing was chosen by."""
        verified = self.ensure("verify")
        entrants = [verified["winner"]] if verified["winner"] else []
        if entrants:
            self._train_stage("confirm", entrants, verified["learning_rates"])
        result = {"entrants": entrants, "winner": verified["winner"]}
        self.archive.finish_stage(self.run, "confirm", result)
        return result

    # --- one generation -------------------------------------------------------------------------------------------

    def propose(self, pool: Sequence[Member], generation: int, numbers: Sequence[int]) -> list[Draft]:
        """The researcher proposes one candidate a number, none known before; stored proposals are taken as they are."""
        stored = {row["number"]: row for row in self.archive.proposals(self.run)}
        known = {content_address(baseline_source(name)) for name in self.campaign.baselines}
        known |= {row["address"] for number, row in stored.items() if number < numbers[0]}
        drafts = []
        for number in numbers:
            proposal = (
                _stored_proposal(stored[number])
                if number in stored
                else self._new_proposal(pool, generation, number, known)
            )
            draft = Draft(number, generation, content_address(proposal.source), proposal)
            known.add(draft.address)
            drafts.append(draft)
            self._store(draft)
        return drafts

    def _new_proposal(
        self, pool: Sequence[Member], generation: int, number: int, known: set[str]
    ) -> Proposal:
        address = (self.name, self.tier, self.campaign.seed, "explore", generation, number)
        parent, references = POLICY_CLASSES[self.campaign.policy]().sample(pool, rng_of(*address, "sample"))
        insights = {row["address"]: Insight(**row["insight"]) for row in self.archive.insights(self.run)}
        own = [insights[m.address] for m in (parent, *references) if m.address in insights]
        failed = [
            Failure(address=row["address"], gate=row["gate"], reason=row["reason"])
            for row in self.archive.results(self.run)
            if row["outcome"].kind == "rejected"
        ]
        context = Context(
            seed=seed_of(*address, "propose"),
            generation=generation,
            index=number,
            parent=self._relative(parent, insights),
            references=tuple(self._relative(member, insights) for member in references),
            insights=tuple(own),
            cognition=self._read_up(parent, own),
            failed=tuple(failed[-8:]),
            known=frozenset(known),
        )
        return _researcher(self.campaign.researcher).propose(context)

    def _read_up(self, parent: Member, insights: Sequence[Insight]) -> tuple[CognitionHit, ...]:
        """What the cognition base answers to the parent's weakness, besides what the parent is made of."""
        if not insights or not insights[0].weakness:
            return ()
        row = self.archive.candidate(parent.address)
        return hits(insights[0].weakness, k=3, without=sorted(tags_of(row["genome"] if row else None)))

    def admit(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The gates, behind the wall; what they reject is stored with its reason and goes no further."""
        admissions = self.workshop.admit({d.address: d.proposal.source for d in drafts}, MICRO)
        base = self._measures(self.start)
        admitted = []
        for draft in drafts:
            admission = admissions[draft.address]
            outcome = admission["outcome"]
            if outcome.kind == "scored":
                outcome = self._within_caps(admission["measures"], base)
            if outcome.kind == "scored":
                admitted.append(draft)
            else:
                self.archive.add_result(
                    self.run, draft.number, draft.address, outcome, rung=-1, gain=None, scores={}
                )
                self.say(f"  #{draft.number:<4} {draft.proposal.name:<34} {outcome}")
        return admitted

    def _within_caps(self, measures: dict[str, float], base: dict[str, float]) -> Outcome:
        names = {"state_bytes": "state_bytes", "flops": "flops_per_token", "parameters": "parameters"}
        for resource, factor in self.campaign.at_most.items():
            mine, allowed = measures[names[resource]], factor * base[names[resource]]
            if mine > allowed:
                reason = f"{mine:,.0f} {resource}, allowed are {allowed:,.0f} ({factor:g} x {self.campaign.start_from})"
                return Outcome("rejected", reason, resource)
        return SCORED

    def train(self, drafts: Sequence[Draft], reference: Sequence[Trial]) -> dict[int, Member]:
        """Successive halving over the rungs; members by number, with their gains at the last rung they were scored on."""
        plan, stage = self.plan("explore"), self.campaign.stage("explore")
        deciding, checks = self._split_tasks(stage)
        members: dict[int, Member] = {}
        entrants = list(drafts)
        for rung, steps in enumerate(plan.rungs):
            is_last = rung == len(plan.rungs) - 1
            tasks = (*deciding, *checks) if is_last else deciding
            requests = [
                self._request("explore", d.address, d.proposal.source, task, seed, steps)
                for d in entrants
                for task in tasks
                for seed in self._seeds(stage, task, is_last)
            ]
            trials = self.workshop.train(self.run, requests, self._say_trial)
            for draft in entrants:
                member = self._finish(draft, rung, tasks, trials, reference)
                members.pop(draft.number, None)
                if member is not None:
                    members[draft.number] = member
            alive = [draft for draft in entrants if draft.number in members]
            alive.sort(key=lambda draft: members[draft.number].rank_key)
            entrants = alive[: ceil(plan.keep * len(entrants))]
        return members

    def _finish(
        self,
        draft: Draft,
        rung: int,
        tasks: Sequence[str],
        trials: Sequence[Trial],
        reference: Sequence[Trial],
    ) -> Member | None:
        """Store how a draft fared on a rung; None when it failed there (an earlier rung's gain is not kept for it)."""
        mine = [t for t in trials if t.address == draft.address]
        failed = next((t for t in mine if t.outcome.kind != "scored"), None)
        if failed is not None:
            if not failed.outcome.is_final:
                raise ExecutionError(
                    f"trial {failed.key} could not be run: {failed.outcome.reason}; run the same command again"
                )
            self.archive.add_result(
                self.run, draft.number, draft.address, failed.outcome, rung=-1, gain=None, scores={}
            )
            self.say(f"  #{draft.number:<4} {draft.proposal.name:<34} {failed.outcome}")
            return None
        steps = {t.task: t.steps for t in mine}
        same_rung = [t for t in reference if steps.get(t.task) == t.steps]
        gains = {task: _gain(mine, same_rung, draft.address, self.start, task) for task in tasks}
        deciding = [
            gains[task] for task in tasks if task in self._split_tasks(self.campaign.stage("explore"))[0]
        ]
        gain = sum(g for g in deciding if g is not None) / len(deciding)
        holds = all(self._keeps(mine, same_rung, draft.address, task) for task in tasks)
        scores = {
            task: {"gain": gains[task], "mean": _mean(values_of(mine, draft.address, task))} for task in tasks
        }
        self.archive.add_result(
            self.run, draft.number, draft.address, SCORED, rung=rung, gain=gain, scores=scores
        )
        return Member(draft.address, draft.number, gain, rung, holds)

    def analyse(self, drafts: Sequence[Draft], members: dict[int, Member], pool: Sequence[Member]) -> None:
        """The analyst writes an insight on every scored candidate, from the numbers of its relatives."""
        seen = {
            row["number"]: self._observe(row)
            for row in self.archive.results(self.run)
            if row["outcome"].kind == "scored"
        }
        by_address = {observation.address: observation for observation in seen.values()}
        root = Observation(
            self.start, self.campaign.start_from, tags_of(_genome(self.campaign.start_from)), 0.0, {}
        )
        by_address[self.start] = root
        effects = mechanism_effects(list(seen.values()))
        for draft in drafts:
            if draft.number not in members:
                continue
            parent = by_address.get(draft.proposal.parents[0] if draft.proposal.parents else self.start, root)
            siblings = [
                seen[d.number]
                for d in drafts
                if d.number in members
                and d is not draft
                and d.proposal.parents[:1] == draft.proposal.parents[:1]
            ]
            insight = analyse(
                seen[draft.number],
                parent,
                siblings,
                effects,
                start_name=self.campaign.start_from,
                noise=NOISE,
            )
            self.archive.add_insight(self.run, draft.number, draft.generation, draft.address, asdict(insight))

    # --- trials ---------------------------------------------------------------------------------------------------

    def plan(self, stage: StageName) -> Any:
        """What this tier trains in a stage."""
        return stage_plan(self.tier, stage)

    def _request(
        self,
        stage: StageName,
        address: str,
        source: str,
        task: str,
        seed: int,
        steps: int,
        rate: float | None = None,
        purpose: str = "",
    ) -> Request:
        plan = self.plan(stage)
        protocol = trial_protocol(task, plan.text, steps, plan.capability)
        return Request(
            address=address,
            source=source,
            task=task,
            stage=stage,
            seed=f"{self.campaign.seed}/{stage}{purpose}/{seed}",
            protocol=protocol.at(learning_rate=rate) if rate else protocol,
            match=(self.start, baseline_source(self.campaign.start_from))
            if "parameters" in self.campaign.match
            else None,
            split="confirmation" if stage == "confirm" else "validation",
            documents=plan.documents,
        )

    def _train_baselines(self, stage: StageName) -> list[Trial]:
        """start_from on every rung (gains are paired with it), the other baselines on the last."""
        plan, declared = self.plan(stage), self.campaign.stage(stage)
        deciding, checks = self._split_tasks(declared)
        requests = []
        for rung, steps in enumerate(plan.rungs):
            is_last = rung == len(plan.rungs) - 1
            for name, address in self.baselines.items():
                if not is_last and address != self.start:
                    continue
                requests += [
                    self._request(stage, address, baseline_source(name), task, seed, steps)
                    for task in ((*deciding, *checks) if is_last else deciding)
                    for seed in self._seeds(declared, task, is_last)
                ]
        trials = self.workshop.train(self.run, requests, self._say_trial)
        self._require_scored(trials)
        return trials

    def _train_stage(self, stage: StageName, entrants: Sequence[str], rates: dict[str, float]) -> list[Trial]:
        declared, steps = self.campaign.stage(stage), self.plan(stage).rungs[-1]
        requests = [
            self._request(stage, address, self._source(address), task, seed, steps, rates.get(address))
            for address in dict.fromkeys([*entrants, *self.baselines.values()])
            for task in declared.tasks
            for seed in range(declared.seeds)
        ]
        trials = self.workshop.train(self.run, requests, self._say_trial)
        self._require_scored([t for t in trials if t.address in self.baselines.values()])
        return trials

    def _tune(self, stage: Stage, addresses: Sequence[str]) -> dict[str, float]:
        """The best of the declared learning rates for each, on one seed that is used for nothing else."""
        if len(stage.learning_rates) < 2:
            return dict.fromkeys(addresses, stage.learning_rates[0]) if stage.learning_rates else {}
        task = self._split_tasks(stage)[0][0]
        steps = self.plan("verify").rungs[-1]
        requests = [
            self._request("verify", a, self._source(a), task, 0, steps, rate, purpose=" tuning")
            for a in addresses
            for rate in stage.learning_rates
        ]
        trials = self.workshop.train(self.run, requests, self._say_trial)
        sign = 1 if get_task(task).higher_is_better else -1
        best: dict[str, tuple[float, float]] = {}
        for trial in trials:
            if trial.value is not None:
                best[trial.address] = max(
                    best.get(trial.address, (-float("inf"), 0.0)), (sign * trial.value, trial.learning_rate)
                )
        return {address: rate for address, (_, rate) in best.items()}

    def _admit_baselines(self) -> None:
        sources = {address: baseline_source(name) for name, address in self.baselines.items()}
        exempt = {
            self.baselines[name]: frozenset({"complexity"}) for name in self.baselines if name in QUADRATIC
        }
        for address, admission in self.workshop.admit(sources, MICRO, exempt=exempt).items():
            if admission["outcome"].kind != "scored":
                name = next(n for n, a in self.baselines.items() if a == address)
                raise ExecutionError(f"the baseline {name} was not admitted: {admission['outcome']}")

    @staticmethod
    def _require_scored(trials: Sequence[Trial]) -> None:
        for trial in trials:
            if trial.outcome.kind != "scored":
                raise ExecutionError(
                    f"a baseline's trial on {trial.task} ended as {trial.outcome}; no gain can be measured"
                )

    # --- small readings -------------------------------------------------------------------------------------------

    def _generations(self) -> list[range]:
        """Numbers of the proposals, in generations whose size depends on the budget only (never on the workers)."""
        total = self.budget.candidates
        size = max(4, min(16, total // 6))
        return [range(first, min(first + size, total)) for first in range(0, total, size)]

    @staticmethod
    def _split_tasks(stage: Stage) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Tasks that decide, and capability checks; with none that decides, all of them do."""
        deciding = tuple(task for task in stage.tasks if get_task(task).decides) or stage.tasks
        return deciding, tuple(task for task in stage.tasks if task not in deciding)

    def _seeds(self, stage: Stage, task: str, is_last: bool) -> range:
        """Explore's seeds: all of them where a task decides on the last rung, one everywhere else."""
        return range(stage.seeds if is_last and task in self._split_tasks(stage)[0] else 1)

    def _gain(self, stage: StageName, address: str) -> float | None:
        trials = self.archive.trials(self.run, stage)
        gains = [
            _gain(trials, trials, address, self.start, task)
            for task in self._split_tasks(self.campaign.stage(stage))[0]
        ]
        return None if None in gains else sum(g for g in gains if g is not None) / len(gains)

    def _holds(self, stage: StageName, address: str) -> bool:
        trials = self.archive.trials(self.run, stage)
        return all(self._keeps(trials, trials, address, task) for task in self.campaign.stage(stage).tasks)

    def _keeps(self, mine: Sequence[Trial], reference: Sequence[Trial], address: str, name: str) -> bool:
        """Whether a capability check holds: most of start_from's distance from chance is kept."""
        task = get_task(name)
        if task.role != "capability" or task.chance is None:
            return True
        got, wanted = _mean(values_of(mine, address, name)), _mean(values_of(reference, self.start, name))
        if got is None or wanted is None:
            return False
        return got - task.chance >= CAPABILITY_SHARE * (wanted - task.chance)

    def _source(self, address: str) -> str:
        row = self.archive.candidate(address)
        assert row is not None, address
        return str(row["source"])

    def _measures(self, address: str) -> dict[str, float]:
        admission = self.workshop.admit({address: self._source(address)}, MICRO)[address]
        return dict(admission["measures"])

    def _relative(self, member: Member, insights: dict[str, Insight]) -> Relative:
        row = self.archive.candidate(member.address)
        assert row is not None
        insight = insights.get(member.address)
        return Relative(
            address=member.address,
            name=row["name"],
            source=row["source"],
            genome=row["genome"],
            scores={"gain": member.gain},
            insight=insight.text if insight else None,
        )

    def _observe(self, row: dict[str, Any]) -> Observation:
        candidate = self.archive.candidate(row["address"])
        assert candidate is not None
        gains = {task: score["gain"] for task, score in row["scores"].items() if score["gain"] is not None}
        return Observation(
            row["address"], candidate["name"], tags_of(candidate["genome"]), row["gain"], gains
        )

    def _store(self, draft: Draft) -> None:
        p = draft.proposal
        with self.archive.transaction():
            self.archive.add_candidate(draft.address, p.name, p.source, p.motivation, p.genome)
            self.archive.add_proposal(
                self.run,
                draft.number,
                draft.generation,
                {
                    "address": draft.address,
                    "name": p.name,
                    "motivation": p.motivation,
                    "parents": list(p.parents),
                    "origins": [asdict(origin) for origin in p.origins],
                    "predicted": p.predicted,
                },
            )

    def _say_trial(self, trial: Trial) -> None:
        row = self.archive.candidate(trial.address)
        shown = f"{trial.value:.4f}" if trial.value is not None else str(trial.outcome)
        name = row["name"] if row else trial.address
        self.say(
            f"    {trial.stage:<8} {name:<34} {trial.task:<12} {trial.steps:>4} steps  "
            f"{shown}  {trial.cpu_s:.0f} s"
        )

    def _say_generation(
        self, generation: int, drafts: Sequence[Draft], members: dict[int, Member], pool: Sequence[Member]
    ) -> None:
        for draft in drafts:
            member = members.get(draft.number)
            if member is not None:
                mark = "" if member.holds else "  a capability check failed"
                self.say(
                    f"  #{draft.number:<4} {draft.proposal.name:<34} rung {member.rung}  gain {member.gain:+.4f}{mark}"
                )
        best = ranked(pool)[0]
        row = self.archive.candidate(best.address)
        assert row is not None
        self.say(
            f"  generation {generation}: {len(members)} of {len(drafts)} scored; best so far {row['name']} "
            f"({best.gain:+.4f} over {self.campaign.start_from} on rung {best.rung})"
        )


def trial_protocol(task: str, text: Protocol, steps: int, capability: float) -> Protocol:
    """The protocol of one trial: the stage's on text, a synthetic task's own with its steps times `capability`."""
    chosen = get_task(task)
    if chosen.kind == "text":
        return text.at(steps=steps)
    t = chosen.training
    return Protocol(
        name=f"{task} micro",
        d_model=t.d_model,
        num_layers=t.num_layers,
        num_heads=t.num_heads,
        mlp_ratio=t.mlp_ratio,
        seq_len=chosen.seq_len,
        batch_size=t.batch_size,
        steps=max(4, round(t.steps * capability)),
        learning_rate=t.learning_rate,
    )


def _gain(
    mine: Sequence[Trial], reference: Sequence[Trial], address: str, start: str, task: str
) -> float | None:
    return mean_gain(
        values_of(mine, address, task),
        values_of(reference, start, task),
        higher_is_better=get_task(task).higher_is_better,
    )


def _genome(baseline: str) -> dict[str, Any] | None:
    return BASELINES[baseline].model_dump() if baseline in BASELINES else None


def _researcher(named: Any) -> Researcher:
    from asiarc.researcher.grammar import GrammarResearcher, RandomResearcher

    if named == "grammar":
        return GrammarResearcher()
    return RandomResearcher() if named == "random" else named


def _mean(values: dict[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _stored_proposal(row: dict[str, Any]) -> Proposal:
    return Proposal(
        source=row["source"],
        name=row["name"],
        motivation=row["motivation"],
        origins=tuple(Origin(**o) for o in row["origins"]),
        parents=tuple(row["parents"]),
        genome=row["genome"],
        predicted=row["predicted"],
    )
