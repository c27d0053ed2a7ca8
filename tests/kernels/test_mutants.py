"""The suite itself is tested: every planted bug must be killed."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
def test_every_planted_bug_is_killed():
    command = [sys.executable, str(Path(__file__).parent / "mutants.py"), "--torch"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert ", 0 survived; classes without a mutant: none" in found.stdout
