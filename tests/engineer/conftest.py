"""Small recipes, a small corpus of its own and one thread for everything that trains."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch

from asiarc.core.recipe import MICRO
from asiarc.execution import Job, LocalExecutor
from tests.rigs import search_path

TINY = MICRO.at(d_model=16, num_layers=1, mlp_ratio=1.0, seq_len=32, batch_size=4, steps=6, evaluations=3)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny():
    return TINY


@pytest.fixture(scope="package")
def text_name(tmp_path_factory):
    """The name of a text task over random words, some with characters of two, three and four bytes."""
    folder = tmp_path_factory.mktemp("text")
    rng = random.Random(0)
    letters = "abcdefghijklmnop\té→😀"
    words = ("".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(50_000))
    (folder / "text.txt").write_text("\n\n".join(" ".join(next(words) for _ in range(50)) for _ in range(1000)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASIARC_CACHE", str(folder / "cache"))
        yield f"text:{folder / 'text.txt'}"


@pytest.fixture(scope="package")
def walled(text_name):
    """One warm worker, which may read that text and the jobs beside this file."""
    here, folder = Path(__file__).parent, Path(text_name.removeprefix("text:")).parent
    with LocalExecutor(1, preload=("torch", "asiarc.engineer.warm"), readable=(here, folder)) as executor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", f"{here}{os.pathsep}{search_path()}")
            executor.run([Job("asiarc.execution.job:echo", {})])
        yield executor
