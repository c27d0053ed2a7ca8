"""Whether this tree and another commit give the same populations and trial values, to the bit.

    python -m pytest tests/rigs/same --against COMMIT

Both run the campaigns below at the smoke tier from their command line, each in processes of its own that see that
tree's package only, laid out as in a wheel; what they leave is read from their archives. Takes minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parents[3]
CAMPAIGN = '''"""Does another tree give the same?"""

from asiarc import Budget, Campaign, Stage, by_tier

BUDGET = by_tier(smoke=Budget(candidates=3, minutes=60))

delta_text = Campaign(
    start_from="delta_net",
    baselines=("delta_net", "mamba2"),
    explore=Stage(tasks=("text", "overwrite"), seeds=2),
    verify=Stage(tasks=("text", "overwrite", "reset"), seeds=2, top=2, learning_rates=(0.003, 0.008)),
    confirm=Stage(tasks=("text",), seeds=3),
    match=("parameters",),
    at_most={"state_bytes": 2.0, "flops": 2.0},
    budget=BUDGET,
)

two_seeds = Campaign(
    start_from="gated_delta_net",
    baselines=("gated_delta_net", "kda"),
    policy="paper",
    explore=Stage(tasks=("text", "parity"), seeds=2),
    verify=Stage(tasks=("text",), seeds=2, top=2),
    arms=("no_cognition",),
    novelty=("syntax", "behaviour"),
    budget=BUDGET,
    seed=1,
)
'''
PROPOSALS = """
    SELECT runs.campaign AS campaign, proposals.number AS number, proposals.generation AS generation,
        proposals.address AS address, proposals.name AS name, parents, origins
    FROM proposals JOIN runs USING (run)
"""
OUTCOMES = """
    SELECT runs.campaign AS campaign, results.number AS number, results.address AS address, outcome, gate, reason,
        rung, gain, holds FROM results JOIN runs USING (run)
"""
ADMISSIONS = "SELECT address, outcome, gate, reason, findings, measures FROM admissions"
STAGES = "SELECT runs.campaign AS campaign, stage, result FROM stages JOIN runs USING (run)"
TRIALS = """
    SELECT address, stage, task, seed, steps, learning_rate, outcome, gate, reason, metric, value, parameters,
        state_bytes, flops_per_token, tokens, curve FROM trials
"""
QUESTIONS = {
    "proposals": (PROPOSALS, ("campaign", "number")),
    "outcomes": (OUTCOMES, ("campaign", "number")),
    "admissions": (ADMISSIONS, ("address",)),
    "stages": (STAGES, ("campaign", "stage")),
    "trials": (TRIALS, ("address", "stage", "task", "seed", "steps", "learning_rate")),
}


def installed(tree: Path, folder: Path) -> Path:
    """A tree's package as a wheel lays it out, with its entry points."""
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(tree / "asiarc", folder / "asiarc", ignore=leave)
    shutil.copytree(tree / "kernels", folder / "asiarc" / "kernels", ignore=leave)
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    about = folder / f"asiarc-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: asiarc\nVersion: {project['version']}\n")
    plugin = project["entry-points"]["pytest11"]["asiarc"]
    (about / "entry_points.txt").write_text(f"[pytest11]\nasiarc = {plugin}\n")
    return folder


def answers(tree: Path, folder: Path) -> dict[str, dict[str, dict]]:
    """What the campaigns leave when a tree runs them: rows by question and key."""
    package, place = installed(tree, folder / "package"), folder / "place"
    place.mkdir()
    (place / "pytest.ini").write_text("[pytest]\n")
    (place / "campaign_same.py").write_text(CAMPAIGN)
    plain = ["-p", "no:cacheprovider", "-q", "--tier", "smoke", "--store", "store", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "campaign_same.py", *plain],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{tree} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    (file,) = [path for path in (place / "store").rglob("*") if is_archive(path)]
    with sqlite3.connect(file) as database:
        database.row_factory = sqlite3.Row
        return {name: rows(database, *question) for name, question in QUESTIONS.items()}


def is_archive(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:15] == b"SQLite format 3"


def rows(database: sqlite3.Connection, query: str, key: tuple[str, ...]) -> dict[str, dict]:
    """The rows of a query by their key."""
    found = [{name: lasting(name, value) for name, value in dict(row).items()} for row in database.execute(query)]
    by_key = {json.dumps([row[name] for name in key]): row for row in found}
    assert len(by_key) == len(found) > 0, f"{key} tells the rows apart"
    return by_key


def lasting(name: str, value: object) -> object:
    """A column's value without the times that the gates took."""
    if name != "findings":
        return value
    return [{key: told for key, told in finding.items() if key != "cpu_s"} for finding in json.loads(str(value))]


@pytest.fixture(scope="module")
def both(tmp_path_factory, request):
    folder, commit = tmp_path_factory.mktemp("same"), request.config.getoption("--against")
    git = ["git", "-C", str(HERE), "worktree"]
    subprocess.run([*git, "add", "--detach", str(folder / "tree"), commit], check=True, capture_output=True)
    try:
        (folder / "before").mkdir()
        (folder / "after").mkdir()
        return answers(folder / "tree", folder / "before"), answers(HERE, folder / "after")
    finally:
        subprocess.run([*git, "remove", "--force", str(folder / "tree")], check=True, capture_output=True)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("question", QUESTIONS)
def test_both_give_the_same(question, both):
    before, after = (side[question] for side in both)
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        assert one is not None, f"{question}: {key} is new: {other}"
        assert other is not None, f"{question}: {key} is gone: {one}"
        differs = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
        assert not differs, f"{question}: {key} differs in {differs}"
