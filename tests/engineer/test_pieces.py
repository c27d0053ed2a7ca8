"""Trials that another machine runs, which has neither lm-eval nor pydantic: there and back in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from asiarc.archive.store import Archive
from asiarc.execution import InlineExecutor
from asiarc.tasks import opened
from tests.rigs import pieces

HIDDEN = """
import importlib.machinery, sys

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.split(".")[0] in {"lm_eval", "pydantic", "fla", "datasets", "bm25s", "openai", "tomli_w"}
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Without
"""
THERE = """
import sys, asiarc, asiarc.engineer.trainer, asiarc.engineer.distributed, asiarc.kernels.delta_rule
from pathlib import Path
from tests.rigs.pieces import run_next

assert Path(asiarc.__file__).is_relative_to(Path.cwd()), "the code of the pack is what runs"
assert run_next(Path.cwd(), 8) == (2, 0) and run_next(Path.cwd(), 8) == (0, 0), "what is done is done once"
assert not {"lm_eval", "pydantic"} & sys.modules.keys()
"""


@pytest.fixture(scope="module")
def asked(text_name, tmp_path_factory):
    task = opened(text_name, tmp_path_factory.mktemp("here"), build=True)
    return list(pieces.requests(["delta_net"], "gpu", task, 2, "cpu", tiny=True))


@pytest.fixture(scope="module")
def packed(asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    assert pieces.pack(folder, asked) < pieces.MOST_BYTES
    assert pieces.run_next(folder, 0) == (0, 2), "no time, no job"
    (folder / "sitecustomize.py").write_text(HIDDEN)
    done = subprocess.run(
        [sys.executable, "-c", THERE], cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_its_rows_are_those_of_this_machine(asked, packed, tmp_path):
    """Within what a rounding apart in the scorer could do; twice taken is once kept."""
    for _ in range(2):
        found = [trial for _, trial in pieces.take(packed, tmp_path, "gpu")]
    here = InlineExecutor().run([request.job for request in asked])
    assert [trial.value for trial in found] == pytest.approx([result.value["value"] for result in here], abs=1e-8)
    assert {trial.outcome.kind for trial in found} == {"scored"} and {t.address for t in found} == {asked[0].address}
    with Archive(tmp_path, write=False) as archive:
        assert {row["layers"] for row in archive.rows("SELECT layers FROM trials")} == {"[]"}, "no sandbox held"
        [run] = archive.runs("pieces", "gpu")
        assert not {trial.key for trial in archive.trials(run["run"])} & {request.key for request in asked}, (
            "another machine's versions make other keys"
        )


def test_a_row_that_was_bent_on_its_way_has_no_number(packed, tmp_path):
    [first, *_] = sorted((packed / "done").iterdir())
    whole = first.read_text()
    bent = json.loads(whole)
    bent["result"]["value"]["value"] = "best"
    first.write_text(json.dumps(bent))
    try:
        [(_, trial), _] = pieces.take(packed, tmp_path, "gpu")
    finally:
        first.write_text(whole)
    assert trial.outcome.kind == "crashed" and trial.value is None
