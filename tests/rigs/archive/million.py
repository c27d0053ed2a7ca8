"""What the archive's questions cost with a million candidates in it.

Builds such an archive through the store's own methods (about 4 GB, some minutes), then asks what a proposal asks: a
parent and references, whether a candidate is new (by its address, by what it computes), insights and rejections. Then
writes the report in a process of its own and prints how much memory it took. Exit code 1 where a goal is missed.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import click

from asiarc import Budget, Campaign, Stage, by_tier
from asiarc.archive.store import Archive, Trial
from asiarc.core.bought import Bought
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.recipe import stage_plan
from asiarc.core.seeds import rng_of
from asiarc.search.campaign import LEADING, Exploration
from asiarc.search.policies import POLICIES
from asiarc.search.protocol import Traits

RUN = "a million"
COMMIT = 20_000  # candidates a transaction
# of a fingerprint: how many, how near two must be, and what it is taken with
NUMBERS, WITHIN, PROBES = 16, 0.003, "probes"
REPEATS = 200
SOURCE = '"""Proposal {}."""\n' + "x = torch.tanh(self.gate(x)) * self.value(x)\n" * 25
INSIGHT = {"text": "ahead of its parent by the gate " * 8, "weakness": "recall", "mechanisms": ["gate"]}
GOALS_MS = {"parent and references": 10.0, "known by address": 50.0, "known by behaviour": 50.0}


@click.command()
@click.option("--candidates", type=click.IntRange(min=LEADING), default=1_000_000, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="keep the archive here, and use the one that is here")
@click.option("--report/--no-report", default=True, show_default=True, help="write its report too")
def main(candidates: int, folder: Path | None, report: bool) -> None:
    """Build an archive of many candidates and print what its questions cost."""
    with tempfile.TemporaryDirectory(prefix="asiarc-") as temporary:
        store = folder or Path(temporary) / "store"
        if not (store / "archive.db").exists():
            build(store, candidates)
        with Archive(store) as archive:
            missed = questions(archive, candidates)
        if report:
            _report(store)
    sys.exit(1 if missed else 0)


def address_of(number: int) -> str:
    """A made-up content address: as evenly spread as a hash."""
    return f"{rng_of('address', number).getrandbits(64):016x}"


def _behaviour(rng: Random) -> list[float]:
    return [rng.gauss(0, 1) for _ in range(NUMBERS)]


def build(folder: Path, candidates: int) -> None:
    """Fill an archive; one proposal in ten is rejected, the others have a trial, a gain and an insight."""
    started = time.monotonic()
    with Archive(folder) as archive:
        identity = {"spec": _campaign(candidates).resolved("quick"), "engine": "", "kernels": "", "tasks": {}}
        archive.add_run(RUN, "question", "quick", 0, identity, {"git_commit": "", "git_dirty": "", "packages": {}})
        for first in range(0, candidates, COMMIT):
            with archive.transaction():
                for number in range(first, min(first + COMMIT, candidates)):
                    _add(archive, number)
            click.echo(f"\r{number + 1:,} candidates, {time.monotonic() - started:.0f} s", nl=False)
        archive.finish_stage(RUN, "explore", {"entrants": [], "finalists": [], "candidates": candidates})
    size_gb = sum(path.stat().st_size for path in folder.glob("archive.db*")) / 1e9
    click.echo(f"\nbuilt in {time.monotonic() - started:.0f} s, {size_gb:.1f} GB")


def _campaign(candidates: int, policy: str = "ucb") -> Campaign:
    budget = by_tier(quick=Budget(candidates=candidates, minutes=60))
    explore = Stage(tasks=("text",))
    campaign = Campaign(start_from="delta_net", baselines=("delta_net",), explore=explore, budget=budget)
    return campaign.model_copy(update={"policy": policy})


def _add(archive: Archive, number: int) -> None:
    address, generation, rng = address_of(number), number // 16, Random(number)
    archive.add_candidate(address, f"candidate_{number}", SOURCE.format(number), "because", {"memory": "delta"})
    archive.add_behaviour(PROBES, address, _behaviour(rng))
    parent = address_of(rng.randrange(number)) if number else address
    archive.add_proposal(
        RUN, number, generation,
        dict(address=address, name=f"candidate_{number}", motivation="because", parents=[parent],
             origins=[{"element": "gate", "kind": "original", "reference": None}], predicted="text up"),
    )  # fmt: skip
    if number % 10 == 0:
        outcome = Outcome("rejected", "it looks ahead", "causality")
        archive.add_admission(f"a{address}", address, outcome, [], None, 1.0)
        archive.add_result(RUN, number, address, outcome, rung=-1, gain=None, scores={})
        return
    gain = rng.gauss(0, 0.1)
    archive.add_admission(f"a{address}", address, SCORED, [], {"parameters": 1000}, 1.0)
    trial = Trial(
        f"t{address}", address, "text", "explore", "0/explore/0", 60, 0.008, SCORED, "bits_per_byte", 2.8 - gain,
        100_000, 8192, 4000.0, [[60, 2.8, 2.8]], {}, 1.0, 1.0, Bought(245_760),
    )  # fmt: skip
    archive.add_trial(trial, {"steps": 60}, layers=[])
    archive.add_items(trial.key, [{"document": 0, "value": [(gain - 2.8) * math.log(2) * 512, 512]}])
    archive.add_use(RUN, "explore", trial.key)
    scores = {"text": {"gain": gain, "mean": 2.8 - gain}}
    archive.add_result(RUN, number, address, SCORED, rung=rng.randrange(2), gain=gain, scores=scores)
    archive.add_insight(RUN, number, generation, address, INSIGHT)


def _search(archive: Archive, candidates: int, policy: str) -> Exploration:
    """A search whose board holds what the archive says: every scored candidate once on its rung."""
    search = Exploration(_campaign(candidates, policy), RUN, "quick", stage_plan("quick", "explore"))
    board = search.board
    board.traits = [Traits()] * (candidates + 1)
    board.fit[1:] = False
    for row in archive.each("SELECT number, rung, gain FROM results WHERE run = ? AND rung >= 0", RUN):
        candidate, gain = row["number"] + 1, row["gain"]
        board.fit[candidate] = True
        for array, value in ((board.counts, 1), (board.totals, gain), (board.squares, gain * gain)):
            array[candidate, row["rung"]] = value
    return search


def questions(archive: Archive, candidates: int) -> list[str]:
    """Time what a proposal asks, print it, and name the goals that were missed."""
    rng = rng_of("questions")

    def parents(search: Exploration) -> None:
        search.parents(archive.leading_numbers(RUN, LEADING), 0, rng.randrange(candidates))

    def known() -> None:
        assert archive.is_proposed(RUN, address_of(rng.randrange(candidates)))
        assert not archive.is_proposed(RUN, address_of(candidates + rng.randrange(candidates)))

    def alike() -> None:
        number = rng.randrange(candidates)
        assert address_of(number) in archive.behaving_as(PROBES, _behaviour(Random(number)), WITHIN)

    def read_up() -> None:
        for _ in range(5):
            number = rng.randrange(candidates)
            archive.insight(RUN, address_of(number))
            archive.proposal(RUN, number)
        archive.last_failed(RUN, candidates, 8)
        archive.children(RUN, address_of(rng.randrange(candidates)), 8)

    asked: dict[str, Callable[[], None]] = {
        **{f"parent and references, {name}": partial(parents, _search(archive, candidates, name)) for name in POLICIES},
        "known by address": known,
        "known by behaviour": alike,
        "relatives and failures": read_up,
    }
    missed = []
    for name, ask in asked.items():
        median_ms, most_ms = _timed(ask)
        goal_ms = GOALS_MS.get(name.partition(",")[0])
        says = "" if goal_ms is None else f"  goal {goal_ms:.0f} ms"
        if goal_ms is not None and most_ms > goal_ms:
            missed.append(name)
            says += ": missed"
        click.echo(f"{name:<32} median {median_ms:8.3f} ms  95 of 100 within {most_ms:8.3f} ms{says}")
    return missed


def _timed(ask: Callable[[], None]) -> tuple[float, float]:
    """Milliseconds: the median, and what 95 of 100 stay within."""
    spent = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        ask()
        spent.append(1000 * (time.perf_counter() - started))
    return sorted(spent)[REPEATS // 2], sorted(spent)[REPEATS * 95 // 100]


REPORT = """
import sys
from pathlib import Path
from asiarc.archive.store import Archive
from asiarc.report.document import write
with Archive(Path(sys.argv[1]), write=False) as archive:
    write(archive, "quick", Path(sys.argv[2]))
# ru_maxrss would begin with the memory of the process that started this one
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def _report(store: Path) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="asiarc-") as folder:
        command = [sys.executable, "-c", REPORT, str(store), folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak_mib = int(done.stdout.split()[-1]) / 1024
    click.echo(f"report: {time.monotonic() - started:.0f} s, {peak_mib:,.0f} MiB at most")
