"""Executors with warm workers, shared by a module's tests, and the jobs of `sandbox_jobs`."""

import os
from pathlib import Path

import pytest

from asiarc.execution import Job, Limits, LocalExecutor
from tests.rigs import search_path
from tests.rigs.sandbox.attacks import MODULE

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def jobs_on_the_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{search_path()}")
        yield


@pytest.fixture(scope="module")
def executor(jobs_on_the_path):
    with LocalExecutor(workers=2, preload=(), readable=[HERE]) as executor:
        yield executor


@pytest.fixture(scope="module")
def torch_executor(jobs_on_the_path):
    with LocalExecutor(workers=1, preload=("torch", MODULE), readable=[HERE]) as executor:
        yield executor


@pytest.fixture
def job():
    def make(name, payload=None, **limits):
        return Job(f"sandbox_jobs:{name}", payload or {}, Limits(**{"wall_s": 60, "cpu_s": 60} | limits))

    return make
