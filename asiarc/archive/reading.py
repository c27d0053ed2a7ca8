"""One run as the report reads it: trials without their curves, who took part, gains by level.

Sources, curves and per-item logs stay in the archive. Of a run with more than `WHOLE` proposals only an even share is
held, with the leading ones, the finalists and the winner's line: what is held does not grow with the run (but for the
addresses that a stage handed over). Counts and sums are asked of the archive and stay exact, whatever is held.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from asiarc.archive.results import CampaignResult, Values, mean_gain
from asiarc.archive.store import Archive
from asiarc.core.candidate import content_address
from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import STAGES, StageName
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.models.baselines import baseline_source
from asiarc.tasks import get_task

Row = dict[str, Any]

WHOLE = 4_000  # proposals up to which a run is held whole
NAMED = 100  # leading candidates, and finalists, that are held in any case
_TRIALS = """
    SELECT u.stage AS used_in, t.key, t.address, t.task, t.seed, t.steps, t.learning_rate, t.outcome, t.value,
           t.parameters, t.state_bytes, t.flops_per_token, t.tokens, t.wall_s, t.cpu_s, t.created_at
    FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ?1
"""
_ORDER = " ORDER BY u.stage, t.address, t.task, t.seed, t.key"
TRIALS = _TRIALS + _ORDER
_HELD = "run = ?1 AND (number % ?2 = 0 OR number IN (SELECT value FROM json_each(?3)))"
_HELD_TRIALS = f"""{_TRIALS}
    AND (t.address IN (SELECT address FROM proposals WHERE {_HELD})
         OR NOT EXISTS (SELECT 1 FROM proposals p WHERE p.address = t.address AND p.run = ?1)){_ORDER}
"""
_SPEND = """
    COUNT(*) AS trials, COALESCE(SUM(outcome = 'scored'), 0) AS scored, COALESCE(SUM(cpu_s), 0.0) AS cpu_s,
    COALESCE(SUM(wall_s), 0.0) AS wall_s, COALESCE(SUM(tokens), 0) AS tokens
"""


def effect_of(candidate: Values, baseline: Values, *, higher_is_better: bool, num_comparisons: int) -> Effect:
    """`paired_effect` over seeds that are named by text."""
    number = {seed: index for index, seed in enumerate(sorted(candidate.keys() | baseline.keys()))}
    return paired_effect(
        {number[s]: v for s, v in candidate.items()}, {number[s]: v for s, v in baseline.items()},
        higher_is_better=higher_is_better, num_comparisons=num_comparisons,
    )  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """One run of a campaign, read once."""

    archive: Archive
    result: CampaignResult

    @classmethod
    def of(cls, archive: Archive, run: str) -> Reading:
        """A run by its identity."""
        return cls(archive, CampaignResult.load(archive, run))

    @property
    def run(self) -> str:
        """The run's identity."""
        return self.result.run

    # --- what is held ---------------------------------------------------------------------------------------------

    @cached_property
    def _held(self) -> tuple[str, int, str]:
        """The run, every how manyth of its proposals is held, and the numbers of those held in any case."""
        step = -(-self.proposed // WHOLE) or 1
        named = set() if step == 1 else self._named()
        return self.run, step, json.dumps(sorted(named))

    def _named(self) -> set[int]:
        """The leading candidates, the finalists, and the winner with its first parents."""
        found = {row["number"] for row in self.archive.leading(self.run, NAMED)}
        finalists = self.stages.get("explore", {}).get("finalists", [])
        found |= {row["number"] for address in finalists for row in self._proposal(address)}
        line = self._proposal(self.winner)
        for row in line:  # which grows by a parent a step, and a parent comes before its child
            found.add(row["number"])
            parents = self._proposal(next(iter(json.loads(row["parents"])), None))
            line += [parent for parent in parents if parent["number"] < row["number"]]
        return found

    def _proposal(self, address: str | None) -> list[Row]:
        """The number and the parents of an address's first proposal, if there is one."""
        return self.archive.rows(
            "SELECT number, parents FROM proposals WHERE address = ? AND run = ? ORDER BY number LIMIT 1",
            address, self.run,
        )  # fmt: skip

    @cached_property
    def trials(self) -> list[Row]:
        """The trials of baselines and of the proposals that are held, without their curves."""
        if self._held[1] == 1:
            return self.archive.rows(TRIALS, self.run)
        return self.archive.rows(_HELD_TRIALS, *self._held)

    @cached_property
    def proposals(self) -> list[Row]:
        """Proposals in order, without sources: number, generation, address, name, parents, origins, predicted."""
        found = self.archive.rows(
            "SELECT number, generation, address, name, parents, origins, predicted FROM proposals "
            f"WHERE {_HELD} ORDER BY number", *self._held,
        )  # fmt: skip
        return [
            {**row, "parents": json.loads(row["parents"]), "origins": json.loads(row["origins"])}
            for row in found
        ]

    @cached_property
    def endings(self) -> dict[int, Row]:
        """How each proposal that is held and finished ended, by number."""
        found = self.archive.rows(
            "SELECT number, address, outcome, gate, reason, rung, gain FROM results "
            f"WHERE {_HELD} ORDER BY number", *self._held,
        )  # fmt: skip
        return {row["number"]: row for row in found}

    # --- what is counted ------------------------------------------------------------------------------------------

    @cached_property
    def proposed(self) -> int:
        """How many candidates were proposed."""
        (row,) = self.archive.rows("SELECT COUNT(*) AS n FROM proposals WHERE run = ?", self.run)
        return int(row["n"])

    @cached_property
    def endings_by_kind(self) -> list[Row]:
        """How many proposals ended how: outcome, gate, count."""
        return self.archive.rows(
            "SELECT outcome, gate, COUNT(*) AS count FROM results WHERE run = ? GROUP BY outcome, gate",
            self.run,
        )

    def failed(self, outcome: str, gate: str, count: int) -> list[Row]:
        """The first proposals that ended so: number, name, reason."""
        return self.archive.rows(
            "SELECT r.number, p.name, r.reason FROM results r JOIN proposals p ON p.run = r.run AND "
            "p.number = r.number WHERE r.run = ? AND r.outcome = ? AND r.gate = ? ORDER BY r.number LIMIT ?",
            self.run, outcome, gate, count,
        )  # fmt: skip

    def spend(self, stage: StageName) -> Row:
        """What the trials of a stage cost."""
        (row,) = self.archive.rows(
            f"SELECT {_SPEND} FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ? AND u.stage = ?",
            self.run, stage,
        )  # fmt: skip
        return {"stage": stage, **row}

    @cached_property
    def last_trial_at(self) -> str | None:
        """When the last trial was stored."""
        (row,) = self.archive.rows(
            "SELECT MAX(created_at) AS at FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ?",
            self.run,
        )
        return row["at"] if row["at"] is None else str(row["at"])

    def origins(self, *, scored: bool) -> Iterator[list[Row]]:
        """The origins of every proposal, or of every scored one, a proposal at a time."""
        wanted = (
            "JOIN results r ON r.run = p.run AND r.number = p.number AND r.outcome = 'scored'"
            if scored
            else ""
        )
        for row in self.archive.each(f"SELECT p.origins FROM proposals p {wanted} WHERE p.run = ?", self.run):
            yield json.loads(row["origins"])

    def course(self) -> Iterator[Row]:
        """Every proposal in order, a row at a time: number, gain (None: not scored), CPU-seconds of its explore.

        CROSS JOIN: SQLite takes a candidate's few trials first, not the run's many uses.
        """
        return self.archive.each(
            "SELECT p.number, r.gain, (SELECT COALESCE(SUM(t.cpu_s), 0.0) FROM trials t CROSS JOIN uses u ON "
            "u.run = p.run AND u.stage = 'explore' AND u.trial = t.key WHERE t.address = p.address) AS cpu_s "
            "FROM proposals p LEFT JOIN results r ON r.run = p.run AND r.number = p.number "
            "WHERE p.run = ? ORDER BY p.number", self.run,
        )  # fmt: skip

    # --- who took part --------------------------------------------------------------------------------------------

    @cached_property
    def baselines(self) -> dict[str, str]:
        """Baseline name to address, as trained in this run; one that has no trial yet is left out."""
        trained = {trial["address"] for trial in self.trials}
        proposed = {row["address"] for row in self.proposals}
        found = {}
        for name in self.result.spec["baselines"]:
            stored = self.archive.rows(
                "SELECT address FROM candidates WHERE name = ? ORDER BY rowid DESC", name
            )
            known = [content_address(baseline_source(name)), *(row["address"] for row in stored)]
            here = [address for address in known if address in trained and address not in proposed]
            if here:
                found[name] = here[0]
        return found

    @property
    def start(self) -> str | None:
        """The address of the baseline that gains are counted from."""
        return self.baselines.get(self.result.spec["start_from"])

    @cached_property
    def names(self) -> dict[str, str]:
        """Address to name, of proposals and baselines."""
        return {row["address"]: row["name"] for row in self.proposals} | {
            a: name for name, a in self.baselines.items()
        }

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Address to the number of its (first) proposal."""
        return {row["address"]: row["number"] for row in reversed(self.proposals)}

    @cached_property
    def measures(self) -> dict[str, Row]:
        """Address to what the gates measured of one mixer at micro size: parameters, state bytes, FLOPs per token."""
        held = sorted({row["address"] for row in (*self.proposals, *self.trials)})
        found = self.archive.rows(
            "SELECT address, measures FROM admissions WHERE measures IS NOT NULL AND address IN "
            "(SELECT value FROM json_each(?)) ORDER BY rowid", json.dumps(held),
        )  # fmt: skip
        return {row["address"]: json.loads(row["measures"]) for row in found}

    @cached_property
    def stages(self) -> dict[StageName, Row]:
        """What each finished stage handed over."""
        found = {stage: self.archive.stage_result(self.run, stage) for stage in STAGES}
        return {
            stage: result | {"finalists": result["finalists"][:NAMED]} if "finalists" in result else result
            for stage, result in found.items()
            if result is not None
        }

    @property
    def winner(self) -> str | None:
        """The address that verify picked, if it has."""
        return self.stages.get("verify", {}).get("winner")

    def tasks(self, stage: StageName) -> tuple[str, ...]:
        """The tasks that a stage declares; confirm falls back to verify's."""
        declared = self.result.spec[stage] or self.result.spec["verify"]
        return tuple(declared["tasks"]) if declared else ()

    def stage_trials(self, stage: StageName) -> list[Row]:
        """The trials that a stage is judged by: its last rung, tuning left out (it ran on a seed of its own)."""
        here = [t for t in self.trials if t["used_in"] == stage and "tuning" not in t["seed"]]
        last: dict[str, int] = {}
        for trial in here:
            last[trial["task"]] = max(last.get(trial["task"], 0), trial["steps"])
        return [trial for trial in here if trial["steps"] == last[trial["task"]]]

    def values(self, stage: StageName) -> dict[str, dict[str, Values]]:
        """Address to task to values by seed, of the stage's last rung."""
        return _by_mixer(self.stage_trials(stage))

    def gain(
        self,
        stage: StageName,
        values: Mapping[str, Mapping[str, Values]],
        address: str,
        baseline: str,
        task: str,
    ) -> Effect:
        """A candidate's gain over a baseline (addresses), widened for all that the stage compared.

        Raises `EvidenceError` where the stage is not finished or the two have too few seeds in common.
        """
        if stage not in self.stages:
            raise EvidenceError(f"{stage} is not finished")
        return effect_of(
            values.get(address, {}).get(task, {}), values.get(baseline, {}).get(task, {}),
            higher_is_better=get_task(task).higher_is_better, num_comparisons=self.result.num_comparisons(stage),
        )  # fmt: skip

    @cached_property
    def levels(self) -> dict[str, dict[str, float]]:
        """Rung or stage to address to mean gain over start_from on the deciding tasks: what ranks are compared on."""
        found = {}
        for steps, trials in self._rungs().items():
            found[f"explore, {steps} steps"] = self._gains("explore", trials)
        for stage in ("verify", "confirm"):
            if self.tasks(stage):
                found[stage] = self._gains(stage, self.stage_trials(stage))
        return {label: gains for label, gains in found.items() if gains}

    def _rungs(self) -> dict[int, list[Row]]:
        trials = [t for t in self.trials if t["used_in"] == "explore"]
        rungs = sorted({t["steps"] for t in trials if get_task(t["task"]).kind == "text"})
        if not rungs:
            return {max(t["steps"] for t in trials): trials} if trials else {}
        return {
            steps: [t for t in trials if t["steps"] == steps or get_task(t["task"]).kind != "text"]
            for steps in rungs
        }

    def _gains(self, stage: StageName, trials: list[Row]) -> dict[str, float]:
        values = _by_mixer(trials)
        if self.start not in values:
            return {}
        gains = {}
        for address, mine in values.items():
            each = [
                mean_gain(
                    mine.get(task, {}),
                    values[self.start].get(task, {}),
                    higher_is_better=get_task(task).higher_is_better,
                )
                for task in self.result.deciding_tasks(stage)
            ]
            scored = [gain for gain in each if gain is not None]
            if scored and len(scored) == len(each):
                gains[address] = sum(scored) / len(scored)
        return gains


def spend_of(archive: Archive, runs: Sequence[str]) -> Row:
    """What the trials of several runs cost, one that several share counted once."""
    (row,) = archive.rows(
        f"SELECT {_SPEND} FROM trials WHERE key IN (SELECT trial FROM uses WHERE run IN "
        "(SELECT value FROM json_each(?)))", json.dumps(list(runs)),
    )  # fmt: skip
    return row


def _by_mixer(trials: list[Row]) -> dict[str, dict[str, Values]]:
    values: dict[str, dict[str, Values]] = {}
    for trial in trials:
        if trial["outcome"] == "scored":
            values.setdefault(trial["address"], {}).setdefault(trial["task"], {})[trial["seed"]] = trial[
                "value"
            ]
    return values
