"""The closed loop (the paper's Figure 4): researcher -> engineer -> analyst, fed by the cognition base.

    for each generation
        sample      a parent and references from the candidate pool
        propose     a candidate each                                    the researcher
        admit       through the gates, behind the wall                  the engineer
        train       and score, by halving over rungs                    the engineer
        revise      what a gate turned away or training broke           the researcher
        analyse     against parent, siblings and baselines              the analyst
        archive     outcome, gain and insight; the pool grows

explore searches, verify measures the finalists again with more training on fresh seeds, confirm measures the winner
once more on fresh seeds and fresh items. A stage hands over through the archive only, so each can be run, interrupted
and asked for on its own; work that the archive holds is not done again. Every draw is seeded by address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from math import ceil
from typing import Any

from asiarc.analyst.compare import Observation, analyse, mechanism_effects, tags_of
from asiarc.analyst.library import read_up
from asiarc.analyst.llm import Finding
from asiarc.archive.annex import Annex
from asiarc.archive.pool import POLICY_CLASSES, Member, ranked
from asiarc.archive.store import Archive, Trial
from asiarc.drafts import (
    NOT_MENDED,
    Draft,
    Past,
    address_of,
    earlier,
    failures,
    proposal_row,
    result_of,
    row_of,
    siblings_of,
    stored_proposal,
)
from asiarc.engineer.bench import Bench, genome_of, mean
from asiarc.engineer.workshop import Workshop
from asiarc.errors import ExecutionError
from asiarc.identity import digest, moved_fields, provenance, run_identity
from asiarc.outcome import SCORED, Outcome
from asiarc.protocol import StageName, Tier
from asiarc.researcher.protocol import (
    CognitionHit,
    Context,
    Failure,
    Insight,
    Relative,
    Reviser,
    as_json,
)
from asiarc.results import values_of
from asiarc.seeds import rng_of, seed_of
from asiarc.spec import Campaign
from asiarc.team import Connect, Team, replay_only

NOISE = 0.02  # bits a byte or accuracy: differences under it are within the seed noise of a short trial
HEARTBEAT = 10  # trials between two lines of progress
Say = Callable[[str], None]


class Run:
    """One campaign at one tier over one archive; `explore`, `verify` and `confirm` return what they hand over.

    `say` gets a line for each candidate and each generation, `detail` one for each trial. `connect` gives the client of
    its language models, where the campaign names any; without it they are replayed.
    """

    def __init__(
        self,
        campaign: Campaign,
        name: str,
        tier: Tier,
        archive: Archive,
        workshop: Workshop,
        say: Say,
        detail: Say = lambda _: None,
        connect: Connect = replay_only,
    ) -> None:
        self.campaign, self.name, self.tier = campaign, name, tier
        self.label = f"{name}/{campaign.arm}" if campaign.arm else name  # an arm draws from the same seeds
        self.archive, self.say, self.detail = archive, say, detail
        self.budget = campaign.budget.at(tier)
        self.identity = run_identity(campaign, name, tier)
        self.run = digest(self.identity)
        self._announce_moved_fields()
        archive.add_run(self.run, self.label, tier, campaign.seed, self.identity, provenance())
        self.bench = Bench(campaign, tier, self.run, archive, workshop, self._say_trial)
        self.annex = Annex(archive)
        self.team = Team(campaign, self.run, self.annex, self.budget.usd, connect)
        self._trials_said, self._cpu_s_said = 0, 0.0

    # --- the three stages -----------------------------------------------------------------------------------------

    def ensure(self, stage: StageName) -> dict[str, Any]:
        """A stage's result: from the archive when it is finished, else by running it (and those before it)."""
        stages = {"explore": self.explore, "verify": self.verify, "confirm": self.confirm}
        return self.archive.stage_result(self.run, stage) or stages[stage]()

    def explore(self) -> dict[str, Any]:
        """Search: propose, admit and halve `budget.candidates` candidates, generation by generation."""
        self.bench.admit_baselines()
        reference = self.bench.train_baselines()
        deepest = len(self.bench.plan("explore").rungs) - 1
        pool = [Member(self.bench.start, -1, 0.0, deepest, holds=True)]
        for generation, numbers in enumerate(self._generations()):
            drafts = self.propose(pool, generation, numbers)
            admitted = self.admit(drafts)
            members = self.train(admitted, reference)
            self.analyse(members)
            pool += members.values()
            self._say_generation(generation, drafts, members, pool)
        order = [member for member in ranked(pool) if member.number >= 0]
        return self._finish(
            "explore",
            {
                "entrants": [member.address for member in order],
                "finalists": [member.address for member in order if member.rung == deepest],
                "candidates": self.budget.candidates,
            },
        )

    def verify(self) -> dict[str, Any]:
        """The finalists and every baseline again: more training, fresh seeds, one grid of learning rates for all."""
        top = min(self.campaign.finalists, self.bench.plan("verify").most_entrants)
        entrants = self.ensure("explore")["finalists"][:top]
        rates = self.bench.tune([*entrants, *self.bench.baselines.values()])
        trials = self.bench.train_stage("verify", entrants, rates)
        gains = {address: self._gain("verify", address, trials) for address in entrants}
        scored = [address for address in entrants if gains[address] is not None]
        holding = [address for address in scored if self.bench.holds(address, trials, trials)]
        winner = max(holding or scored, key=lambda address: (gains[address], address), default=None)
        return self._finish(
            "verify",
            {
                "entrants": entrants,
                "winner": winner,
                "gains": gains,
                "holds": holding,
                "learning_rates": rates,
            },
        )

    def confirm(self) -> dict[str, Any]:
        """The winner and every baseline once more, on seeds and items that nothing was chosen by."""
        verified = self.ensure("verify")
        entrants = [verified["winner"]] if verified["winner"] else []
        if entrants:
            self.bench.train_stage("confirm", entrants, verified["learning_rates"])
        return self._finish("confirm", {"entrants": entrants, "winner": verified["winner"]})

    def _finish(self, stage: StageName, result: dict[str, Any]) -> dict[str, Any]:
        self.archive.finish_stage(self.run, stage, result)
        return result

    # --- one generation -------------------------------------------------------------------------------------------

    def propose(self, pool: Sequence[Member], generation: int, numbers: Sequence[int]) -> list[Draft]:
        """The researcher proposes one candidate a number; stored proposals are taken as they are."""
        stored = {row["number"]: row for row in self.archive.proposals(self.run)}
        results = {row["number"]: row for row in self.archive.results(self.run)}
        known = set(self.bench.baselines.values())
        known |= {row["address"] for number, row in stored.items() if number < numbers[0]}
        drafts: list[Draft] = []
        for number in numbers:
            if number in stored:
                proposal = stored_proposal(stored[number], results.get(number))
            else:
                past = Past(
                    [row for n, row in stored.items() if n < numbers[0]] + [row_of(d) for d in drafts],
                    [row for n, row in results.items() if n < numbers[0]]
                    + [result_of(d) for d in drafts if d.proposal.failure],
                )
                context = self._context(pool, generation, number, frozenset(known), past)
                proposal = self.team.researcher.propose(context)
            address = address_of(proposal.source)
            is_new = address not in known or "syntax" not in self.campaign.novelty
            draft = Draft(number, generation, address, proposal, is_new)
            known.add(address)
            drafts.append(draft)
            self._store(draft)
        return drafts

    def admit(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The gates, behind the wall; what they turn away is mended and comes again, or is given up with the reason."""
        admitted, waiting = [], list(drafts)
        while waiting:
            outcomes = self.bench.admit([draft.address for draft in waiting if draft.ending is None])
            turned_away = []
            for draft in waiting:
                outcome = draft.ending or outcomes[draft.address]
                if outcome == SCORED and "behaviour" in self.campaign.novelty:
                    outcome = self._behaviour(draft)
                if outcome == SCORED:
                    admitted.append(draft)
                else:
                    turned_away.append((draft, outcome))
            waiting = self.revise(turned_away)
        return sorted(admitted, key=lambda draft: draft.number)

    def train(self, drafts: Sequence[Draft], reference: Sequence[Trial]) -> dict[int, Member]:
        """Successive halving over the rungs; members by number, with their gains on the last rung that scored them."""
        members: dict[int, Member] = {}
        entrants = list(drafts)
        plan = self.bench.plan("explore")
        for rung in range(len(plan.rungs)):
            alive, waiting = [], entrants
            while waiting:
                trials = self.bench.train_rung([draft.address for draft in waiting], rung)
                broken = []
                for draft in waiting:
                    members.pop(draft.number, None)
                    mine = [trial for trial in trials if trial.address == draft.address]
                    failed = next((trial.outcome for trial in mine if trial.outcome != SCORED), None)
                    if failed is None:
                        members[draft.number] = self._keep_result(draft, rung, mine, reference)
                        alive.append(draft)
                    else:
                        broken.append((draft, failed))
                waiting = self.admit(self.revise(broken))
            alive.sort(key=lambda draft: members[draft.number].rank_key)
            entrants = alive[: ceil(plan.keep * len(entrants))]
        return members

    def revise(self, turned_away: Sequence[tuple[Draft, Outcome]]) -> list[Draft]:
        """Mended versions, where the researcher can mend and may once more; the rest is given up with its reason."""
        mended = []
        for draft, outcome in turned_away:
            version = self._mend(draft, outcome)
            if version is None:
                self._give_up(draft, outcome)
            else:
                mended.append(version)
        return mended

    def analyse(self, members: dict[int, Member]) -> None:
        """The analyst writes an insight on every scored candidate, from the numbers of its relatives."""
        done = {row["number"] for row in self.archive.insights(self.run)}
        last = max(members, default=-1)  # a resumed run holds later ones
        results = [row for row in self.archive.results(self.run) if row["number"] <= last]
        seen = {row["number"]: self._observe(row) for row in results if row["outcome"] == SCORED}
        proposals = {
            row["number"]: row for row in self.archive.proposals(self.run) if row["number"] in members
        }
        start = self.campaign.start_from
        root = Observation(self.bench.start, start, tags_of(genome_of(start)), 0.0, {})
        relatives = {observation.address: observation for observation in seen.values()}
        effects = mechanism_effects(list(seen.values()))
        findings = []
        for number in sorted(members.keys() - done):
            row = proposals[number]
            parent = relatives.get(row["parents"][0], root) if row["parents"] else root
            siblings = [
                seen[n]
                for n in proposals
                if n != number and proposals[n]["parents"][:1] == row["parents"][:1]
            ]
            insight = analyse(seen[number], parent, siblings, effects, start_name=start, noise=NOISE)
            findings.append(Finding(number, seen[number], parent, tuple(siblings), row, insight))
        explained = self.team.explain(findings, self._curves(findings), NOISE)
        for finding, insight in zip(findings, explained, strict=True):
            generation, address = finding.proposal["generation"], finding.proposal["address"]
            self.archive.add_insight(self.run, finding.number, generation, address, asdict(insight))

    # --- what a generation reads and writes -----------------------------------------------------------------------

    def _generations(self) -> list[range]:
        """Numbers of the proposals, in generations whose size depends on the budget only (never on the workers)."""
        total = self.budget.candidates
        size = max(4, min(16, total // 6))
        return [range(first, min(first + size, total)) for first in range(0, total, size)]

    def _context(
        self, pool: Sequence[Member], generation: int, number: int, known: frozenset[str], past: Past
    ) -> Context:
        address = (self.name, self.tier, self.campaign.seed, "explore", generation, number)
        policy = POLICY_CLASSES[self.campaign.policy]()
        if self.campaign.arm == "best_of_n":
            pool = [member for member in pool if member.number < 0]
        parent, references = policy.sample(pool, rng_of(*address, "sample"))
        written = {row["address"]: Insight(**row["insight"]) for row in self.archive.insights(self.run)}
        insights = {} if self.campaign.arm == "no_analyst" else written
        own = tuple(
            insights[member.address] for member in (parent, *references) if member.address in insights
        )
        shown = {parent.address, *(member.address for member in references)}
        siblings = siblings_of(parent, pool, past.proposals, shown)
        return Context(
            seed=seed_of(*address, "propose"),
            generation=generation,
            index=number,
            parent=self._relative(parent, past, insights),
            references=tuple(self._relative(member, past, insights) for member in references),
            insights=own,
            cognition=self._read_up(parent, written),
            failed=() if self.campaign.arm == "best_of_n" else failures(past),
            known=known if "syntax" in self.campaign.novelty else frozenset(),
            siblings=tuple(self._relative(member, past, insights) for member in siblings),
            tasks=self.campaign.explore.tasks,
            earlier=earlier(past.proposals) if "motivation" in self.campaign.novelty else (),
            tried=self.team.tried(past.proposals, past.results),
        )

    def _read_up(self, parent: Member, insights: dict[str, Insight]) -> tuple[CognitionHit, ...]:
        """What the cognition base answers to the parent's weakness, besides what the parent is made of."""
        insight = insights.get(parent.address)
        if insight is None or self.campaign.arm == "no_cognition":
            return ()
        if self.campaign.arm == "no_analyst":  # the weakest task is a number, not an opinion
            insight = replace(insight, query="")
        tags = tags_of(self._candidate(parent.address)["genome"])
        return read_up(insight, without=tags, in_grammar=self.campaign.researcher != "llm")

    def _relative(self, member: Member, past: Past, insights: dict[str, Insight]) -> Relative:
        row = self._candidate(member.address)
        insight = insights.get(member.address)
        scores: dict[str, Any] = next((r["scores"] for r in past.results if r["number"] == member.number), {})
        by_task = {task: score["gain"] for task, score in scores.items() if score["gain"] is not None}
        return Relative(
            address=member.address,
            name=row["name"],
            source=row["source"],
            genome=row["genome"],
            scores={"gain": member.gain, **by_task},
            insight=insight.text if insight else None,
            motivation=row["motivation"],
        )

    def _behaviour(self, draft: Draft) -> Outcome:
        """Rejected where an admitted candidate or a baseline computes the same; decided once and kept."""
        twin = self.annex.decided(self.run, draft.number, draft.address)
        if twin is None:
            others = [*self.bench.baselines.values(), *self.annex.novel(self.run, draft.number)]
            twin = self.bench.twin(draft.address, others)
            self.annex.decide(self.run, draft.number, draft.address, twin)
        if not twin:
            return SCORED
        name = self._candidate(twin)["name"]
        return Outcome("rejected", f"it computes the same as {name} ({twin}) on fixed probes", "novelty")

    def _mend(self, draft: Draft, outcome: Outcome) -> Draft | None:
        """The next version of a draft, kept in its place with the one before it; None when it is given up."""
        researcher = self.team.researcher
        if not isinstance(researcher, Reviser) or outcome.gate in NOT_MENDED or not outcome.is_final:
            return None
        failure = Failure(address=draft.address, gate=outcome.gate or outcome.kind, reason=outcome.reason)
        taken = {row["address"] for row in self.archive.proposals(self.run)} | set(
            self.bench.baselines.values()
        )
        tried = len(self.annex.versions(self.run, draft.number))
        for version in range(tried + 1, self.team.revisions + 1):
            proposal = researcher.revise(draft.proposal, failure, draft.number, version)
            address = address_of(proposal.source)
            if proposal.failure is None and address not in taken:
                mended = replace(draft, address=address, proposal=proposal)
                self._store_version(draft, version, outcome, mended)
                return mended
            why = proposal.failure or Failure(
                address=address, gate="novelty", reason="it was proposed before"
            )
            unusable = replace(draft, address=address, proposal=proposal)
            self._store_version(unusable, version, Outcome("rejected", why.reason, why.gate))
        return None

    def _store_version(
        self, draft: Draft, version: int, outcome: Outcome, mended: Draft | None = None
    ) -> None:
        """Keep a version that did not last, and what stands in its place now."""
        with self.archive.transaction():
            self.annex.add_version(
                self.run, draft.number, version, draft.address, as_json(draft.proposal), outcome
            )
            if mended is not None:
                p = mended.proposal
                self.archive.add_candidate(mended.address, p.name, p.source, p.motivation, p.genome)
                self.annex.replace_proposal(self.run, draft.number, mended.generation, proposal_row(mended))

    def _curves(self, findings: Sequence[Finding]) -> dict[str, list[list[float]]]:
        """The longest training curve of each candidate that is written about, on the first task that decides."""
        if not self.team.reads_curves or not findings:
            return {}
        task = self.bench.deciding("explore")[0]
        trials = [t for t in self.archive.trials(self.run, "explore") if t.task == task]
        trials.sort(key=lambda trial: (trial.steps, trial.seed))
        wanted = {finding.child.address for finding in findings}
        return {trial.address: trial.curve for trial in trials if trial.address in wanted}

    def _observe(self, row: dict[str, Any]) -> Observation:
        candidate = self._candidate(row["address"])
        gains = {task: score["gain"] for task, score in row["scores"].items() if score["gain"] is not None}
        return Observation(
            row["address"], candidate["name"], tags_of(candidate["genome"]), row["gain"], gains
        )

    def _candidate(self, address: str) -> dict[str, Any]:
        row = self.archive.candidate(address)
        assert row is not None, address
        return row

    def _store(self, draft: Draft) -> None:
        p = draft.proposal
        with self.archive.transaction():
            self.archive.add_candidate(draft.address, p.name, p.source, p.motivation, p.genome)
            self.archive.add_proposal(self.run, draft.number, draft.generation, proposal_row(draft))
            if p.failure is not None and draft.ending is not None:
                self.archive.add_result(
                    self.run, draft.number, draft.address, draft.ending, rung=-1, gain=None, scores={}
                )

    def _keep_result(
        self, draft: Draft, rung: int, trials: Sequence[Trial], reference: Sequence[Trial]
    ) -> Member:
        gains = self.bench.gains(draft.address, trials, reference)
        deciding = [gains[task] for task in self.bench.deciding("explore")]
        gain = sum(deciding) / len(deciding)
        scores = {
            task: {"gain": gains.get(task), "mean": mean(values_of(trials, draft.address, task))}
            for task in self.bench.tasks("explore", rung)
        }
        self.archive.add_result(
            self.run, draft.number, draft.address, SCORED, rung=rung, gain=gain, scores=scores
        )
        return Member(
            draft.address, draft.number, gain, rung, self.bench.holds(draft.address, trials, reference)
        )

    def _give_up(self, draft: Draft, outcome: Outcome) -> None:
        """Record why a candidate was not scored; an infrastructure failure is nobody's outcome and ends the stage."""
        if not outcome.is_final:
            raise ExecutionError(
                f"{draft.proposal.name} could not be evaluated: {outcome.reason}; nothing is lost, run the same "
                "command again"
            )
        self.archive.add_result(self.run, draft.number, draft.address, outcome, rung=-1, gain=None, scores={})
        self.say(f"  #{draft.number:<4} {draft.proposal.name:<34} {outcome}")

    def _gain(self, stage: StageName, address: str, trials: Sequence[Trial]) -> float | None:
        """A stage's mean gain over the deciding tasks; None where one failed: those that went well are no sample."""
        if any(trial.outcome != SCORED for trial in trials if trial.address == address):
            return None
        gains = self.bench.gains(address, trials, trials)
        deciding = self.bench.deciding(stage)
        return sum(gains[task] for task in deciding) / len(deciding)

    # --- progress -------------------------------------------------------------------------------------------------

    def _announce_moved_fields(self) -> None:
        earlier = self.archive.runs(self.label, self.tier)
        if earlier and self.archive.run(self.run) is None:
            moved = moved_fields(earlier[-1]["identity"], self.identity)
            self.say(f"  a new run: since the last one moved {'; '.join(moved)}")

    def _say_trial(self, trial: Trial) -> None:
        shown = f"{trial.value:.4f}" if trial.value is not None else str(trial.outcome)
        name = self._candidate(trial.address)["name"]
        where = f"{trial.stage:<8} {name:<34} {trial.task:<12} {trial.steps:>4} steps"
        self.detail(f"    {where}  {shown}  {trial.cpu_s:.0f} s")
        self._trials_said += 1
        self._cpu_s_said += trial.cpu_s
        if self._trials_said % HEARTBEAT == 0:
            self.say(
                f"  {self._trials_said} trials trained, {self._cpu_s_said:.0f} CPU-seconds; last {where}  {shown}"
            )

    def _say_generation(
        self, generation: int, drafts: Sequence[Draft], members: dict[int, Member], pool: Sequence[Member]
    ) -> None:
        for draft in drafts:
            if draft.number in members:
                member = members[draft.number]
                note = "" if member.holds else "  fails a capability check"
                self.say(
                    f"  #{draft.number:<4} {draft.proposal.name:<34} rung {member.rung}  gain {member.gain:+.4f}{note}"
                )
        best = ranked(pool)[0]
        self.say(
            f"  generation {generation}: {len(members)} of {len(drafts)} scored; best so far "
            f"{self._candidate(best.address)['name']}, {best.gain:+.4f} over {self.campaign.start_from}"
        )
