"""Every baseline on every task, and whether the published signatures appear at this size.

The table is the harness's own control: if Gated DeltaNet is not ahead of DeltaNet, and DeltaNet not ahead of plain
linear attention, then a gain measured here means nothing. Run by ``asiarc baselines``; the trials are shared with
campaigns through the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asiarc.archive.results import paired_by_seed, values_of
from asiarc.campaign.identity import made_by, provenance
from asiarc.core.candidate import content_address, motivation
from asiarc.core.digest import digest
from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import Tier, stage_plan
from asiarc.engineer.workshop import Request, Workshop
from asiarc.loop.trials import trial_protocol
from asiarc.models.baselines import baseline_source
from asiarc.tasks import get_task

if TYPE_CHECKING:
    from asiarc.archive.store import Archive, Trial
    from asiarc.evidence.effects import Effect, Interval

NAME = "baselines"  # the run's name in the archive
REFERENCE = "delta_net"  # every model is brought to its size

# Tasks that never decide are trained for this share of their suggested steps below the full tier: they are many, and
# at CPU size they do not order the mixers anyway.
REPORTED_SHARE = 0.25

# (ahead, behind, task): published orders that a CPU-size run can re-find.
SIGNATURES = (
    ("gated_delta_net", "delta_net", "text"),
    ("mamba2", "delta_net", "text"),
    ("delta_net", "linear_attention", "text"),
    ("delta_net", "linear_attention", "overwrite"),
    ("gated_delta_net", "linear_attention", "overwrite"),
    ("gated_delta_net", "delta_net", "reset"),
    ("mamba2", "linear_attention", "reset"),
)
SEEDS, SEEDS_OF_A_SIGNATURE = (
    3,
    5,
)  # DeltaNet's seeds fall in two groups on text: three leave its interval wide


@dataclass(frozen=True)
class Cell:
    """One baseline on one task: the mean over seeds with its t interval, and what a trial costs."""

    baseline: str
    task: str
    metric: str
    value: Interval
    chance: float | None
    cpu_s: float
    parameters: int
    state_bytes: int
    flops_per_token: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        interval = {key: getattr(self.value, key) for key in ("mean", "low", "high", "n", "sd")}
        rest = {
            key: getattr(self, key)
            for key in (
                "baseline",
                "task",
                "metric",
                "chance",
                "cpu_s",
                "parameters",
                "state_bytes",
                "flops_per_token",
            )
        }
        return rest | interval


class Table:
    """The trials of the baselines at one tier."""

    def __init__(
        self,
        archive: Archive,
        tier: Tier,
        *,
        baselines: Sequence[str],
        tasks: Sequence[str],
        seeds: int | None = None,
    ) -> None:
        self.archive, self.tier = archive, tier
        self.baselines, self.tasks, self.seeds = tuple(baselines), tuple(tasks), seeds
        identity = {
            "campaign": NAME,
            "tier": tier,
            "seed": 0,
            "tasks": {t: get_task(t).identity for t in tasks},
            **made_by("trial", sources=map(baseline_source, baselines)),
        }
        self.run = digest(identity)
        self._identity = identity

    def requests(self) -> list[Request]:
        """Verify's protocol and the seeds of a campaign with seed 0, so that both share their trials."""
        plan = stage_plan(self.tier, "verify")
        match = (content_address(baseline_source(REFERENCE)), baseline_source(REFERENCE))
        return [
            Request(
                address=content_address(baseline_source(name)),
                source=baseline_source(name),
                task=task,
                stage="verify",
                seed=f"0/verify/{seed}",
                protocol=trial_protocol(task, plan.text, plan.rungs[-1], plan.capability * self._share(task)),
                match=match,
                split="validation",
                documents=plan.documents,
            )
            for task in self.tasks
            for name in self.baselines
            for seed in range(self.seeds_on(task))
        ]

    def seeds_on(self, task: str) -> int:
        """Seeds of each baseline on a task: as asked, else more where a signature is read off."""
        signed = {read for _, _, read in SIGNATURES}
        return self.seeds or (SEEDS_OF_A_SIGNATURE if task in signed else SEEDS)

    def _share(self, task: str) -> float:
        is_short = self.tier in ("smoke", "quick") and get_task(task).role == "reported"
        return REPORTED_SHARE if is_short else 1.0

    def measure(self, workshop: Workshop, said: Callable[[Trial], None]) -> None:
        """Run what the archive does not hold."""
        self.archive.add_run(self.run, NAME, self.tier, 0, self._identity, provenance())
        for name in self.baselines:
            source = baseline_source(name)
            self.archive.add_candidate(content_address(source), name, source, motivation(source))
        workshop.train(self.run, self.requests(), said)

    def trials(self) -> list[Trial]:
        """What the archive holds of the table."""
        found = [self.archive.trial(request.key) for request in self.requests()]
        return [trial for trial in found if trial is not None]

    def cells(self) -> list[Cell]:
        """The table, row by row; a baseline without two scored seeds on a task has no cell there."""
        from asiarc.evidence.effects import mean_interval

        trials, cells = self.trials(), []
        for task in self.tasks:
            for name in self.baselines:
                address = content_address(baseline_source(name))
                mine = [t for t in trials if t.address == address and t.task == task and t.value is not None]
                if len(mine) < 2:
                    continue
                first = mine[0]
                assert (
                    first.parameters is not None
                    and first.state_bytes is not None
                    and first.flops_per_token is not None
                )
                cells.append(
                    Cell(
                        name,
                        task,
                        get_task(task).metric,
                        mean_interval([t.value for t in mine if t.value is not None]),
                        get_task(task).chance,
                        sum(t.cpu_s for t in mine) / len(mine),
                        first.parameters,
                        first.state_bytes,
                        first.flops_per_token,
                    )
                )
        return cells

    def signature(self, ahead: str, behind: str, task: str) -> Effect:
        """The paired gain of one baseline over another on a task; `EvidenceError` where the trials are missing."""
        trials = self.trials()
        values = [values_of(trials, content_address(baseline_source(name)), task) for name in (ahead, behind)]
        if min(map(len, values)) < 2:
            raise EvidenceError(
                f"{ahead} and {behind} have no trials on {task} at tier {self.tier}; "
                f"run: asiarc baselines --tier {self.tier}"
            )
        ahead_by_seed, behind_by_seed = values
        return paired_by_seed(ahead_by_seed, behind_by_seed, task)
