"""The closed loop (the paper's Figure 4): researcher -> engineer -> analyst, fed by the cognition base.

    for each generation
        sample      a parent and references, by the search policy
        propose     a candidate each                                    the researcher
        admit       through the gates, in the sandbox                  the engineer
        train       what the policy asks for, until it asks no more     the engineer
        revise      what a gate turned away or training broke           the researcher
        analyse     against parent, siblings and baselines              the analyst
        archive     outcome, gain and insight; the board grows

explore searches, verify measures the finalists again with more training on fresh seeds, confirm measures the winner
once more on fresh seeds and fresh items. A stage hands over through the archive only, so each can be run, interrupted
and asked for on its own. A resumed run walks the same way again: the archive answers what was done before, and every
draw is seeded by address, so it decides the same. Nothing is paid twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from typing import Any

from asiarc.archive.annex import Annex
from asiarc.archive.store import Archive, Trial
from asiarc.campaign.declaration import Campaign
from asiarc.campaign.identity import provenance, run_identity
from asiarc.core.digest import digest
from asiarc.core.errors import EvidenceError
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.recipe import StageName, Tier
from asiarc.engineer.workshop import Workshop
from asiarc.loop.agents import OPEN, Connect, Team, replay_only
from asiarc.loop.context import Surroundings
from asiarc.loop.drafts import Draft, Drafts
from asiarc.loop.findings import findings
from asiarc.loop.progress import Progress, Say
from asiarc.loop.trials import Bench
from asiarc.search.campaign import Exploration
from asiarc.search.protocol import Evaluation


class Run:
    """One campaign at one tier over one archive; `explore`, `verify` and `confirm` return what they hand over.

    `say` gets a line for each candidate and each generation, `detail` one for each trial, `beat` (`say` where there is
    none) one in ten. `connect` gives the client of
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
        beat: Say | None = None,
    ) -> None:
        self.campaign, self.name, self.tier, self.archive = campaign, name, tier, archive
        self.label = f"{name}/{campaign.arm}" if campaign.arm else name  # an arm draws from the same seeds
        identity = run_identity(campaign, name, tier)
        self.run = digest(identity)
        self.progress = Progress(archive, say, detail, beat)
        self.progress.started(self.run, self.label, tier, identity)
        archive.add_run(self.run, self.label, tier, campaign.seed, identity, provenance())
        self.bench = Bench(campaign, tier, self.run, archive, workshop, self.progress.trial)
        self.annex = Annex(archive)
        self.team = Team(campaign, self.run, self.annex, campaign.budget.at(tier).usd, connect)
        baselines = set(self.bench.baselines.values())
        self.progress.called = {address: name for name, address in self.bench.baselines.items()}
        self.drafts = Drafts(archive, self.run, baselines, only_new="syntax" in campaign.novelty)
        self.surroundings = Surroundings(campaign, self.run, archive, self.team, self.bench)

    # --- the three stages -----------------------------------------------------------------------------------------

    def ensure(self, stage: StageName) -> dict[str, Any]:
        """A stage's result: from the archive when it is finished, else by running it (and those before it)."""
        stages = {"explore": self.explore, "verify": self.verify, "confirm": self.confirm}
        return self.archive.stage_result(self.run, stage) or stages[stage]()

    def explore(self) -> dict[str, Any]:
        """Search: propose, admit and train `budget.candidates` candidates, generation by generation; where all come by
        the door, those that have come."""
        search = self.search(asks=self.campaign.researcher != OPEN)
        if not search.board.entered:
            raise EvidenceError(
                f"nobody has proposed anything to {self.label}; propose with: asiarc propose FILE --campaign "
                f"{self.label} --tier {self.tier} (asiarc brief {self.label} says what is known)"
            )
        self._heard_something(search.board.expected)
        entrants = {i: self._draft(i).address for i in search.order()}
        return self._finish(
            "explore",
            {
                "entrants": list(dict.fromkeys(entrants.values())),
                "finalists": list(dict.fromkeys(entrants[i] for i in search.finalists())),
                "estimates": {entrants[one.candidate]: one.estimate for one in search.named()},
                "candidates": search.board.entered,
            },
        )

    def search(self, *, asks: bool) -> Exploration:
        """The search so far: what the archive keeps of it is walked through, and where `asks`, the researcher proposes
        what is not there."""
        self.progress.baselines(self.campaign.baselines)
        self.bench.admit_baselines()
        for line in self.bench.verdicts():
            self.progress.say(f"  {line}")
        self.bench.train_baselines()
        plan = self.bench.plan("explore")
        search = Exploration(self.campaign, self.name, self.tier, plan, self.bench.start_loss)
        for generation, numbers in enumerate(search.generations):
            there = numbers if asks else self._kept(numbers)
            if there:
                self.step(search, generation, there, is_whole=there == numbers)
            if there != numbers:
                break
        return search

    def step(self, search: Exploration, generation: int, numbers: range, *, is_whole: bool = True) -> None:
        """One generation, from proposals to insights; of one that is still filling, each candidate's first look."""
        drafts = self.propose(search, generation, numbers)
        self.enter(search, drafts, self.admit(drafts))
        self.train(search, generation, first_looks=not is_whole)
        if is_whole:
            self.analyse(search, numbers)
        self.progress.generation(self.run, generation, numbers, self._best(search), self.campaign.start_from)

    def _kept(self, numbers: range) -> range:
        """The first of some numbers, as far as somebody has proposed them."""
        return numbers[: len(self.archive.addresses(self.run, numbers.start, numbers.stop))]

    def verify(self) -> dict[str, Any]:
        """The finalists and every baseline again: more training, fresh seeds, one grid of learning rates for all, or
        the rates that explore found from one."""
        top = min(self.campaign.finalists, self.bench.plan("verify").most_entrants)
        entrants = self.ensure("explore")["finalists"][:top]
        entered = [*entrants, *self.bench.baselines.values()]
        rates = self.bench.tune("verify", entered) or self.bench.tune_explore(entered)
        trials = self.bench.train_stage("verify", entrants, rates)
        gains = {address: self._gain("verify", address, trials) for address in entrants}
        scored = [address for address in entrants if gains[address] is not None]
        holding = [address for address in scored if self.bench.holds(address, trials, trials)]
        winner = max(holding or scored, key=lambda address: (gains[address], address), default=None)
        return self._finish(
            "verify",
            {"entrants": entrants, "winner": winner, "gains": gains, "holds": holding, "learning_rates": rates},
        )

    def confirm(self) -> dict[str, Any]:
        """The winner and every baseline once more, on seeds and items that nothing was chosen by."""
        verified = self.ensure("verify")
        entrants = [verified["winner"]] if verified["winner"] else []
        if entrants:
            self.bench.train_stage("confirm", entrants, verified["learning_rates"])
        return self._finish("confirm", {"entrants": entrants, "winner": verified["winner"]})

    def _heard_something(self, asked: int) -> None:
        """Say so where no reply of a model could be read: a poor model, or the wrong door."""
        unread = self.archive.rows("SELECT reason FROM results WHERE run = ? AND gate = 'reply'", self.run)
        if unread and len(unread) == asked:
            self.progress.say(
                f"no reply could be read for any of {asked} proposals, at last because {unread[-1]['reason']}; where "
                "the endpoint or the model is at fault, mend it and run again with --retry, which asks anew"
            )

    def _finish(self, stage: StageName, result: dict[str, Any]) -> dict[str, Any]:
        if self.bench.at_chance.get(stage):
            result |= {"at_chance": list(self.bench.at_chance[stage])}
        self.archive.finish_stage(self.run, stage, result)
        return result

    # --- one generation -------------------------------------------------------------------------------------------

    def propose(self, search: Exploration, generation: int, numbers: range) -> list[Draft]:
        """The researcher proposes one candidate a number; stored proposals are taken as they are."""
        drafts = []
        for number in numbers:
            draft = self.drafts.first(number)
            if draft is None:
                context = self.surroundings.context(search, generation, number)
                draft = self.drafts.of(number, generation, self.team.researcher.propose(context))
                self.drafts.store(draft)
            drafts.append(draft)
        return drafts

    def admit(self, drafts: Sequence[Draft]) -> dict[int, Draft]:
        """The gates, in the sandbox; what they turn away is mended and comes again, or is given up with the reason."""
        admitted, waiting = {}, list(drafts)
        while waiting:
            outcomes = self.bench.admit([draft.address for draft in waiting if draft.ending is None])
            turned_away = []
            for draft in waiting:
                outcome = draft.ending or outcomes[draft.address]
                if outcome == SCORED and "behaviour" in self.campaign.novelty:
                    outcome = self._behaviour(draft)
                if outcome == SCORED:
                    admitted[draft.number] = draft
                else:
                    turned_away.append((draft, outcome))
            waiting = self.revise(turned_away)
        return admitted

    def enter(self, search: Exploration, drafts: Sequence[Draft], admitted: dict[int, Draft]) -> None:
        """Put a generation on the board."""
        for draft in drafts:
            mine = admitted.get(draft.number)
            search.enter(self.bench.traits(mine.address) if mine else None)

    def train(self, search: Exploration, generation: int, *, first_looks: bool = False) -> None:
        """Train what the policy asks for (or of that only what is a candidate's first), and tell it the gains, until it
        asks for nothing that can be paid."""
        for turn in count():
            wanted = search.wanted(generation, turn)
            if first_looks:
                wanted = [one for one in wanted if search.standing(one.candidate)[1] == 0]
            if not wanted:
                return
            drafts = {one.candidate: self._draft(one.candidate) for one in wanted}
            places = {one: (drafts[one.candidate].address, one.rung, one.seed) for one in wanted}
            trials = self.bench.evaluate(list(places.values()))
            broken: dict[int, Outcome] = {}
            for one, place in places.items():
                failed = next((t.outcome for t in trials[place] if t.outcome != SCORED), None)
                if failed is not None:
                    broken.setdefault(one.candidate, failed)
                elif one.candidate not in broken:
                    self._observe(search, one, trials[place], self.bench.reference(trials, one.rung))
            mended = self.admit(self.revise([(drafts[i], outcome) for i, outcome in broken.items()]))
            for i in broken:
                version = mended.get(drafts[i].number)
                search.replace(i, self.bench.traits(version.address) if version else None)
            for i in [i for i in drafts if i not in broken]:
                self._score(search, i, drafts[i])

    def revise(self, turned_away: Sequence[tuple[Draft, Outcome]]) -> list[Draft]:
        """Mended versions, where the researcher can mend and may once more; the rest is given up with its reason."""
        mended = []
        for draft, outcome in turned_away:
            version = self.drafts.mend(draft, outcome, self.team.researcher, self.team.revisions)
            if version is None:
                self.drafts.give_up(draft, outcome)
                self.progress.given_up(draft.number, draft.proposal.name, outcome)
            else:
                mended.append(version)
        return mended

    def analyse(self, search: Exploration, numbers: range) -> None:
        """The analyst writes an insight on every scored candidate, from the numbers of its relatives."""
        scored = [number for number in numbers if search.standing(number + 1)[1]]
        found = findings(
            self.archive, self.run, scored,
            start=self.bench.start, start_from=self.campaign.start_from, deciding=self.bench.deciding("explore"),
        )  # fmt: skip
        curves: dict[str, Any] = {}
        if self.team.reads_curves:
            task = self.bench.deciding("explore")[0]
            addresses = [finding.child.address for finding in found]
            curves = {a: self.archive.longest_curve(self.run, a, task) for a in addresses}
        explained = self.team.explain(found, curves)
        for finding, insight in zip(found, explained, strict=True):
            generation, address = finding.proposal["generation"], finding.proposal["address"]
            self.archive.add_insight(self.run, finding.number, generation, address, asdict(insight))
        search.mark(self.team.marks(numbers))

    # --- what a step asks -----------------------------------------------------------------------------------------

    def _draft(self, candidate: int) -> Draft:
        return self.drafts.current(candidate - 1)

    def _behaviour(self, draft: Draft) -> Outcome:
        """Rejected where an admitted candidate or a baseline computes the same; decided once and kept."""
        twin = self.annex.decided(self.run, draft.number, draft.address)
        if twin is None:
            alike = self.bench.alike(draft.address)
            known = [address for address in alike if address in self.drafts.baselines]
            known += self.annex.novel(self.run, draft.number, alike)
            twin = next(iter(known), "")
            self.annex.decide(self.run, draft.number, draft.address, twin)
        if not twin:
            return SCORED
        name = self.progress.name(twin)
        return Outcome("rejected", f"it computes the same as {name} ({twin}) on fixed probes", "behaviour")

    def _observe(
        self, search: Exploration, evaluation: Evaluation, trials: Sequence[Trial], reference: Sequence[Trial]
    ) -> None:
        """Tell the board what an evaluation showed, and whether it lost a capability."""
        gain, address = self.bench.gain(trials, reference), trials[0].address
        search.observe(evaluation, gain, holds=self.bench.holds(address, trials, reference))

    def _score(self, search: Exploration, candidate: int, draft: Draft) -> None:
        """Keep what a candidate has shown on its deepest rung."""
        rung, seeds = search.standing(candidate)
        self.drafts.score(draft, rung, self.bench.standing(draft.address, rung, seeds))

    def _best(self, search: Exploration) -> tuple[str, float]:
        """The address and the estimated gain of what the policy would go on with, or of start_from."""
        named = search.named()
        if not named or named[0].estimate <= 0:
            return self.bench.start, 0.0
        return self._draft(named[0].candidate).address, named[0].estimate

    def _gain(self, stage: StageName, address: str, trials: Sequence[Trial]) -> float | None:
        """A stage's mean gain over the deciding tasks; None where one failed: those that went well are no sample."""
        if any(trial.outcome != SCORED for trial in trials if trial.address == address):
            return None
        gains = self.bench.gains(address, trials, trials)
        deciding = self.bench.deciding(stage)
        return sum(gains[task] for task in deciding) / len(deciding)
