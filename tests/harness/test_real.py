"""The whole loop with nothing faked: real candidates, the real sandbox, training on a text of one's own, lm-eval; as
small as it gets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from asiarc.archive.store import Archive
from asiarc.core.seeds import rng_of

CAMPAIGN = """
from asiarc import Budget, Campaign, Recipe, Stage, by_tier

tiny = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    recipe=Recipe(d_model=32, num_layers=1, seq_len=64, batch_size=8),
    explore=Stage(tasks=("text:texts/[1] book.txt",)),  # a text of its own, which jobs open in the cache
    budget=by_tier(smoke=Budget(candidates=2, minutes=20)),
)


def test_scored(outcome):
    assert outcome.evaluated == 2
"""


def what_happened(folder):
    """Everything of an archive that a seed decides: proposals, outcomes, values, curves, insights."""
    with Archive(folder, write=False) as archive:
        (run,) = archive.runs()
        trials = {
            t.key: (t.address, str(t.outcome), t.value, t.curve, t.parameters) for t in archive.trials(run["run"])
        }
        proposals = [(p["address"], p["parents"], p["motivation"]) for p in archive.proposals(run["run"])]
        results = [(r["address"], str(r["outcome"]), r["gain"], r["scores"]) for r in archive.results(run["run"])]
        return run["run"], trials, proposals, results, [i["insight"] for i in archive.insights(run["run"])]


def notes(folder):
    """What is noted of an archive's trials."""
    with Archive(folder, write=False) as archive:
        (run,) = archive.runs()
        return [note for trial in archive.trials(run["run"]) for note in trial.details.get("notes", ())]


@pytest.fixture
def campaign(pytester, monkeypatch):
    rng = rng_of("book")
    words = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(3000)]
    book = pytester.path / "texts" / "[1] book.txt"
    book.parent.mkdir()
    book.write_text("\n\n".join(" ".join(rng.choices(words, k=60)) for _ in range(600)), encoding="utf-8")
    monkeypatch.setenv("ASIARC_CACHE", str(pytester.path / "cache"))
    (pytester.path / "tmp[1]").mkdir()
    monkeypatch.setenv("TMPDIR", str(pytester.path / "tmp[1]"))
    return pytester.makepyfile(campaign_tiny=CAMPAIGN)


def killed_in_a_trial(arguments, store):
    """The whole harness, as soon as a trial has kept a checkpoint."""
    command = [sys.executable, "-m", "pytest", *map(str, arguments)]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL) as harness:
        while harness.poll() is None and not list((store / "checkpoints").glob("*/*-*")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                harness.wait(timeout=0.005)
        os.killpg(harness.pid, signal.SIGKILL)


def test_the_same_seed_finds_the_same_with_any_number_of_workers_and_after_a_kill_in_a_trial(pytester, campaign):
    for workers in (1, 2):
        arguments = [campaign, "--workers", str(workers), "--store", f"store{workers}", "-p", "no:cacheprovider"]
        if workers == 2:
            arguments.append("--asiarc-no-report")  # that of the first is drawn
            pytester.makeconftest("from asiarc.execution import shelf\nshelf.EVERY_S = 0.0")
            killed_in_a_trial(arguments, pytester.path / "store2")
        result = pytester.runpytest_subprocess(*arguments)
        result.assert_outcomes(passed=2)
    one, two = (what_happened(pytester.path / f"store{workers}") for workers in (1, 2))
    assert one == two
    assert len(one[1]) == 4, "two candidates, and the baseline on the two seeds that gains are measured against"
    assert all(value is not None for _, _, value, _, _ in one[1].values())
    assert any("went on from step" in note for note in notes(pytester.path / "store2"))
    again = pytester.runpytest_subprocess(campaign, "--store", "store1", "-v", "--asiarc-no-report")
    again.assert_outcomes(passed=2)
    again.stdout.no_fnmatch_line("*steps*CPU*")  # nothing was trained a second time
    assert what_happened(pytester.path / "store1") == one


OWN = """
import numpy as np
import asiarc
from asiarc import Budget, Campaign, Recipe, Stage, by_tier


@asiarc.task(chance=0.25, choices="ABCD", role="decides", training=asiarc.Training(1, 1, 32, 0.0, 80, 16, 1e-2))
def copying(rng, count, *, letters=8):
    said_BT = 65 + rng.integers(4, size=(count, letters))
    text_BT = np.concatenate([said_BT, said_BT], axis=1)
    inputs_BT = np.concatenate([np.zeros((count, 1), dtype=np.int64), text_BT[:, :-1]], axis=1)
    return inputs_BT, np.where(np.arange(2 * letters) < letters, -100, text_BT)


own = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    explore=Stage(tasks=(copying, "colours.yaml")),
    verify=Stage(tasks=(copying,), seeds=2),
    recipe=Recipe(d_model=32, num_layers=1, batch_size=8),
    budget=by_tier(smoke=Budget(candidates=1, minutes=20)),
)


def test_verdict(outcome):
    assert [task.partition("-")[0] for task in outcome.tasks("explore")] == ["own:copying", "documents:colours"]
    gain = outcome.winner.gain_over("delta_net", "copying")
    assert gain.n == 2 and gain.low <= gain.mean <= gain.high
"""
COLOURS = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {train: train.jsonl, test: test.jsonl}}
training_split: train
test_split: test
output_type: multiple_choice
doc_to_text: "{{thing}} is"
doc_to_choice: colours
doc_to_target: right
metric_list: [{metric: acc}]
"""


def test_a_generator_and_a_yaml_of_ones_own_go_to_a_verdict(pytester, monkeypatch):
    monkeypatch.setenv("ASIARC_CACHE", str(pytester.path / "cache"))
    campaign = pytester.makepyfile(campaign_own=OWN)
    rows = [{"thing": f"thing {n}", "colours": ["red", "green", "blue"], "right": n % 3} for n in range(80)]
    for name, some in (("train", rows[:40]), ("test", rows[40:])):
        (pytester.path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (pytester.path / "colours.yaml").write_text(COLOURS)
    result = pytester.runpytest_subprocess(campaign, "--store", "store", "--asiarc-no-report", "--workers", "1")
    result.assert_outcomes(passed=4)
