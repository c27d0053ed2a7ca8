"""What whoever proposed a candidate is told of it: how it ended, its gains in explore, and what they cost.

Read from the archive, from explore alone: what verify and confirm measured is for the report. Explore chose by these
numbers, so that none of them says "better": a candidate is *ahead* of start_from where its interval is, at the deepest
rung that both stand on and widened for all looks before; whether it is better is for confirm to say.

Who can read the store can see every number, and `Reader` tells them. With a referee nobody can, and `Laddered` tells
what teaches nobody the noise of what all are measured on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, reduce
from math import ceil
from typing import Any, Literal

from asiarc.archive.gains import Gain, Gains, gains_of
from asiarc.archive.looks import Looks, Seen
from asiarc.archive.results import CampaignResult
from asiarc.core.outcome import Outcome
from asiarc.evidence.additive import t_factor
from asiarc.evidence.ladder import Ladder, widened_for
from asiarc.loop.drafts import gate_told
from asiarc.loop.findings import POPULATION

Word = Literal["ahead", "not told apart", "behind", "rejected", "admitted"]
WORDS: dict[Word, int] = {"ahead": 0, "not told apart": 3, "behind": 4, "rejected": 5, "admitted": 6}
"""What is said of a proposal, the best first, and the exit status that says it."""
_COST = """
    SELECT COUNT(*) AS trials, COALESCE(SUM(t.cpu_s), 0.0) AS cpu_s, COALESCE(SUM(t.tokens), 0) AS tokens
    FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ? AND u.stage = 'explore' AND t.address = ?
"""


@dataclass(frozen=True)
class GainOver:
    """A gain over a baseline in `unit`, with its interval at 95 % for all looks, of which it is the `look`-th; no
    interval where no seed was repeated. `where` says at which rung, on which seeds."""

    over: str
    gain: float
    low: float | None
    high: float | None
    unit: str
    where: str
    look: int


@dataclass(frozen=True)
class Feedback:
    """What explore says of one proposal. `scores` has start_from first; `told` is what a gate found, in lines; `looks`
    is how many there were when it was told."""

    number: int
    address: str
    name: str
    author: str
    word: Word
    outcome: Outcome | None
    rung: int
    rungs: int
    holds: bool
    scores: tuple[GainOver, ...]
    told: tuple[str, ...]
    trials: int
    cpu_s: float
    tokens: int
    looks: int


class Reader:
    """Reads a run's feedback; gains are means over the tasks that decide, as far as the archive knows them.

    What was not shown before takes its place among the looks when it is first read; `note` keeps that.
    """

    def __init__(self, result: CampaignResult) -> None:
        self.result, self.archive, self.run = result, result.archive, result.run
        found = self.archive.run(self.run)
        assert found is not None, self.run
        identity: Mapping[str, Any] = found["identity"]
        self.rungs: list[int] = identity["plans"]["explore"]["rungs"]
        self.baselines: Mapping[str, str] = identity["baselines"]
        self.names = dict.fromkeys([result.spec["start_from"], *self.baselines])  # start_from first
        self.ledger = Looks(self.archive, self.run)
        self._shown: dict[Seen, dict[str, Any]] = self.ledger.fresh()
        self._kept = len(self._shown)

    @property
    def looks(self) -> int:
        """How many different numbers were looked at, those that were just read included."""
        return len(self._shown)

    def note(self, verb: str, author: str, found: Sequence[Feedback]) -> None:
        """Keep in the ledger that somebody was shown these."""
        fresh = [*self._shown.values()][self._kept :]
        new = {one["address"] for one in fresh}
        again = [one.address for one in found if one.address not in new and _is_scored(one.outcome)]
        if fresh or again:
            self.ledger.add(verb, author, fresh, again)
        self._kept = len(self._shown)

    @cached_property
    def _gains(self) -> Gains:
        """The gains among the leading candidates and the baselines: from all of them the luck of seeds is read."""
        leading = [row["address"] for row in self.archive.leading(self.run, POPULATION)]
        return gains_of(self.archive, self.run, leading, self.result.ranking_tasks("explore"))

    @cached_property
    def by(self) -> str:
        """Who proposes where nobody from outside did."""
        researcher = self.result.spec["researcher"]
        return str(researcher["class"] if isinstance(researcher, dict) else researcher)

    def all(self) -> list[Feedback]:
        """Every proposal's, in order."""
        return [self._of(row) for row in self.archive.proposals(self.run)]

    def of(self, number: int) -> Feedback:
        """One proposal's."""
        row = self.archive.proposal(self.run, number)
        assert row is not None, number
        return self._of(row)

    def _of(self, row: Mapping[str, Any]) -> Feedback:
        ended, address = self.archive.result(self.run, row["number"]), row["address"]
        outcome: Outcome | None = ended["outcome"] if ended else None
        is_scored = _is_scored(outcome)
        scores = tuple(self._over(address)) if is_scored else ()
        holds = not ended or bool(ended["holds"])
        (cost,) = self.archive.rows(_COST, self.run, address)
        return Feedback(
            number=row["number"], address=address, name=row["name"], author=row.get("author") or self.by,
            word=word_of(outcome, scores, holds=holds), outcome=outcome,
            rung=ended["rung"] if ended else -1, rungs=len(self.rungs), holds=holds, scores=scores,
            told=tuple(gate_told(self.archive, address, row["source"], outcome)) if outcome and not is_scored else (),
            **cost, looks=self.looks,
        )  # fmt: skip

    def _over(self, address: str) -> Iterator[GainOver]:
        """The gain over each baseline, at the deepest rung that both stand on."""
        gains = {name: self._gains.over(address, self.baselines[name]) for name in self.names}
        first = next((gain for gain in gains.values() if gain is not None), None)
        if first is None:
            return
        seen = address, first.where
        shown = self._shown.setdefault(seen, {"address": address, "where": first.where, "look": self.looks + 1})
        for name, gain in gains.items():
            if gain is not None:
                yield _widened(name, gain, int(shown["look"]))
        shown.setdefault("gain", first.mean)


class Laddered(Reader):
    """What is told where nobody may learn the noise: the gain over start_from of who is ahead of all that were told to
    be before (`asiarc.evidence.ladder`), once and for good; of everybody else the word and no number. How far a
    candidate was trained follows from its gain, and is not told: neither is how often it was looked at, so that looks
    are counted by candidates. What it cost is told in whole `SPENT_S`."""

    SPENT_S = 60.0

    def __init__(self, result: CampaignResult) -> None:
        super().__init__(result)
        self._ladder = reduce(_climbed, self._shown.values(), Ladder())

    @property
    def looks(self) -> int:
        """How many candidates were looked at."""
        return len({address for address, _ in self._shown})

    def _of(self, row: Mapping[str, Any]) -> Feedback:
        found = super()._of(row)
        spent = self.SPENT_S * ceil(found.cpu_s / self.SPENT_S)
        return replace(found, rung=-1, trials=0, tokens=0, cpu_s=spent)

    def _over(self, address: str) -> Iterator[GainOver]:
        start = next(iter(self.names))
        gain = self._gains.over(address, self.baselines[start])
        if gain is None or gain.error is None:
            return
        told = next((one for one in self._shown.values() if one["address"] == address and "steps" in one), None)
        told = told or self._looked_at(address, gain, gain.error)
        if "steps" in told:
            yield GainOver(start, told["gain"], told["low"], told["high"], gain.unit, "", told["look"])

    def _looked_at(self, address: str, gain: Gain, error: float) -> dict[str, Any]:
        """What the ledger shows of a candidate where it stands, looked at where that is the first time."""
        seen = address, gain.where
        if seen not in self._shown:
            self._ladder, told = self._ladder.look(gain.mean, error, gain.freedom)
            self._shown[seen] = {"address": address, "where": gain.where}
            self._shown[seen] |= {"look": self.looks, **(told._asdict() if told else {})}
        return self._shown[seen]


def _climbed(ladder: Ladder, shown: Mapping[str, Any]) -> Ladder:
    return ladder.climbs(shown["gain"], shown["steps"]) if "steps" in shown else ladder.stays()


def _widened(name: str, gain: Gain, look: int) -> GainOver:
    """A gain with its interval as the n-th look has it."""
    radius = None if gain.error is None else t_factor(gain.freedom, widened_for(look)) * gain.error
    low, high = (None, None) if radius is None else (gain.mean - radius, gain.mean + radius)
    return GainOver(name, gain.mean, low, high, gain.unit, gain.where, look)


def as_data(feedback: Feedback | None) -> dict[str, Any]:
    """Feedback as --json tells it."""
    if feedback is None:
        return {}
    return asdict(feedback) | {"outcome": feedback.outcome and feedback.outcome.as_dict()}


def _is_scored(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.kind == "scored"


def word_of(outcome: Outcome | None, scores: Sequence[GainOver], *, holds: bool) -> Word:
    """What is said of a proposal: the gain over start_from, which comes first, decides, if no capability was lost."""
    if outcome is None:
        return "admitted"
    if outcome.kind != "scored":
        return "rejected"
    if not holds:
        return "behind"
    first = next(iter(scores), None)
    if first is None or first.low is None or first.high is None or first.low <= 0 <= first.high:
        return "not told apart"
    return "ahead" if first.low > 0 else "behind"
