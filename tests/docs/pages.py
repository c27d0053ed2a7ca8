"""Every page of the documentation followed to its end, command by command: ``nox -s docs`` (minutes)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.docs.walk import PAGES, ROOT, blocks_of, follow

FOLLOWED = [page for page in PAGES if any(block.is_typed for block in blocks_of(page.read_text()))]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One corpus for all pages."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
def test_a_page_can_be_followed(page, tmp_path, cache):
    wrong = follow(page.read_text(), tmp_path, cache)
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """The programs of an environment that has the wheel, and of this checkout nothing."""
    folder = ROOT / ".nox" / "stranger"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sys.prefix, folder, copy_function=os.link, symlinks=True)  # seconds, and no second copy of torch
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for left in [*packages.glob("__editable__*"), *packages.glob("asiarc-*"), *(folder / "bin").glob("asiarc*")]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    pip = ["-m", "pip", "-q", "--disable-pip-version-check"]
    wheels = tmp_path_factory.mktemp("wheels")
    subprocess.run([sys.executable, *pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, *pip, "install", "--no-deps", *wheels.iterdir()], check=True)
    (folder / "bin" / "pytest").unlink()
    (folder / "bin" / "pytest").write_text(f'#!/bin/sh\nexec {python} -P -m pytest "$@"\n')
    (folder / "bin" / "pytest").chmod(0o755)
    yield folder / "bin"
    shutil.rmtree(folder)


def test_from_the_wheel_in_an_empty_folder(stranger, tmp_path, cache):
    """A recipe, a baseline, a task and a corpus of one's own, to a verdict, with no checkout in reach."""
    where = [stranger / "python", "-c", "import asiarc; print(asiarc.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(stranger.parent)), found
    wrong = follow((ROOT / "docs" / "own_question.md").read_text(), tmp_path, cache, stranger)
    assert not wrong, "\n".join(wrong)
