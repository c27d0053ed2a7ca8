"""What whoever proposed a candidate is told of it: how it ended, its gains in explore, and what they cost.

Read from the archive, from explore alone: what verify and confirm measured is for the report. Explore chose by these
numbers, so that none of them says "better": a candidate is *ahead* of start_from where its interval is, over the
seeds of its deepest rung and widened for all that were scored, and whether it is better is for confirm to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from asiarc.archive.results import CampaignResult
from asiarc.core.errors import EvidenceError
from asiarc.core.outcome import Outcome
from asiarc.evidence.effects import paired_effect
from asiarc.loop.drafts import gate_told
from asiarc.search.leading import gains_over

Word = Literal["ahead", "not told apart", "behind", "rejected", "admitted"]
WORDS: dict[Word, int] = {"ahead": 0, "not told apart": 3, "behind": 4, "rejected": 5, "admitted": 6}
"""What is said of a proposal, the best first, and the exit status that says it."""
_COST = """
    SELECT COUNT(*) AS trials, COALESCE(SUM(t.cpu_s), 0.0) AS cpu_s, COALESCE(SUM(t.tokens), 0) AS tokens
    FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ? AND u.stage = 'explore' AND t.address = ?
"""


@dataclass(frozen=True)
class Gain:
    """The mean gain over a baseline on a rung, over `seeds`; two or more give the interval, at 95 % for all
    `compared`."""

    over: str
    rung: int
    seeds: int
    mean: float
    low: float | None
    high: float | None
    compared: int


@dataclass(frozen=True)
class Feedback:
    """What explore says of one proposal. `gains` are over start_from first; `told` is what a gate found, in lines."""

    number: int
    address: str
    name: str
    author: str
    word: Word
    outcome: Outcome | None
    rung: int
    rungs: int
    holds: bool
    gains: tuple[Gain, ...]
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
    def _gains(self) -> dict[str, Any]:
        """By baseline: address to rung to the gain of each seed."""
        return {name: gains_over(self.result, self.rungs, self.baselines[name]) for name in self.names}

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
        gains = tuple(self._over(address)) if is_scored else ()
        holds = not ended or bool(ended["holds"])
        (cost,) = self.archive.rows(_COST, self.run, address)
        return Feedback(
            number=row["number"], address=address, name=row["name"], author=row.get("author") or self.by,
            word=_word(outcome, gains, holds=holds), outcome=outcome,
            rung=ended["rung"] if ended else -1, rungs=len(self.rungs), holds=holds, gains=gains,
            told=tuple(gate_told(self.archive, address, row["source"], outcome)) if outcome and not is_scored else (),
            **cost,
        )  # fmt: skip

    def _over(self, address: str) -> Iterator[Gain]:
        """The gains over each baseline, on the deepest rung on which both were trained."""
        for name, gains in self._gains.items():
            found = gains.get(address, {})
            rung = max((rung for rung, values in found.items() if values), default=-1)
            if rung >= 0:
                yield self._gain(name, rung, found[rung])

    def _gain(self, over: str, rung: int, values: Sequence[float]) -> Gain:
        mean, n = sum(values) / len(values), len(values)
        try:
            mine, zero = {str(i): value for i, value in enumerate(values)}, {str(i): 0.0 for i in range(n)}
            effect = paired_effect(mine, zero, higher_is_better=True, num_comparisons=self._compared)
        except EvidenceError:  # one seed has no interval
            return Gain(over, rung, n, mean, None, None, self._compared)
        return Gain(over, rung, n, mean, effect.low, effect.high, self._compared)


def _word(outcome: Outcome | None, gains: Sequence[Gain], *, holds: bool) -> Word:
    """What is said of a proposal: the gain over start_from, which comes first, decides, if no capability was lost."""
    if outcome is None:
        return "admitted"
    if outcome.kind != "scored":
        return "rejected"
    if not holds:
        return "behind"
    first = next(iter(gains), None)
    if first is None or first.low is None or first.high is None or first.low <= 0 <= first.high:
        return "not told apart"
    return "ahead" if first.low > 0 else "behind"
