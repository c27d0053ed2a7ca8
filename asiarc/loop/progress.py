"""What a run says while it works: a line a generation, one for each candidate, and one in ten trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from asiarc.archive.store import Archive, Trial
from asiarc.campaign.identity import moved_fields
from asiarc.core.outcome import Outcome

SHOWN = 12  # fields that moved since the last run
HEARTBEAT = 10  # trials between two lines of progress
Say = Callable[[str], None]


class Progress:
    """`say` gets a line for each candidate and each generation, `detail` one a trial, `beat` one in ten trials."""

    def __init__(self, archive: Archive, say: Say, detail: Say, beat: Say | None = None) -> None:
        self.archive, self.say, self.detail, self.beat = archive, say, detail, beat or say
        self.called: dict[str, str] = {}  # name by address: a user's file may be a candidate of an earlier run
        self._trials, self._cpu_s = 0, 0.0

    def started(self, run: str, label: str, tier: str, identity: dict[str, Any]) -> None:
        """A run that is new although its campaign ran before: what moved."""
        earlier = self.archive.runs(label, tier)
        if earlier and self.archive.run(run) is None:
            moved = moved_fields(earlier[-1]["identity"], identity)
            more = f"; and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
            self.say(f"  a new run: since the last one moved {'; '.join(moved[:SHOWN])}{more}")

    def baselines(self, names: Sequence[str]) -> None:
        """The first work of a search, which may take a minute before there is more to say."""
        self.say(f"  the gates look at {', '.join(names)}, which are then trained as every candidate will be")

    def trial(self, trial: Trial) -> None:
        """A trial that was trained."""
        shown = f"{trial.value:.4f}" if trial.value is not None else str(trial.outcome)
        where = f"{trial.stage:<8} {self.name(trial.address):<34} {trial.task:<12} {trial.steps:>4} steps"
        self.detail(f"    {where}  {shown}  {trial.cpu_s:.0f} s")
        for note in trial.details.get("notes", ()):
            self.say(f"  {self.name(trial.address)} on {trial.task}: {note}")
        self._trials += 1
        self._cpu_s += trial.cpu_s
        if self._trials % HEARTBEAT == 0:
            self.beat(f"  {self._trials} trials trained, {self._cpu_s:.0f} CPU-seconds; last {where}  {shown}")

    def given_up(self, number: int, name: str, outcome: Outcome) -> None:
        """A candidate that was turned away or broke."""
        self.say(f"  #{number:<4} {name:<34} {outcome}")

    def generation(
        self, run: str, generation: int, numbers: Sequence[int], best: tuple[str, float], start_from: str
    ) -> None:
        """A generation that was trained: its scored candidates, and the best so far (address and gain)."""
        scored = 0
        for number in numbers:
            row = self.archive.result(run, number)
            if row is not None and row["gain"] is not None:
                scored += 1
                note = "" if row["holds"] else "  fails a capability check"
                standing = f"rung {row['rung']}  gain {row['gain']:+.4f}{note}"
                self.say(f"  #{number:<4} {self.name(row['address']):<34} {standing}")
        address, gain = best
        expected = f"{gain:+.4f} expected of it over {start_from} (measured gains, shrunk for having been chosen)"
        self.say(
            f"  generation {generation}: {scored} of {len(numbers)} scored; "
            + (
                f"best so far {self.name(address)}, {expected}"
                if gain > 0
                else f"none is expected to beat {start_from}"
            )
        )

    def name(self, address: str) -> str:
        """A candidate's name."""
        row = self.archive.candidate(address)
        assert row is not None, address
        return self.called.get(address, str(row["name"]))
