"""The loop as it is, over a world in place of the sandbox: a search costs a second, and its truth is known."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from asiarc.archive.store import Archive
from asiarc.campaign.declaration import Campaign
from asiarc.core.candidate import content_address
from asiarc.core.genome import Genome
from asiarc.engineer.workshop import Workshop
from asiarc.execution import Job, Result
from asiarc.loop.run import Run
from asiarc.studies.arms import FULL, Search
from tests.rigs.arms.world import Surrogate, World

PAPER = "paper's policy"
ARMS = (FULL, "random", "best_of_n", "no_cognition", "no_analyst", PAPER)
DIGITS = 5  # of what is kept of a search
FLOPS_PER_S = 1e10  # of forward flops and all that goes with them, about: only ratios count
address_of = cache(content_address)


class Laboratory:
    """An executor that answers admissions and trials of one world, and runs nothing."""

    def __init__(self, archive: Archive, world: World) -> None:
        self.archive, self.world = archive, world

    def run(self, jobs: Sequence[Job], on_result: Callable[[int, Result], None] | None = None) -> list[Result]:
        """In order."""
        found = []
        for index, job in enumerate(jobs):
            found.append(self._answer(job))
            if on_result:
                on_result(index, found[-1])
        return found

    def close(self) -> None:
        """Nothing is open."""

    def genome(self, address: str) -> Genome:
        """As the archive keeps it with the candidate."""
        row = self.archive.candidate(address)
        assert row is not None and row["genome"], f"{address} is none of the grammar's"
        return Genome(**row["genome"])

    def _answer(self, job: Job) -> Result:
        if job.label == "device":
            return Result("ok", {"cuda": False, "flops_per_s": 1e11})
        given = job.payload | job.secret
        address = address_of(given["source"])
        genome = self.genome(address)
        measures = self.world.surrogate.measures(genome)
        if job.function.endswith(":admission"):
            return Result("ok", {"admitted": True, "findings": [], "measures": measures}, wall_s=1.0, cpu_s=1.0)
        steps = given["recipe"]["steps"]
        value = self.world.shown(address, genome, steps, given["seed"])
        sizes = {"parameters": 100_000, "hidden": 128, **{n: measures[n] for n in ("state_bytes", "flops_per_token")}}
        trial = {
            "metric": "bits_per_byte", "value": value, "items": [{"document": 0, "value": value}],
            "curve": [[steps, value, value]], **sizes,
        }  # fmt: skip
        tokens = given["recipe"]["batch_size"] * given["recipe"]["seq_len"] * steps
        cpu_s = sizes["flops_per_token"] * tokens / FLOPS_PER_S
        return Result("ok", trial, wall_s=cpu_s, cpu_s=cpu_s, parts_wall_s=(cpu_s, 0.0))


@dataclass(frozen=True)
class Searched:
    """What one search of a world came to: gains over the start in truth, bits a byte, on the last rung.

    `winner` is that of what is put first, `scored` those of all that were scored, in order, `later` the mean first-rung
    gain of what was proposed after the first generation; `refused` of how many proposals were turned away.
    """

    winner: float
    scored: tuple[float, ...]
    cpu_s: tuple[float, ...]  # spent when each of them was scored
    later: float
    refused: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Searched:
        """Back from `vars`, as JSON keeps it."""
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()}
        return cls(**fields)


def searched(surrogate: Surrogate, arm: str, number: int, candidates: int) -> Searched:
    """One arm's search of world `number`; equal numbers of two arms are the same world and the same seeds."""
    world = World(surrogate, number)
    with tempfile.TemporaryDirectory(dir=_fast()) as folder, Archive(Path(folder)) as archive:
        laboratory = Laboratory(archive, world)
        run = Run(_campaign(arm, number, candidates), "arms", "quick", archive, Workshop(archive, laboratory), _quiet)
        explored = run.ensure("explore")
        first, *_, last = surrogate.rungs
        start = run.bench.start

        def gain(address: str, steps: int) -> float:
            mine, theirs = (world.truth(a, laboratory.genome(a), steps) for a in (address, start))
            return round(theirs - mine, DIGITS)

        ended = archive.results(run.run)
        scored = [row for row in ended if row["outcome"].kind == "scored"]
        generation = {row["number"]: row["generation"] for row in archive.proposals(run.run)}
        late = [gain(row["address"], first) for row in scored if generation[row["number"]] > 0]
        winner = next(iter(explored["finalists"]), None)
        spent = spent_by_address(archive, run.run)
        return Searched(
            winner=gain(winner, last) if winner else 0.0,
            scored=tuple(gain(row["address"], last) for row in scored),
            cpu_s=tuple(np.cumsum([spent.get(row["address"], 0.0) for row in scored]).round(DIGITS).tolist()),
            later=float(np.mean(late)) if late else 0.0,
            refused=len(ended) - len(scored),
        )


def _campaign(arm: str, number: int, candidates: int) -> Campaign:
    search = Search(candidates=candidates)
    if arm == PAPER:
        return search.campaign(FULL, number, "quick").model_copy(update={"policy": "paper"})
    return search.campaign(arm, number, "quick")


def spent_by_address(archive: Archive, run: str) -> dict[str, float]:
    """CPU-seconds of explore's trials, by candidate or baseline."""
    found: dict[str, float] = {}
    for trial in archive.trials(run, "explore"):
        found[trial.address] = found.get(trial.address, 0.0) + trial.cpu_s
    return found


def _fast() -> str | None:
    """A folder in memory, where there is one: the archives are thrown away."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _quiet(_: str) -> None:
    pass


def expected_maximum(values: Sequence[float], draws: int) -> float:
    """E[max of `draws` of the values, without replacement]: unbiased for the best of so many (a U-statistic).

    With x sorted ascending from 1: sum over i of C(i - 1, draws - 1) / C(N, draws) x_i. Source: Tang et al. 2020,
    arXiv 2004.13705, eq. 5, for the estimate of Dodge et al. 2019 without its bias.
    """
    ordered, total = sorted(values), len(values)
    assert 1 <= draws <= total, "as many as there are, at most"
    weight, found = 1.0, 0.0  # weight of the largest: draws / N, of the next below by the ratio of binomials
    weight = draws / total
    for rank in range(total, draws - 1, -1):
        found += weight * ordered[rank - 1]
        if rank > draws:
            weight *= (rank - draws) / (rank - 1)
    return found
