"""One run of a campaign as the archive holds it: what the `outcome` fixture gives, and what the report reads.

Everything that a test, a claim or a report may ask is here, and the word "better" is not: `gain_over` gives an effect
with its interval, from the fresh seeds and fresh items of confirm.

Sources, curves and per-item logs stay in the archive. Of a run with more than `WHOLE` proposals only an even share is
held, with the leading ones, the finalists and the winner's line: what is held does not grow with the run (but for the
addresses that a stage handed over). Counts and sums are asked of the archive and stay exact, whatever is held.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asiarc.archive.cells import load_cell
from asiarc.core.bought import PASSES, Bought
from asiarc.core.candidate import content_address
from asiarc.core.errors import EvidenceError, unknown_name
from asiarc.core.recipe import STAGES, StageName
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.models.baselines import baseline_source
from asiarc.tasks import deciding, get_task

if TYPE_CHECKING:
    from asiarc.archive.store import Archive, Trial

Row = dict[str, Any]
Values = dict[str, float]  # seed -> value

WHOLE = 4_000  # proposals up to which a run is held whole
NAMED = 100  # leading candidates, and finalists, that are held in any case
_TRIALS = """
    SELECT u.stage AS used_in, t.key, t.address, t.task, t.seed, t.steps, t.learning_rate, t.outcome, t.value,
           t.parameters, t.state_bytes, t.flops_per_token, t.tokens, t.wall_s, t.cpu_s, t.created_at,
           t.train_s, t.peak_memory_bytes, t.gpu_memory_bytes, t.energy_j, t.peak_flops_per_s
    FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ?1
"""
_TOLD = "outcome = 'scored' AND tokens > 0 AND train_s > 0"  # whose pace is known
_USED_TO_FLOPS = f"{_TOLD} AND flops_per_token > 0 AND peak_flops_per_s > 0"
_BOUGHT = f"""
    COUNT(*) AS trials, COALESCE(SUM(cpu_s), 0.0) AS cpu_s, COALESCE(SUM(tokens), 0) AS tokens,
    SUM(tokens) FILTER (WHERE {_TOLD}) / SUM(train_s) FILTER (WHERE {_TOLD}) AS tokens_per_s,
    SUM({PASSES} * flops_per_token * tokens) FILTER (WHERE {_USED_TO_FLOPS})
        / SUM(train_s * peak_flops_per_s) FILTER (WHERE {_USED_TO_FLOPS}) AS mfu,
    MAX(peak_memory_bytes) AS peak_memory_bytes, MAX(gpu_memory_bytes) AS gpu_memory_bytes,
    CASE WHEN COUNT(*) = COUNT(energy_j) THEN SUM(energy_j) END AS energy_j
"""
_ORDER = " ORDER BY u.stage, t.address, t.task, t.seed, t.key"
TRIALS = _TRIALS + _ORDER
_READ = """
    SELECT t.task, t.value, t.details FROM uses u JOIN trials t ON t.key = u.trial
    WHERE u.run = ? AND u.stage = ? AND t.outcome = 'scored' GROUP BY t.task
"""
_HELD = "run = ?1 AND (number % ?2 = 0 OR number IN (SELECT value FROM json_each(?3)))"
# The plus keeps SQLite from the index of all proposals of a run: it would read them once a trial.
_HELD_TRIALS = f"""{_TRIALS}
    AND (t.address IN (SELECT address FROM proposals WHERE {_HELD})
         OR NOT EXISTS (SELECT 1 FROM proposals p WHERE p.address = t.address AND +p.run = ?1)){_ORDER}
"""
_SPEND = """
    COUNT(*) AS trials, COALESCE(SUM(outcome = 'scored'), 0) AS scored, COALESCE(SUM(cpu_s), 0.0) AS cpu_s,
    COALESCE(SUM(wall_s), 0.0) AS wall_s, COALESCE(SUM(tokens), 0) AS tokens
"""


def values_of(trials: Iterable[Trial], address: str, task: str) -> Values:
    """The scored values of one candidate on one task, by seed; an unscored trial is absent, never a number."""
    return {t.seed: t.value for t in trials if t.address == address and t.task == task and t.value is not None}


def mean_gain(candidate: Mapping[str, float], baseline: Mapping[str, float], *, higher_is_better: bool) -> float | None:
    """Mean paired difference over common seeds, positive when the candidate is ahead; None without a pair."""
    common = sorted(candidate.keys() & baseline.keys())
    if not common:
        return None
    sign = 1 if higher_is_better else -1
    return sum(sign * (candidate[seed] - baseline[seed]) for seed in common) / len(common)


def ranking_tasks(tasks: tuple[str, ...], at_chance: Sequence[str]) -> tuple[str, ...]:
    """What gains are means over: the tasks that decide, without those at chance; where that leaves none, with them;
    where none decides, all."""
    may = deciding(tasks)
    return tuple(task for task in may if task not in at_chance) or may or tasks


def paired_by_seed(candidate: Values, baseline: Values, task: str, *, num_comparisons: int = 1) -> Effect:
    """The paired effect of two sides on a task, by seed; `EvidenceError` for fewer than two common seeds."""
    return paired_effect(
        candidate, baseline, higher_is_better=get_task(task).higher_is_better, num_comparisons=num_comparisons
    )


@dataclass(frozen=True)
class Entrant:
    """A candidate or baseline in one stage, with its measured resources."""

    address: str
    name: str
    source: str
    motivation: str
    measures: Mapping[str, float]
    result: CampaignResult = field(repr=False)

    def values(self, task: str, stage: str) -> Values:
        """Values by seed on one task in one stage; explore's are those of its last rung, so that all trained alike."""
        return self.result.scores(self.address, stage).get(task, {})

    def gain_over(self, baseline: str, task: str | None = None, *, stage: str = "confirm") -> Effect:
        """The paired gain over a baseline: by seed, on fresh seeds and items, widened for all comparisons of the stage.

        `task` defaults to the first task that decides. Raises `EvidenceError` when the stage or task is not the
        campaign's, has not been run, or has fewer than two common seeds.
        """
        task = self.result.task_called(task, stage) if task else self.result.first_that_decides(stage)
        other = self.result.baseline(baseline)
        mine, theirs = self.values(task, stage), other.values(task, stage)
        if not mine or not theirs:
            raise EvidenceError(
                f"{self.name} and {baseline} have no scored trials on {task!r} in {stage}; run that stage first: "
                f"pytest campaigns --tier {self.result.tier} -k {stage}"
            )
        return paired_by_seed(mine, theirs, task, num_comparisons=self.result.num_comparisons(stage))


@dataclass(frozen=True)
class CampaignResult:
    """One run of a campaign, as the archive holds it."""

    archive: Archive = field(repr=False)
    run: str
    name: str
    tier: str
    spec: Mapping[str, Any]

    @classmethod
    def load(cls, archive: Archive, run: str) -> CampaignResult:
        """A run by its identity."""
        found = archive.run(run)
        assert found is not None, f"run {run} is not in the archive"
        return cls(archive, run, found["campaign"], found["tier"], found["identity"]["spec"])

    def stage(self, stage: str) -> dict[str, Any]:
        """What a finished stage handed over; `EvidenceError` while it is not finished."""
        self.tasks(stage)
        found = self.archive.stage_result(self.run, stage)
        if found is None:
            raise EvidenceError(
                f"{self.name} has not finished {stage} at tier {self.tier}; run: pytest campaigns --tier {self.tier}"
            )
        return found

    def trials(self, stage: str | None = None) -> list[Trial]:
        """Every stored trial of the run (or of one stage), with its curve."""
        return self.archive.trials(self.run, stage)

    def tasks(self, stage: str) -> tuple[str, ...]:
        """The tasks of a stage; `EvidenceError` where the campaign has no such stage."""
        if stage not in STAGES:
            raise EvidenceError(unknown_name("stage", stage, STAGES))
        spec = self.spec[stage] or (self.spec["verify"] if stage == "confirm" else None)
        if spec is None:
            raise EvidenceError(f"{self.name} declares no {stage}, so nothing was verified; declare verify=Stage(...)")
        return tuple(spec["tasks"])

    def at_chance(self, stage: str) -> tuple[str, ...]:
        """The tasks of a finished stage on which no baseline could be told from chance."""
        return tuple((self.archive.stage_result(self.run, stage) or {}).get("at_chance", ()))

    def ranking_tasks(self, stage: str) -> tuple[str, ...]:
        """What a stage's gains are means over (`ranking_tasks`): never empty."""
        return ranking_tasks(self.tasks(stage), self.at_chance(stage))

    def deciding_tasks(self, stage: str) -> tuple[str, ...]:
        """The tasks of a stage that decide; all of them when none may. One at chance never does: there may be none."""
        at_chance = self.at_chance(stage)
        return tuple(task for task in self.ranking_tasks(stage) if task not in at_chance)

    def first_that_decides(self, stage: str) -> str:
        """The first of `deciding_tasks`; `EvidenceError` where all are at chance."""
        for task in self.deciding_tasks(stage):
            return task
        told = ", ".join(f"{task} ({get_task(task).chance:.3f})" for task in self.at_chance(stage))
        raise EvidenceError(
            f"nothing decides in {stage} of {self.name}: no baseline could be told from chance on {told}; train "
            "longer, or take an easier level"
        )

    def task_called(self, name: str, stage: str) -> str:
        """A stage's task by its name, or a task of one's own by its function's. Raises `EvidenceError`."""
        tasks = self.tasks(stage)
        mine = [task for task in tasks if re.fullmatch(rf"own:{re.escape(name.lower())}-[0-9a-f]{{16}}", task)]
        if name not in tasks and len(mine) != 1:
            raise EvidenceError(unknown_name(f"task of {stage}:", name, tasks))
        return name if name in tasks else mine[0]

    def num_comparisons(self, stage: str) -> int:
        """Candidates that entered the stage, times the baselines and the deciding tasks they are compared on."""
        entrants = max(1, len(self.stage(stage)["entrants"]))
        return entrants * len(self.spec["baselines"]) * len(ranking_tasks(self.tasks(stage), ()))

    def entrant(self, address: str, name: str | None = None) -> Entrant:
        """Any candidate of the archive as an entrant of this run."""
        row = self.archive.candidate(address)
        assert row is not None, address
        measured = self.archive.rows(
            "SELECT measures FROM admissions WHERE address = ? AND measures IS NOT NULL", address
        )
        measures = load_cell(measured[-1]["measures"]) if measured else {}
        return Entrant(address, name or row["name"], row["source"], row["motivation"], measures, self)

    def baseline(self, name: str) -> Entrant:
        """A baseline of the campaign by name."""
        if name not in self.spec["baselines"]:
            raise EvidenceError(unknown_name("baseline of this campaign", name, self.spec["baselines"]))
        return self.entrant(self.baselines.get(name) or self.declared[name], name)

    def best_baseline(self, stage: str) -> Entrant:
        """The baseline with the best mean on the first deciding task of a stage."""
        task = self.ranking_tasks(stage)[0]
        sign = 1 if get_task(task).higher_is_better else -1

        def mean(baseline: Entrant) -> float:
            values = baseline.values(task, stage).values()
            if not values:
                raise EvidenceError(f"{baseline.name} has no scored trials on {task} in {stage}")
            return sign * sum(values) / len(values)

        return max(map(self.baseline, self.spec["baselines"]), key=mean)

    def compare(self, ahead: str, behind: str, task: str, stage: str, *, num_comparisons: int) -> Effect:
        """The paired gain of one baseline over another in a stage, widened for `num_comparisons`."""
        mine, theirs = (self.baseline(name).values(task, stage) for name in (ahead, behind))
        return paired_by_seed(mine, theirs, task, num_comparisons=num_comparisons)

    @property
    def winner(self) -> Entrant:
        """The candidate that verify picked; confirm has tested it once more."""
        address = self.stage("verify")["winner"]
        if address is None:
            raise EvidenceError(
                f"{self.name} has no winner: no candidate was scored in verify; see: asiarc show {self.name}"
            )
        return self.entrant(address)

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """Every proposal with how it ended: number, name, address, outcome, rung, gain, scores."""
        proposals = {row["number"]: row for row in self.archive.proposals(self.run)}
        return [{**proposals[row["number"]], **row} for row in self.archive.results(self.run)]

    @property
    def evaluated(self) -> int:
        """Candidates with a scored trial."""
        return sum(row["outcome"].kind == "scored" for row in self.archive.results(self.run))

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
        line = self._proposal(self.winner_address)
        for row in line:  # which grows by a parent a step, and a parent comes before its child
            found.add(row["number"])
            parents = self._proposal(next(iter(load_cell(row["parents"])), None))
            line += [parent for parent in parents if parent["number"] < row["number"]]
        return found

    def _proposal(self, address: str | None) -> list[Row]:
        """The number and the parents of an address's first proposal, if there is one."""
        return self.archive.rows(
            "SELECT number, parents FROM proposals WHERE address = ? AND +run = ? ORDER BY number LIMIT 1",
            address, self.run,
        )  # fmt: skip

    @cached_property
    def held_trials(self) -> list[Row]:
        """The trials of baselines and of the proposals that are held, without their curves; controls are in none."""
        found = self.archive.rows(TRIALS, self.run) if self._held[1] == 1 else self._held_alone()
        controls = {*self.controls.values()} - {row["address"] for row in self.proposals}
        return [trial for trial in found if trial["address"] not in controls]

    def _held_alone(self) -> list[Row]:
        return self.archive.rows(_HELD_TRIALS, *self._held)

    @cached_property
    def controls(self) -> dict[str, str]:
        """Name to address of the controls that the run trains; none in runs from before there were controls."""
        kept = self.archive.run(self.run)
        return dict((kept or {"identity": {}})["identity"].get("controls", {}))

    @cached_property
    def proposals(self) -> list[Row]:
        """Proposals in order, without sources: number, generation, address, name, parents, origins, predicted."""
        found = self.archive.rows(
            "SELECT number, generation, address, name, parents, origins, predicted FROM proposals "
            f"WHERE {_HELD} ORDER BY number", *self._held,
        )  # fmt: skip
        return [{**row, "parents": load_cell(row["parents"]), "origins": load_cell(row["origins"])} for row in found]

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
            "SELECT outcome, gate, COUNT(*) AS count FROM results WHERE run = ? GROUP BY outcome, gate", self.run
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

    def bought(self, stage: StageName) -> Row:
        """What the trials of a stage bought, and what they took of the machine (`asiarc.core.bought`).

        The paces are one process's, over the scored trials that tell; None where none does, and of the energy where
        one does not.
        """
        (row,) = self.archive.rows(
            f"SELECT {_BOUGHT} FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ? AND u.stage = ?",
            self.run, stage,
        )  # fmt: skip
        return {"stage": stage, **row}

    def bought_by_trial(self) -> Iterator[Row]:
        """What each trial of the run bought, a row at a time, its paces among it."""
        for row in self.archive.each(TRIALS, self.run):
            bought = Bought.of(row)
            paces = {"tokens_per_s": bought.tokens_per_s, "mfu": bought.mfu(row["flops_per_token"])}
            of_which = ("used_in", "key", "address", "task", "seed", "outcome", "cpu_s")
            yield {name: row[name] for name in of_which} | vars(bought) | paces

    @cached_property
    def last_trial_at(self) -> str | None:
        """When the last trial was stored."""
        (row,) = self.archive.rows(
            "SELECT MAX(created_at) AS at FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ?", self.run
        )
        return row["at"] if row["at"] is None else str(row["at"])

    def origins(self, *, scored: bool) -> Iterator[list[Row]]:
        """The origins of every proposal, or of every scored one, a proposal at a time."""
        wanted = "JOIN results r ON r.run = p.run AND r.number = p.number AND r.outcome = 'scored'" if scored else ""
        for row in self.archive.each(f"SELECT p.origins FROM proposals p {wanted} WHERE p.run = ?", self.run):
            yield load_cell(row["origins"])

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
    def declared(self) -> dict[str, str]:
        """Baseline name to address, as the run's identity has it: of the shipped sources, or of the user's own file."""
        return {name: address_in(self.archive, self.run, name) for name in self.spec["baselines"]}

    @cached_property
    def baselines(self) -> dict[str, str]:
        """Baseline name to address, as trained in this run; one that has no trial yet is left out."""
        trained = {trial["address"] for trial in self.held_trials}
        proposed = {row["address"] for row in self.proposals}
        found = {}
        for name in self.spec["baselines"]:
            stored = self.archive.rows("SELECT address FROM candidates WHERE name = ? ORDER BY rowid DESC", name)
            known = [self.declared[name], *(row["address"] for row in stored)]
            here = [address for address in known if address in trained and address not in proposed]
            if here:
                found[name] = here[0]
        return found

    @property
    def start(self) -> str | None:
        """The address of the baseline that gains are counted from."""
        return self.baselines.get(self.spec["start_from"])

    @cached_property
    def names(self) -> dict[str, str]:
        """Address to name, of proposals and baselines."""
        return {row["address"]: row["name"] for row in self.proposals} | {a: name for name, a in self.baselines.items()}

    @cached_property
    def authors(self) -> dict[str, str]:
        """Address to who proposed it, of what came from outside; the campaign's own researcher made the rest."""
        rows = self.archive.each(f"SELECT * FROM proposals WHERE {_HELD} ORDER BY number DESC", *self._held)
        return {row["address"]: row["author"] for row in rows if row.get("author")}

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Address to the number of its (first) proposal."""
        return {row["address"]: row["number"] for row in reversed(self.proposals)}

    @cached_property
    def measures(self) -> dict[str, Row]:
        """Address to what the gates measured of one mixer at micro size: parameters, state bytes, FLOPs per token."""
        held = sorted({row["address"] for row in (*self.proposals, *self.held_trials)})
        found = self.archive.rows(
            "SELECT address, measures FROM admissions WHERE measures IS NOT NULL AND address IN "
            "(SELECT value FROM json_each(?)) ORDER BY rowid", json.dumps(held),
        )  # fmt: skip
        return {row["address"]: load_cell(row["measures"]) for row in found}

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
    def winner_address(self) -> str | None:
        """The address that verify picked, if it has."""
        return self.stages.get("verify", {}).get("winner")

    @cached_property
    def _last_rungs(self) -> dict[tuple[str, str], int]:
        """Stage and task to the most steps that a trial was trained for, tuning left out."""
        found = self.archive.rows(
            "SELECT u.stage, t.task, MAX(t.steps) AS steps FROM uses u JOIN trials t ON t.key = u.trial "
            "WHERE u.run = ? AND t.seed NOT LIKE '%tuning%' GROUP BY u.stage, t.task", self.run,
        )  # fmt: skip
        return {(row["stage"], row["task"]): row["steps"] for row in found}

    def _judged(self, stage: str, trials: Iterable[Row]) -> list[Row]:
        """The trials that a stage is judged by: its last rung, tuning left out (it ran on a seed of its own)."""
        last = self._last_rungs
        return [t for t in trials if "tuning" not in t["seed"] and t["steps"] == last.get((stage, t["task"]))]

    def tokens(self, stage: str) -> dict[str, Row]:
        """What a stage's texts were read with, where not as bytes: the tokenizer's key, and how many bytes a token of
        the scored text has. Bits a byte times that are bits a token."""
        found = {}
        for row in self.archive.rows(_READ, self.run, stage):
            details = load_cell(row["details"]) or {}
            if details.get("bits_per_token") and row["value"]:
                bytes_per_token = details["bits_per_token"] / row["value"]
                found[row["task"]] = {"tokenizer": details["tokenizer"], "bytes_per_token": bytes_per_token}
        return found

    def stage_trials(self, stage: StageName) -> list[Row]:
        """The trials that are held of those that a stage is judged by."""
        return self._judged(stage, (trial for trial in self.held_trials if trial["used_in"] == stage))

    def scores(self, address: str, stage: str) -> dict[str, Values]:
        """Task to values by seed of one candidate, whether it is held or not."""
        found = self.archive.rows(
            "SELECT t.address, t.task, t.seed, t.steps, t.outcome, t.value FROM uses u JOIN trials t "
            "ON t.key = u.trial WHERE u.run = ? AND u.stage = ? AND t.address = ?", self.run, stage, address,
        )  # fmt: skip
        return _by_mixer(self._judged(stage, found)).get(address, {})

    def values(self, stage: StageName) -> dict[str, dict[str, Values]]:
        """Address to task to values by seed, of the stage's last rung."""
        return _by_mixer(self.stage_trials(stage))

    @cached_property
    def levels(self) -> dict[str, dict[str, float]]:
        """Rung or stage to address to mean gain over start_from on the deciding tasks: what ranks are compared on."""
        found = {}
        for steps, trials in self._rungs().items():
            found[f"explore, {steps} steps"] = self._gains("explore", trials)
        for stage in ("verify", "confirm"):
            if self.spec["verify"]:
                found[stage] = self._gains(stage, self.stage_trials(stage))
        return {label: gains for label, gains in found.items() if gains}

    def _rungs(self) -> dict[int, list[Row]]:
        trials = [t for t in self.held_trials if t["used_in"] == "explore"]
        rungs = sorted({t["steps"] for t in trials if get_task(t["task"]).kind == "text"})
        if not rungs:
            return {max(t["steps"] for t in trials): trials} if trials else {}
        return {
            steps: [t for t in trials if t["steps"] == steps or get_task(t["task"]).kind != "text"] for steps in rungs
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
                for task in self.ranking_tasks(stage)
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


def latest_by_campaign(archive: Archive, runs: Iterable[tuple[Row, str]]) -> dict[str, Row]:
    """Of runs, each with the name of its last stage, one of each campaign: the latest that finished that stage, else
    the latest.

    With it: the stage's `record`, None where it is not finished, and how many runs it was chosen before (`earlier`).
    """
    chosen: dict[str, Row] = {}
    for row, stage in runs:
        record, before = archive.stage_result(row["run"], stage), chosen.get(row["campaign"])
        earlier = before["earlier"] + 1 if before else 0
        if before is None or record is not None or before["record"] is None:
            chosen[row["campaign"]] = {**row, "record": record, "earlier": earlier}
        else:
            before["earlier"] = earlier
    return chosen


def address_in(archive: Archive, run: str, baseline: str) -> str:
    """The address of a run's baseline, as its identity has it."""
    kept = archive.run(run)
    known = (kept or {"identity": {}})["identity"].get("baselines", {})
    return str(known.get(baseline) or content_address(baseline_source(baseline)))


def _by_mixer(trials: list[Row]) -> dict[str, dict[str, Values]]:
    values: dict[str, dict[str, Values]] = {}
    for trial in trials:
        if trial["outcome"] == "scored":
            values.setdefault(trial["address"], {}).setdefault(trial["task"], {})[trial["seed"]] = trial["value"]
    return values
