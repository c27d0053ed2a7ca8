"""A trial from the archive to a folder and to lm-eval elsewhere, with nothing faked; and what an export refuses."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import dynamic_module_utils

from asiarc.archive.store import Archive
from asiarc.audit import named
from asiarc.core.candidate import content_address
from asiarc.core.errors import ExecutionError
from asiarc.core.recipe import MICRO
from asiarc.core.seeds import rng_of
from asiarc.engineer.workshop import Request, Workshop
from asiarc.execution import InlineExecutor, Result
from asiarc.export import making
from asiarc.export.chosen import choose
from asiarc.export.folder import write_task
from asiarc.harness.cli import main
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source
from asiarc.tasks import get_task, opened
from tests.engineer.here import score

RECIPE = MICRO.at(d_model=32, num_layers=1, batch_size=8, seq_len=64, steps=6)
SOURCE = baseline_source("mamba2")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An archive with one small trial, on a text of its own."""
    root = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASIARC_CACHE", str(root / "cache"))
        rng = rng_of("book")
        words = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(3000)]
        (root / "book.txt").write_text("\n\n".join(" ".join(rng.choices(words, k=60)) for _ in range(600)))
        task = opened(f"text:{root / 'book.txt'}", root, build=True)
        address = content_address(SOURCE)
        request = Request(address, SOURCE, task, "verify", "0/verify/0", RECIPE, None, "validation", 16, device="cpu")
        with Archive(root / "store") as archive:
            archive.add_candidate(address, "mamba2", SOURCE, "A motivation.")
            archive.add_run("a run", "a campaign", "smoke", 0, {"device": "cpu"}, {"packages": {}})
            (trial,) = Workshop(archive, InlineExecutor()).train("a run", [request])
        assert trial.value is not None, trial.outcome
        yield root / "store"


def command(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


@pytest.fixture(scope="module")
def done(store, tmp_path_factory):
    """The command's folder, and what it said."""
    folder = tmp_path_factory.mktemp("out") / "deep" / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASIARC_CACHE", str(store.parent / "cache"))
        result = command("mamba2", folder, "--store", store, "--json")
    assert result.exit_code == 0, result.output
    return folder, json.loads(result.stdout)


def test_the_folder_scores_what_the_trial_scored(store, done):
    _, told = done
    with Archive(store, write=False) as archive:
        (row,) = archive.rows("SELECT value, parameters FROM trials")
    assert (told["stored"], told["parameters"]) == (row["value"], row["parameters"])
    assert told["score"] == pytest.approx(row["value"], abs=1e-9) and told["agreement"] == "equal"


def test_what_lies_in_the_folder(done):
    folder, told = done
    assert sorted(file.name for file in folder.iterdir()) == told["files"] == [
        "README.md", "config.json", "generation_config.json", "model.safetensors", "modeling_mamba2.py", "task",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert not list(folder.parent.glob(".*")), "what was made on the way is gone"
    assert told["provenance"]["address"] in (folder / "README.md").read_text()
    assert not [name for name in load_file(folder / "model.safetensors") if name.startswith("lm_head")]


def test_lm_eval_elsewhere_gives_the_same_scores(done, elsewhere, tmp_path):
    """The trial's own text, and a task of choice, whose contexts open as the referee's do."""
    folder, told = tmp_path / "model", done[1]
    shutil.copytree(done[0], folder)
    task, secret = (
        get_task("compression"),
        {"task": "compression", "split": "validation", "documents": 96, "items": "x"},
    )
    (folder / "task").rename(tmp_path / "text")
    name = write_task(folder, secret | {"recipe": RECIPE.as_dict()})
    for file in (tmp_path / "text").glob("*.yaml"):
        (folder / "task" / file.name).write_text(file.read_text().replace("task/documents", "../text/documents"))
    found = elsewhere("judge.py", folder, f"{told['task']},{name}", tmp_path / "out")
    assert found[told["task"]]["bits_per_byte,none"] == pytest.approx(told["score"], abs=1e-5)
    (mine,) = score(trained(folder), [(task, task.documents("validation", 96, "x"))], max_length=2048)
    assert 0 < mine.value < 1, "which tells one model from another"
    assert found[name]["acc,none"] == mine.value


def test_the_audit_examines_it_like_anybodys_model(done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = named.examine_exported({"folder": str(done[0])})
    assert set(found["properties"].values()) == {True}, found["reasons"]


def trained(folder):
    """asiarc's own model, with the numbers of a folder."""
    tensors = load_file(folder / "model.safetensors")
    model = build(SOURCE, RECIPE, "tests", hidden=len(tensors["layers.0.mlp.gate.weight"]))
    assert model.load_state_dict(tensors, strict=False).missing_keys == ["lm_head.weight"]
    model.tie_weights()
    return model


def test_a_folder_that_holds_something_is_refused(store, tmp_path):
    (tmp_path / "mine").touch()
    result = command("mamba2", tmp_path, "--store", store)
    assert result.exit_code == 1 and "holds something already" in result.output
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


class Says(InlineExecutor):
    """An executor that answers from a list."""

    def __init__(self, *values):
        self.values = list(values)

    def run(self, jobs, on_result=None):
        return [self.values.pop(0)]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([Result("timed_out", reason="600 s")], "did not finish: 600 s"),
        ([Result("ok", {"ended": "diverged", "reason": "loss nan"})], "ended as diverged: loss nan"),
        ([Result("ok", {}), Result("crashed", reason="of it")], "did not finish: of it"),
        ([Result("ok", {}), Result("ok", {"ended": "rejected", "gate": "streaming", "reason": "peeks"})], "peeks"),
    ],
)
def test_what_goes_wrong_leaves_nothing(store, tmp_path, answers, told):
    with Archive(store, write=False) as archive, pytest.raises(ExecutionError, match=told):
        making.export(
            archive, choose(archive, "mamba2", "smoke"), tmp_path / "model", lambda _: None, lambda _: Says(*answers)
        )
    assert not list(tmp_path.iterdir())


def test_a_score_that_is_far_from_the_stored_one_is_no_export(store):
    with Archive(store, write=False) as archive:
        chosen = choose(archive, "mamba2", "smoke")
        value = chosen.trial.value
        assert "rounds otherwise" in making.agreement(chosen, {"value": value + 1e-3})["agreement"]
        with pytest.raises(ExecutionError, match="Run the campaign again"):
            making.agreement(chosen, {"value": value + 1.0})
        on_gpu = replace(chosen, run=chosen.run | {"identity": {"device": "cuda"}})
        with pytest.raises(ExecutionError, match="on a GPU"):
            making.export(archive, on_gpu, store / "nowhere", lambda _: None)
