"""The recording: the same population every time, nothing trained twice, and a table that names no machine."""

from __future__ import annotations

import json
from math import log2
from pathlib import Path

import pytest
from click.testing import CliRunner

from asiarc.archive.store import Archive
from asiarc.core.candidate import content_address
from asiarc.core.errors import EvidenceError
from asiarc.core.seeds import rng_of
from asiarc.execution import Result
from tests.harness.fakes import A_MACHINE, asks_of_the_machine
from tests.rigs.policies.commands import TABLE, main
from tests.rigs.policies.record import RECIPE, RUNGS, Recording, population
from tests.rigs.policies.table import Table

MEASURES = {"parameters": 1, "state_bytes": 64, "flops_per_token": 9.0}


class Laboratory:
    """Answers jobs from their payload alone; `rejects` and `crashes` hold addresses."""

    def __init__(self, rejects=(), crashes=()):
        self.rejects, self.crashes, self.jobs = rejects, crashes, []

    def run(self, jobs, on_result=None):
        if asks_of_the_machine(jobs):
            return A_MACHINE
        results = []
        for index, job in enumerate(jobs):
            address = content_address(job.payload["source"])
            kind = job.function.rpartition(":")[2]
            self.jobs.append((kind, address, job.payload["seed"]))
            results.append(self.admission(address) if kind == "admission" else self.trial(address, job.payload))
            on_result(index, results[-1])
        return results

    def admission(self, address):
        if address in self.rejects:
            finding = {"gate": "causality", "verdict": "rejected", "reason": "it looks ahead"}
            return Result("ok", {"admitted": False, "findings": [finding], "measures": None})
        return Result("ok", {"admitted": True, "findings": [], "measures": MEASURES})

    def trial(self, address, payload):
        if address in self.crashes and payload["seed"].endswith("/1"):
            return Result("crashed", None, "it crashed")
        worth = rng_of("worth", address).random()
        steps, marks = payload["recipe"]["steps"], payload["recipe"]["evaluations"]
        at = [round(steps * (i + 1) / marks) for i in range(marks)]
        noise = rng_of(address, payload["seed"]).random() / 100
        curve = [[step, 5.0, 6 - 0.2 * log2(step) - worth + noise] for step in at]
        value = {"metric": "bits_per_byte", "value": 3.0, "items": [], "curve": curve, "hidden": 8}
        value |= {"parameters": 1000, "state_bytes": 64, "flops_per_token": 9.0}
        return Result("ok", value, parts_cpu_s=(1.5, 0.5, 0.5))


@pytest.fixture
def lab(tmp_path):
    def record(laboratory, size=6, seeds=2, minutes=9.0):
        with Archive(tmp_path / "store") as archive:
            recording = Recording(archive, laboratory, size, seeds)
            whole = recording.record(minutes, lambda _: None)
            return whole, recording.table() if whole else None

    return record


def test_the_population_is_one_family_and_always_the_same():
    people = population(25)
    assert people == population(30)[:26], "a larger one begins with the smaller"
    assert len({one.address for one in people}) == 26
    assert people[0].name == "delta_net" and people[0].parent == ""
    known = {one.address for one in people}
    assert sum(one.parent in known for one in people[1:]) > 12, "many derive from each other, the others from baselines"
    assert len({one.genome["memory"] for one in people}) > 4


def test_every_rung_is_a_mark_of_the_curve():
    marks = {round(RECIPE.steps * (i + 1) / RECIPE.evaluations) for i in range(RECIPE.evaluations)}
    assert set(RUNGS) <= marks and RUNGS[-1] == RECIPE.steps


def test_what_is_recorded_is_what_was_measured(lab):
    whole, table = lab(Laboratory())
    assert whole and table.left_out == {} and table.seeds == 2
    assert [entry.address for entry in table.entries] == [one.address for one in population(6)]
    one = table.entries[3]
    noise = [rng_of(one.address, f"replay/{seed}").random() / 100 for seed in range(2)]
    worth = rng_of("worth", one.address).random()
    for rung, steps in enumerate(RUNGS):
        assert one.bits[rung] == pytest.approx([6 - 0.2 * log2(steps) - worth + n for n in noise], abs=1e-5)


def test_a_recording_goes_on_where_it_was_left(lab):
    laboratory = Laboratory()
    assert lab(laboratory, minutes=-1) == (False, None)
    assert laboratory.jobs == []
    assert lab(laboratory, seeds=1)[0]
    first = list(laboratory.jobs)
    assert lab(laboratory, seeds=2)[0]
    later = laboratory.jobs[len(first) :]
    assert {kind for kind, *_ in later} == {"train"}, "admissions are kept"
    assert {seed for _, _, seed in later} == {"replay/1"}, "and so are seeds"
    count = len(laboratory.jobs)
    assert lab(laboratory, seeds=2)[0] and len(laboratory.jobs) == count


def test_what_failed_is_counted_and_left_out(lab):
    people = population(6)
    _, table = lab(Laboratory(rejects={people[2].address}, crashes={people[4].address}))
    assert table.left_out == {"rejected causality": 1, "crashed": 1}
    assert {one.address for one in people} - {e.address for e in table.entries} == {
        people[2].address,
        people[4].address,
    }


def test_a_table_reads_back_and_names_no_machine(lab, tmp_path):
    _, table = lab(Laboratory())
    path = tmp_path / "deep" / "table.json"
    table.write(path)
    assert Table.read(path) == table
    text = path.read_text()
    assert str(tmp_path) not in text and "/tmp" not in text and str(Path.home()) not in text
    assert "command" not in json.loads(text)["provenance"]


def test_a_broken_table_is_named_with_what_to_do(lab, tmp_path):
    with pytest.raises(EvidenceError, match=r"python -m tests\.rigs policies record"):
        Table.read(tmp_path / "missing.json")
    _, table = lab(Laboratory())
    path = tmp_path / "table.json"
    table.write(path)
    data = json.loads(path.read_text())
    data["entries"][2]["bits"][1].pop()
    path.write_text(json.dumps(data))
    with pytest.raises(EvidenceError, match="every rung and seed"):
        Table.read(path)
    result = CliRunner().invoke(main, ["replay", "2", "--table", str(path)])
    assert result.exit_code == 1 and "every rung and seed" in result.output


def test_a_policy_misspelt_is_named():
    result = CliRunner().invoke(main, ["replay", "2", "--policy", "halvin"])
    assert result.exit_code == 1 and "Did you mean 'halving'" in result.output


def test_the_committed_table_is_whole_and_names_no_machine():
    path = Path(__file__).parents[2] / TABLE
    table = Table.read(path)
    assert table.steps == RUNGS and table.seeds >= 4 and len(table.entries) >= 36
    assert table.entries[0].name == "delta_net" and table.provenance["git_dirty"] == ""
    text = path.read_text()
    assert not any(place in text for place in ("/tmp", "/home", "/root", "/work", "/Users"))
