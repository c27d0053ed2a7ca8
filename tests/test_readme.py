"""The README says nothing that is not so: its campaign collects, its commands exist, its paths are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from asiarc.harness.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_campaign_collects(tmp_path):
    (tmp_path / "campaigns").mkdir()
    (tmp_path / "campaigns" / "campaign_recall.py").write_text(blocks("python")[0])
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for item in ("recall::explore", "recall::verify", "recall::confirm", "test_something_was_scored"):
        assert f"campaign_recall.py::{item}" in done.stdout


def test_its_asiarc_commands_exist():
    named = {word for block in blocks("sh") for word in re.findall(r"^asiarc ([\w-]+)", block, re.MULTILINE)}
    named |= set(re.findall(r"`asiarc ([\w-]+)", README))
    assert len(named) >= 5
    assert named <= set(main.commands)


def test_its_sessions_exist():
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    named = set(re.findall(r"nox -s (\w+)", README))
    assert {"reproduce", "tests"} <= named <= sessions


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:asiarc|campaigns|kernels|reproductions|results|tests)/[\w./-]*)`", README)))
)
def test_its_paths_are_there(path):
    if "NAME" in path or path.startswith(("results/reproduction/quick", "campaigns/campaign_recall")):
        pytest.skip("written by the command beside it")
    assert (ROOT / path).exists()


def test_options_in_it_are_pytest_options():
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    for option in ("tier", "plan", "fresh", "retry", "workers"):
        assert f"--{option}" in README and f"--asiarc-{option}" in shown
