"""The loop of a campaign of kernels: researcher, gates and clock, over the same archive as the loop that trains.

    for each candidate
        propose     from the best so far, or whatever came by the door     the researcher
        admit       right, honest and lean                                 `asiarc.speed.proposing`
        time        beside the shipped kernel, the two in turn             `asiarc.speed.contest`

A timing's value is the logarithm of a kernel's time over that of the shipped one, each by a fresh process. What a
campaign starts from is the shipped algebra in a candidate's file, timed as all others are: its times show the noise,
and what the operator's front door costs, which no candidate has. A gain is how far a candidate's are below them.

One timing runs at a time, and nothing of ours beside it. A machine that is not quiet gives no number: the stage ends
and says so, what is finished is kept, and the same command goes on from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

from asiarc.archive.kernels import KernelTimings
from asiarc.archive.store import Archive
from asiarc.campaign.code import STOPS, kernel
from asiarc.campaign.declaration import IDENTITY_VERSION
from asiarc.campaign.identity import provenance, versions
from asiarc.campaign.kernels import KernelCampaign
from asiarc.core.digest import digest
from asiarc.core.errors import BudgetExhaustedError, EvidenceError, KernelError
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.proposal import Context, Failure, Proposal, Relative
from asiarc.core.reach import installed
from asiarc.core.recipe import StageName, Tier
from asiarc.core.seeds import seed_of
from asiarc.domains.kernel import CHOICES, SHIPPED, address_of, motivation, researcher, start
from asiarc.evidence.effects import Decision, Effect, decide, paired_effect
from asiarc.loop.door import Threshold, Twin
from asiarc.loop.drafts import Draft, proposal_row
from asiarc.speed import NotMeasuredError
from asiarc.speed.contest import Compared
from asiarc.speed.paired import Ratio
from asiarc.speed.proposing import measured, refereed

FAILED = 8  # the latest failures that a proposal is told
ROOTS = tuple(f"asiarc.loop.kernels:KernelRun.{stage}" for stage in ("explore", "verify", "confirm"))
Row = dict[str, Any]
Gates = Callable[[str, str, int], tuple[str, Row]]
Measure = Callable[[str, str], Compared]


def untimed(source: str, operator: str, seed: int) -> tuple[str, Row]:
    """The gates for kernels: the word on a source and what was found, without its time."""
    return refereed(source, operator, seed, timed=False)


def kernel_identity(campaign: KernelCampaign, name: str, tier: Tier) -> Row:
    """The fields that a run's name is the hash of: times are of one machine and one shipped kernel."""
    return {
        "identity_version": IDENTITY_VERSION,
        "campaign": name,
        "tier": tier,
        "seed": campaign.seed,
        "kernels": campaign.resolved(tier),
        "present": kernel(campaign.operator, "chunk"),
        "start": address_of(start(campaign.operator)),
        "code": _code(),
        "cpu": provenance()["cpu"],
        **versions(),
    }


@cache
def _code() -> str:
    return installed().reach(ROOTS, STOPS).whole


@dataclass(frozen=True)
class KernelOutcome:
    """What a campaign of kernels found: the winner's gain on fresh timings (in logarithms of time, positive is faster),
    and what may be said of it; None where nothing was confirmed."""

    campaign: str
    tier: str
    operator: str
    evaluated: int
    winner: str | None
    effect: Effect | None
    decision: Decision | None

    def explain(self) -> str:
        """The answer in a sentence."""
        if not self.evaluated:
            return "nothing is answered: no candidate has a time yet"
        if self.winner is None or self.effect is None:
            return f"no winner: {self.evaluated} candidates were timed, and none is confirmed"
        words = {"better": "is faster than {}", "worse": "is slower than {}"}
        said = words.get(self.decision or "", "cannot be told from {}").format(self.operator)
        return f"{self.winner} {said}: it takes {share(self.effect)} of its time, n = {self.effect.n}"


def share(effect: Effect) -> str:
    """A gain as the share of the time that is taken, with its interval."""
    taken, low, high = (math.exp(-gain) for gain in (effect.mean, effect.high, effect.low))
    return f"{taken:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True)
class Times:
    """A run's times, read: those of a kernel beside those of the `start`."""

    timings: KernelTimings
    start: str

    @classmethod
    def of(cls, archive: Archive, run: str) -> Times:
        """Those of a run in an archive."""
        found = archive.run(run)
        assert found is not None, run
        return cls(KernelTimings(archive, run), found["identity"]["start"])

    def logs(self, stage: StageName, address: str) -> dict[int, float]:
        """A kernel's times in a stage by number, as logarithms; empty where one of them was no time."""
        rows = self.timings.of(stage, address)
        whole = bool(rows) and all(row["outcome"] == "scored" for row in rows)
        return {row["number"]: row["log_ratio"] for row in rows} if whole else {}

    def gain(self, stage: StageName, address: str) -> float | None:
        """How far a kernel's times are below the start's, in logarithms."""
        mine, base = self.logs(stage, address), self.logs(stage, self.start)
        return fmean(base.values()) - fmean(mine.values()) if mine and base else None

    def effect(self, stage: StageName, address: str, num_comparisons: int = 1) -> Effect | None:
        """The same with its interval; None where a kernel has not two times."""
        mine, base = self.logs(stage, address), self.logs(stage, self.start)
        if len(mine.keys() & base.keys()) < 2:
            return None
        return paired_effect(mine, base, higher_is_better=False, num_comparisons=num_comparisons)


class KernelRun:
    """One campaign of kernels at one tier over one archive; `explore`, `verify` and `confirm` return what they hand
    over. `gates` and `measure` examine and time a source; `deadline` (monotonic seconds) is the hard cap."""

    def __init__(
        self,
        campaign: KernelCampaign,
        name: str,
        tier: Tier,
        archive: Archive,
        say: Callable[[str], None],
        *,
        deadline: float | None = None,
        gates: Gates | None = None,
        measure: Measure | None = None,
    ) -> None:
        self.campaign, self.name, self.tier, self.archive, self.say = campaign, name, tier, archive, say
        self.operator, self.deadline = campaign.operator, deadline
        self.gates, self.measure = gates or untimed, measure or measured
        self.label = f"{name}/{campaign.arm}" if campaign.arm else name  # an arm draws from the same seeds
        identity = kernel_identity(campaign, name, tier)
        self.run, self.judged_by = digest(identity), {key: identity[key] for key in ("present", "code")}
        archive.add_run(self.run, self.label, tier, campaign.seed, identity, provenance())
        source = start(self.operator)
        self.start = address_of(source)
        self.timings = KernelTimings(archive, self.run)
        self.times = Times(self.timings, self.start)
        archive.add_candidate(
            self.start, self.operator, source, motivation(source), dict.fromkeys(CHOICES, SHIPPED)
        )  # fmt: skip

    @property
    def budget(self) -> int:
        """How many candidates may be proposed."""
        return self.campaign.budget.at(self.tier).candidates

    @property
    def proposed(self) -> int:
        """How many were so far: the number of the next."""
        return len(self.archive.addresses(self.run, 0, self.budget))

    # --- the three stages -----------------------------------------------------------------------------------------

    def ensure(self, stage: StageName) -> Row:
        """A stage's result: from the archive when it is finished, else by running it (and those before it)."""
        stages = {"explore": self.explore, "verify": self.verify, "confirm": self.confirm}
        return self.archive.stage_result(self.run, stage) or stages[stage]()

    def explore(self) -> Row:
        """Search: propose, examine and time `budget.candidates` candidates; where all come by the door, those that have
        come. The start is timed first: a machine that is not quiet is found out before anything else is paid."""
        self.time("explore", [self.start])
        for number in range(self.budget):
            if number == self.proposed:
                if self.campaign.researcher == "open":
                    break
                self.put(number, researcher(self.campaign.researcher, self.operator).propose(self.context(number)))
            self.judge(number)
        if not self.proposed:
            raise EvidenceError(
                f"no kernel was proposed to {self.label}; asiarc brief {self.label} says how one is made, asiarc "
                f"propose FILE --campaign {self.label} --tier {self.tier} takes it"
            )
        best = [row["address"] for row in self.archive.leading(self.run, self.budget)]
        entrants = self.archive.addresses(self.run, 0, self.budget)
        return self._finish("explore", {"entrants": entrants, "finalists": best, "candidates": len(entrants)})

    def verify(self) -> Row:
        """The finalists and the start again, their times taken anew."""
        entrants = self.ensure("explore")["finalists"][: self.campaign.top]
        self.time("verify", [self.start, *entrants])
        gains = {address: self.times.gain("verify", address) for address in entrants}
        scored = [(gain, address) for address, gain in gains.items() if gain is not None]
        winner = max(scored)[1] if scored else None
        return self._finish("verify", {"entrants": entrants, "winner": winner, "gains": gains})

    def confirm(self) -> Row:
        """The winner and the start once more, by timings that nothing was chosen by."""
        winner = self.ensure("verify")["winner"]
        found: Row = {"entrants": [winner] if winner else [], "winner": winner}
        if winner:
            self.time("confirm", [self.start, winner])
            effect = self.times.effect("confirm", winner)
            if effect is not None:
                found |= {"effect": effect.as_dict(), "decision": decide(effect, fresh_seeds=True, fresh_items=True)}
        return self._finish("confirm", found)

    def outcome(self) -> KernelOutcome:
        """What was found so far."""
        found = self.archive.stage_result(self.run, "confirm") or {"winner": None}
        effect, winner = found.get("effect"), found["winner"] and self.called(found["winner"])
        evaluated = len(self.archive.leading(self.run, self.budget))
        return KernelOutcome(
            self.label, self.tier, self.operator, evaluated, winner, Effect(**effect) if effect else None,
            found.get("decision"),
        )  # fmt: skip

    def _finish(self, stage: StageName, result: Row) -> Row:
        self.archive.finish_stage(self.run, stage, result)
        return result

    # --- one candidate --------------------------------------------------------------------------------------------

    def put(self, number: int, proposal: Proposal) -> None:
        """Keep a proposal before anything is paid for it."""
        draft = Draft(number, number, address_of(proposal.source), proposal, is_new=True)
        with self.archive.transaction():
            self.archive.add_candidate(
                draft.address, proposal.name, proposal.source, proposal.motivation, proposal.genome
            )
            self.archive.add_proposal(self.run, number, number, proposal_row(draft))

    def judge(self, number: int) -> None:
        """A proposal's outcome, and its gain where it has one. Raises `NotMeasuredError` where the machine is loud."""
        if self.archive.result(self.run, number) is not None:
            return
        self._require_time(self.budget - number)
        proposal = self.archive.proposal(self.run, number)
        assert proposal is not None, number
        address = proposal["address"]
        outcome = self.admit(address)
        gain, scores = None, {}
        if outcome == SCORED:
            self.time("explore", [self.start, address])
            gain = self.times.gain("explore", address)
            if gain is None:
                red = next(row for row in self.timings.of("explore", address) if row["outcome"] == "rejected")
                outcome = Outcome("rejected", red["reason"], red["gate"])
            else:
                scores = {"time": {"gain": gain, "mean": fmean(self.times.logs("explore", address).values())}}
        rung = -1 if gain is None else 0
        self.archive.add_result(self.run, number, address, outcome, rung=rung, gain=gain, scores=scores)
        told = outcome if gain is None else f"takes {math.exp(-gain):.3f} of the time of {self.operator}"
        self.say(f"  #{number:<4} {proposal['name']:<34} {told}")

    def admit(self, address: str) -> Outcome:
        """What the gates for kernels say of a candidate; asked once of each, against the kernel that is shipped."""
        key = digest({"address": address, "operator": self.operator, **self.judged_by})
        kept = self.archive.admission(key)
        if kept is None:
            try:
                _, told = self.gates(self._source(address), self.operator, seed_of("kernel", address) % 2**31)
                found = [_finding(check, text) for check, texts in told["findings"].items() for text in texts]
            except KernelError as error:
                found = [_finding("loads", str(error))]
            outcome = Outcome("rejected", found[0]["reason"], found[0]["gate"]) if found else SCORED
            self.archive.add_admission(key, address, outcome, found, {}, 0.0)
            return outcome
        earlier: Outcome = kept["outcome"]
        return earlier

    # --- times ----------------------------------------------------------------------------------------------------

    def time(self, stage: StageName, addresses: Sequence[str]) -> None:
        """Time kernels as often as a stage says, round by round, one after the other. Raises `NotMeasuredError`."""
        for number in range(self.campaign.timings(stage, self.tier)):
            for address in addresses:
                kept = [row for row in self.timings.of(stage, address) if row["outcome"] != "unscored"]
                is_red = any(row["outcome"] == "rejected" for row in kept)
                if not is_red and number not in {row["number"] for row in kept}:
                    self._time_once(stage, address, number)

    def _time_once(self, stage: StageName, address: str, number: int) -> None:
        self._require_time(1)
        began, source = time.monotonic(), self._source(address)
        outcome, ratio = ending(lambda: self.measure(source, self.operator))
        row = {"outcome": outcome.kind, "gate": outcome.gate, "reason": outcome.reason, "pairs": ratio.pairs}
        if outcome == SCORED:
            row |= {"log_ratio": math.log(ratio.ratio), "low": ratio.low, "high": ratio.high}
        self.timings.put(stage, address, number, row | {"wall_s": time.monotonic() - began})
        if outcome.kind == "unscored":
            raise NotMeasuredError(
                f"not measured: {self.called(address)} in {stage} of {self.label}, for {outcome.reason}. Nothing is "
                "lost: run the same command again when the machine is quiet"
            )
        if outcome.kind == "rejected" and address == self.start:
            raise EvidenceError(f"the shipped kernel of {self.operator} cannot be timed: {outcome.reason}")

    def _require_time(self, left: int) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise BudgetExhaustedError(
                f"the minutes of {self.label} are used up with {left} candidates or timings left; what is finished is "
                "kept: run the same command again to go on, or give its budget more minutes"
            )

    # --- what a researcher is told ----------------------------------------------------------------------------------

    def context(self, number: int) -> Context:
        """What a researcher may know before a proposal: the best so far, or the start where none is ahead of it."""
        leading = self.archive.leading(self.run, 1)
        ahead = [row["address"] for row in leading if row["gain"] > 0]
        failed = self.archive.last_failed(self.run, number, FAILED)
        return Context(
            seed=seed_of(self.name, self.tier, self.campaign.seed, "kernel", number),
            generation=number,
            index=number,
            parent=self.relative(ahead[0] if ahead else self.start),
            references=(),
            insights=(),
            failed=tuple(
                Failure(address=row["address"], gate=ended.gate, reason=ended.reason, name=row["name"])
                for row in failed
                if (ended := row["outcome"])
            ),
            known=frozenset({self.start, *self.archive.addresses(self.run, 0, number)}),
        )

    def relative(self, address: str) -> Relative:
        """The start or a candidate as a researcher is shown it."""
        row, gain = self.archive.candidate(address), self.times.gain("explore", address)
        assert row is not None, address
        scores = {} if gain is None else {"gain": gain}
        shown = {key: row[key] for key in ("address", "name", "source", "genome", "motivation")}
        return Relative(**shown, scores=scores)

    def called(self, address: str) -> str:
        """A kernel's name."""
        return self.relative(address).name

    def _source(self, address: str) -> str:
        row = self.archive.candidate(address)
        assert row is not None, address
        return str(row["source"])


class KernelDoor(Threshold):
    """Takes proposals for one campaign of kernels."""

    def __init__(self, run: KernelRun) -> None:
        super().__init__(run)
        self.run = run

    @property
    def starts(self) -> Set[str]:
        """The shipped algebra."""
        return {self.run.start}

    @property
    def is_closed(self) -> bool:
        """Whether verify has timed anything."""
        return "verify" in self.run.timings.begun()

    def known(self, source: str) -> Twin | None:
        """Who a source is already by its program."""
        address = address_of(source)
        numbers = [n for n, one in enumerate(self.archive.addresses(self.run.run, 0, self.budget)) if one == address]
        if not numbers and address != self.run.start:
            return None
        return Twin("program", address, self.run.called(address), numbers[0] if numbers else None)

    def propose(self, source: str, *, name: str, author: str, parent: str = "", idea: str = "") -> int:
        """Keep a file as the next proposal and return its number. Raises as `Door.propose`."""
        self._check_open()
        self.require(1)
        number = self.proposed
        given = self._parent(parent) if parent else self.run.context(number).parent.address
        proposal = Proposal(
            source=source, name=f"{name}_{address_of(source)[:6]}", motivation=idea or motivation(source), origins=(),
            parents=(given,), genome=None, predicted="faster", author=author,
        )  # fmt: skip
        self.archive.drop("stages", "run = ? AND stage = 'explore'", self.run.run)  # it is not finished after all
        self.run.put(number, proposal)
        return number


def ending(measure: Callable[[], Compared]) -> tuple[Outcome, Ratio]:
    """How a timing ends. The machine's noise is nobody's outcome, and never a number."""
    try:
        compared = measure()
    except NotMeasuredError as error:
        reason = str(error).removeprefix("not measured: ").removesuffix("; try later.")
        return Outcome("unscored", reason), Ratio.nothing(reason)
    ratio = compared.ratio
    if compared.red:
        return Outcome("rejected", compared.red, "speed"), ratio
    return (Outcome("unscored", ratio.reason), ratio) if math.isnan(ratio.ratio) else (SCORED, ratio)


def _finding(gate: str, reason: str) -> Row:
    shown = {"example": {}, "expected": "", "actual": "", "cpu_s": 0.0}
    return {"gate": gate, "verdict": "rejected", "reason": reason, **shown}
