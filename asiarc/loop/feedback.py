"""What whoever proposed a candidate is told of it: how it ended, its gains in explore, and what they cost.

Read from the archive, from explore alone: what verify and confirm measured is for the report. Explore chose by these
numbers, so that none of them says "better": a candidate is *ahead* of start_from where its interval is, at the deepest
rung that both stand on and widened for all that were scored; whether it is better is for confirm to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from asiarc.archive.gains import Gains, gains_of
from asiarc.archive.results import CampaignResult
from asiarc.core.outcome import Outcome
from asiarc.evidence.additive import t_factor
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
    """A gain over a baseline in `unit`, with its interval at 95 % for all `compared` candidates; no interval where no
    seed was repeated. `where` says at which rung, on which seeds."""

    over: str
    gain: float
    low: float | None
    high: float | None
    unit: str
    where: str
    compared: int


@dataclass(frozen=True)
class Feedback:
    """What explore says of one proposal. `scores` has start_from first; `told` is what a gate found, in lines."""

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


class Reader:
    """Reads a run's feedback; gains are means over the tasks that decide, as far as the archive knows them."""

    def __init__(self, result: CampaignResult) -> None:
        self.result, self.archive, self.run = result, result.archive, result.run
        found = self.archive.run(self.run)
        assert found is not None, self.run
        identity: Mapping[str, Any] = found["identity"]
        self.rungs: list[int] = identity["plans"]["explore"]["rungs"]
        self.baselines: Mapping[str, str] = identity["baselines"]
        self.names = dict.fromkeys([result.spec["start_from"], *self.baselines])  # start_from first

    @cached_property
    def _gains(self) -> Gains:
        """The gains among the leading candidates and the baselines: from all of them the luck of seeds is read."""
        leading = [row["address"] for row in self.archive.leading(self.run, POPULATION)]
        return gains_of(self.archive, self.run, leading, self.result.ranking_tasks("explore"))

    @cached_property
    def _compared(self) -> int:
        """How many candidates were scored: the best of them is the best of so many."""
        return max(1, self.result.evaluated)

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
        is_scored = outcome is not None and outcome.kind == "scored"
        scores = tuple(self._over(address)) if is_scored else ()
        holds = not ended or bool(ended["holds"])
        (cost,) = self.archive.rows(_COST, self.run, address)
        return Feedback(
            number=row["number"], address=address, name=row["name"], author=row.get("author") or self.by,
            word=_word(outcome, scores, holds=holds), outcome=outcome,
            rung=ended["rung"] if ended else -1, rungs=len(self.rungs), holds=holds, scores=scores,
            told=tuple(gate_told(self.archive, address, row["source"], outcome)) if outcome and not is_scored else (),
            **cost,
        )  # fmt: skip

    def _over(self, address: str) -> Iterator[GainOver]:
        """The gain over each baseline, at the deepest rung that both stand on."""
        for name in self.names:
            gain = self._gains.over(address, self.baselines[name])
            if gain is not None:
                radius = None if gain.error is None else t_factor(gain.freedom, self._compared) * gain.error
                low, high = (None, None) if radius is None else (gain.mean - radius, gain.mean + radius)
                yield GainOver(name, gain.mean, low, high, gain.unit, gain.where, self._compared)


def _word(outcome: Outcome | None, scores: Sequence[GainOver], *, holds: bool) -> Word:
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
