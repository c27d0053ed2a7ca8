"""Whether a campaign's answer survives what may happen to it: a kill at any moment, and how its work was spread.

A small campaign runs as anyone would run it, ``pytest campaign_rehearsal.py --store DIR``, in a process group of its
own, with stand-ins for its trials (`rehearsal`) or with real training. What it leaves is compared with what an
uninterrupted run leaves: every table of the archive, every per-item log, `report.json` and the CSV of every figure,
apart from the fields in `PASSING`, which tell times and places.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asiarc.archive.store import Archive
from asiarc.campaign.identity import moved_fields
from asiarc.core.errors import ArchiveError, ExecutionError
from asiarc.core.recipe import STAGES
from asiarc.core.seeds import rng_of
from tests.rigs import search_path

PASSING = {
    "created_at": "when",
    "last_trial_at": "when",
    "provenance": "where, and by which command line",
    "wall_s": "how long",
    "cpu_s": "how long",
    "cpu_s_per_trial": "how long",
    "admission_cpu_s": "how long",
    "train_cpu_s": "how long",
    "score_cpu_s": "how long",
    "train_s": "how long",
    "tokens_per_s": "how long",
    "mfu": "how long",
    "energy_j": "how long",
    "peak_flops_per_s": "where",
    "gpu_memory_bytes": "where",
    "peak_memory_bytes": "what else its worker held",
}
"""Fields that may differ, each with what it tells that is no answer."""
ONCE = ("admissions", "trials")  # what is paid for: a row of these never changes again
_ALL = "SELECT * FROM "
GONE_S = 30.0  # within which everything that a killed harness started has ended
CAMPAIGN = '''"""Does the answer depend on what happens to the harness?"""

from asiarc import Budget, Campaign, Stage, by_tier

rehearsal = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "mamba2"),
    explore=Stage(tasks=("text", "overwrite"), seeds=2),
    verify=Stage(tasks=("text",), seeds=2, top=2, learning_rates=(0.003, 0.008)),
    confirm=Stage(tasks=("text",), seeds=3),
    budget=by_tier(smoke=Budget(candidates=3, minutes=60), quick=Budget(candidates=16, minutes=60)),
)


def test_every_proposal_has_an_outcome(outcome):
    assert outcome.evaluated
'''
Content = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Stand:
    """A folder with a campaign file in it, and how it is run there; `real` trains instead of running stand-ins."""

    folder: Path
    real: bool = False
    campaign: str = CAMPAIGN
    tier: str = "smoke"
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        (self.folder / "scratch").mkdir()
        (self.folder / "pytest.ini").write_text("[pytest]\n")
        (self.folder / "campaign_rehearsal.py").write_text(self.campaign)

    @classmethod
    def in_(cls, folder: Path, *, real: bool) -> Stand:
        """The usual campaign: small for real, larger with stand-ins. Its report is `content`'s, not the harness's."""
        return cls(folder, real, tier="smoke" if real else "quick", options=("--asiarc-no-report",))

    def command(self, store: str, *options: str) -> list[str]:
        """The command line; the same one starts and resumes."""
        plain = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--tier", self.tier, "--store", store]
        rehearsal = ["-p", "tests.rigs.sandbox.rehearsal", *([] if self.real else ["--stand-ins"])]
        return [sys.executable, "-m", "pytest", "campaign_rehearsal.py", *plain, *rehearsal, *self.options, *options]

    def start(self, store: str, *options: str) -> subprocess.Popen[bytes]:
        """The harness in a process group of its own; what it prints goes to ``STORE.log``."""
        with (self.folder / f"{store}.log").open("wb") as log:
            return subprocess.Popen(
                self.command(store, *options),
                cwd=self.folder,
                env=os.environ | {"TMPDIR": str(self.folder / "scratch"), "PYTHONPATH": search_path()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_hear_interrupts,
            )

    @contextmanager
    def running(self, store: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """`start`, and the end of the harness where it has not come by itself."""
        harness = self.start(store, *options)
        try:
            yield harness
        finally:
            if harness.poll() is None:
                os.killpg(harness.pid, signal.SIGKILL)
                harness.wait()

    def finish(self, store: str, *options: str) -> float:
        """Run to the end and return the seconds that it took; `ExecutionError` where it fails."""
        started = time.monotonic()
        with self.running(store, *options) as harness:
            code = harness.wait()
        if code:
            said = (self.folder / f"{store}.log").read_text(errors="replace")
            command = " ".join(self.command(store, *options))
            raise ExecutionError(f"{command} ended with {code}:\n{said[-3000:]}")
        return time.monotonic() - started

    def end(self, store: str, harness: subprocess.Popen[bytes], how: signal.Signals) -> None:
        """End a harness and all its processes; what it said goes to ``STORE.first.log``."""
        os.killpg(harness.pid, how)
        harness.wait()
        (self.folder / f"{store}.log").rename(self.folder / f"{store}.first.log")

    def left_over(self) -> list[str]:
        """Processes that a harness started here and that do not end, and files in their scratch folder."""
        import psutil

        scratch = self.folder / "scratch"  # every worker is told its place below it

        def ours() -> list[psutil.Process]:
            running = psutil.process_iter(["cmdline"])
            return [p for p in running if str(scratch) in " ".join(p.info["cmdline"] or ())]

        psutil.wait_procs(ours(), timeout=GONE_S)
        processes = [f"process {process.pid}" for process in ours()]
        return processes + [str(path.relative_to(self.folder)) for path in scratch.iterdir()]

    def paid(self, store: str) -> dict[tuple[str, str], tuple[Any, ...]]:
        """Every admission and every trial that is stored, times and row number included."""
        try:
            with Archive(self.folder / store, write=False) as archive:
                return {
                    (table, row["key"]): tuple(row.values())
                    for table in ONCE
                    for row in archive.rows(f"SELECT rowid AS place, * FROM {table}")
                }
        except ArchiveError:  # killed before there was one
            return {}

    def content(self, store: str) -> Content:
        """All that a run leaves: tables and items of its archive, its report and the tables of its figures."""
        from asiarc.report.document import gather

        folder, report = self.folder / store, self.folder / f"{store}-report"
        with Archive(folder, write=False) as archive:
            found: Content = {
                table: sorted(json.dumps(_lasting(row), sort_keys=True) for row in archive.each(_ALL + table))
                for table in tables(archive)
            }
            items = sorted((folder / "items").glob("*/*"))
            found["items"] = [(path.name, archive.items(path.name.partition(".")[0])) for path in items]
            gather(archive, self.tier, report, campaigns=None, written={})  # all of a report that is not drawn
        found["report"] = _lasting(json.loads((report / "report.json").read_text()))
        for path in sorted((report / "figures").glob("*.csv")):
            with path.open(newline="") as file:
                found[path.name] = [_lasting(row) for row in csv.DictReader(file)]
        return found


def tables(archive: Archive) -> list[str]:
    """Every table that the archive's schema makes."""
    made = archive.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [row["name"] for row in made if not row["name"].startswith("sqlite_")]


def _hear_interrupts() -> None:
    """Ctrl-C is heard also where a background shell handed it down ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _lasting(value: Any) -> Any:
    """Plain data without the fields that tell times and places, at any depth."""
    if isinstance(value, dict):
        held = {**value, "details": json.loads(value["details"])} if isinstance(value.get("details"), str) else value
        return {key: _lasting(inner) for key, inner in held.items() if key not in PASSING}
    return [_lasting(inner) for inner in value] if isinstance(value, list) else value


def differing(one: Content, other: Content) -> list[str]:
    """The names under which two contents differ; of another run (code edited meanwhile), its identity's."""
    before, after = ({r["run"]: r["identity"] for r in map(json.loads, side["runs"])} for side in (one, other))
    if len(before) == len(after) == 1 and before.keys() != after.keys():
        old, new = (json.loads(identity) for side in (before, after) for identity in side.values())
        return [f"another run, whose identity moved in {'; '.join(moved_fields(old, new))}"]
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


# --- kills ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill:
    """One repetition: when the harness was killed, what it had paid for by then, and what is wrong afterwards."""

    after_s: float
    kept: int
    paid: int
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        ending = "; ".join(self.wrong) or "identical"
        return f"killed after {self.after_s:5.2f} s with {self.kept:3} of {self.paid} results stored: {ending}"


def kill_and_resume(
    stand: Stand, whole: Content, length_s: float, *address: int, options: Sequence[str] = ("--workers", "2")
) -> Kill:
    """Kill the harness's process group at a moment drawn from its length, run it again, and compare with `whole`.

    A harness that ends before its moment came is no repetition: another moment is drawn, on a new archive.
    """
    for draw in range(100):
        store = "-".join(["killed", *map(str, address), str(draw)])
        after_s = rng_of("kill", *address, draw).uniform(0.02, 1.0) * length_s
        with stand.running(store, *options) as harness:
            try:
                harness.wait(after_s)
            except subprocess.TimeoutExpired:
                stand.end(store, harness, signal.SIGKILL)
                break
        length_s *= 0.9  # this machine is faster now
    else:
        raise ExecutionError("the harness always ended before it could be killed; nothing was shown")
    return resume(stand, whole, store, after_s, options)


def interrupt_and_resume(stand: Stand, whole: Content, store: str, options: Sequence[str] = ("--workers", "2")) -> Kill:
    """Press Ctrl-C as soon as something is paid for, run the harness again, and compare with `whole`.

    A harness that had paid for everything by the time that it heard is no repetition: it begins anew.
    """
    everything = sum(len(whole[table]) for table in ONCE)
    for _ in range(10):
        started = time.monotonic()
        with stand.running(store, *options) as harness:
            while harness.poll() is None and not stand.paid(store):
                with suppress(subprocess.TimeoutExpired):
                    harness.wait(0.05)
            after_s = time.monotonic() - started
            if harness.poll() is None:
                stand.end(store, harness, signal.SIGINT)
        if len(stand.paid(store)) < everything:
            return resume(stand, whole, store, after_s, options)
        shutil.rmtree(stand.folder / store)
    raise ExecutionError("the harness always ended before it heard the interrupt; nothing was shown")


def resume(stand: Stand, whole: Content, store: str, after_s: float, options: Sequence[str] = ()) -> Kill:
    """Run again what ended after `after_s`, and say what is wrong then."""
    wrong = [f"left over: {', '.join(left)}"] if (left := stand.left_over()) else []
    kept = stand.paid(store)
    stand.finish(store, *options)
    paid = stand.paid(store)
    repeated = [f"{table} {key}" for (table, key), row in kept.items() if paid.get((table, key)) != row]
    wrong += [f"paid for twice: {', '.join(repeated)}"] if repeated else []
    differs = differing(whole, stand.content(store))
    wrong += [f"differs: {', '.join(differs)}"] if differs else []
    return Kill(after_s, len(kept), len(paid), tuple(wrong))


def kills(folder: Path, times: int, seed: int, say: Say, *, real: bool = False) -> list[Kill]:
    """`times` kills at random moments, each compared with one uninterrupted run."""
    stand = Stand.in_(folder, real=real)
    length_s = stand.finish("whole", "--workers", "2")
    whole = stand.content("whole")
    counts = f"{len(whole['trials'])} trials, {len(whole['admissions'])} admissions"
    say(f"uninterrupted: {length_s:.1f} s, {counts}")
    found = []
    for number in range(times):
        found.append(kill_and_resume(stand, whole, length_s, seed, number))
        say(f"{number + 1:3}  {found[-1]}")
    return found


# --- how the work is spread -------------------------------------------------------------------------------------------


def sameness(folder: Path, say: Say, *, real: bool = False, with_ray: bool = True) -> dict[str, list[str]]:
    """What differs from a run with one worker, by the way in which the same campaign was run."""
    stand = Stand.in_(folder, real=real)
    length_s = stand.finish("whole", "--workers", "1")
    whole = stand.content("whole")
    say(f"1 worker: {len(whole['proposals'])} candidates, {len(whole['trials'])} trials, {length_s:.1f} s")
    found: dict[str, list[str]] = {}

    def note(name: str, wrong: list[str]) -> None:
        found[name] = wrong
        say(f"{name}: {', '.join(wrong) or 'identical'}")

    def compare(name: str, *runs: Sequence[str]) -> None:
        store = f"way-{len(found)}"
        for options in runs:
            stand.finish(store, *options)
        note(name, differing(whole, stand.content(store)))

    compare("2 workers", ["--workers", "2"])
    compare("4 workers", ["--workers", "4"])
    compare("one stage at a time with -k", *(["-k", stage] for stage in STAGES))
    compare("only the last stage with -k", ["-k", STAGES[-1]])
    note("killed and resumed", list(kill_and_resume(stand, whole, length_s / 2, 0).wrong))
    if with_ray:
        with two_nodes() as address:
            on_ray = ["--executor", "ray", "--ray-address", address]
            compare("Ray, two nodes", on_ray)
            kill = kill_and_resume(stand, whole, length_s, 1, options=on_ray)
            note("Ray, driver killed and resumed", list(kill.wrong))
    return found


@contextmanager
def two_nodes() -> Iterator[str]:
    """A Ray cluster of two nodes on this machine, one CPU each; its address."""
    # Ray's coming default, which it else warns of
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()
