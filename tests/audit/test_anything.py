"""The audit on what is no program text: a class under its name, with an adapter or without, and an exported model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from asiarc.audit import PROPERTIES, named, targets
from asiarc.audit.program import construct
from asiarc.audit.specimen import Specimen, read
from asiarc.core.errors import CandidateError
from asiarc.core.recipe import TrialRecipe
from asiarc.harness.audit_verb import audit
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source

MODULES = """
import torch
from torch import nn


class Average(nn.Module):
    def __init__(self, dim, n_heads, layer_idx=None):
        super().__init__()
        self.value = nn.Linear(dim, dim)

    def forward(self, x, state=None):
        h = (0 if state is None else state) + self.value(x).cumsum(1)
        return h.tanh(), h[:, -1:]


class Reversed(Average):
    def forward(self, x):
        return self.value(x).flip(1).cumsum(1).flip(1)


class Sizes:
    def __init__(self, size):
        self.size = size


class Configured(Average):
    def __init__(self, config: Sizes):
        super().__init__(config.size, 1)


def configured(module_class, width, heads):
    return module_class(Sizes(width))
"""
MIXED = baseline_source("linear_attention")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_mixers.py").write_text(MODULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_mixers", None)


def examined(target, adapter=None):
    (program,) = targets.read(target, adapter)
    return named.examine(program.payload)


def test_a_class_under_its_name_is_built_by_introspection(folder):
    found = examined("my_mixers:Average")
    expected = dict.fromkeys(PROPERTIES, True) | {"batch_independent_with_mask": None}
    assert found["properties"] == expected, found["reasons"]
    assert "no attention mask" in found["reasons"]["batch_independent_with_mask"]


def test_a_module_that_returns_a_bare_tensor_is_read(folder):
    found = examined(str(folder / "my_mixers.py") + ":Reversed")["properties"]
    assert found["causal"] is False and found["cached_decoding"] is None and found["batch_independent"] is True


def test_an_adapter_builds_what_introspection_cannot(folder):
    without = examined("my_mixers:Configured")
    assert without["properties"]["causal"] is None and "--adapter" in without["failure"]
    assert examined("my_mixers:Configured", "my_mixers:configured")["properties"]["cached_decoding"] is True


@pytest.mark.parametrize(
    ("target", "says"),
    [("my_mixers:Averag", "nearest name in it is my_mixers:Average"), ("no_such_module:Thing", "cannot import")],
)
def test_a_name_that_leads_nowhere_says_so(folder, target, says):
    assert says in examined(target)["unusable"]


@pytest.mark.parametrize(
    ("target", "adapter", "says"),
    [
        ("my_mixer.py", None, "my_mixers.py"),
        ("not a path:nor a name", None, "neither a path nor module:Class"),
        ("my_mixers:Average", "configured", "module:function"),
        ("my_mixers.py", "my_mixers:configured", "--adapter builds a class"),
        ("missing.py:Average", None, "does not exist"),
    ],
)
def test_a_wrong_word_on_the_command_line_names_what_is_allowed(folder, target, adapter, says):
    with pytest.raises(CandidateError) as caught:
        targets.read(target, adapter)
    assert says in str(caught.value)


def test_a_constructor_gets_its_width_under_any_name():
    class Odd(torch.nn.Module):
        def __init__(self, embed_dim, nhead, expand_k, *, head_dim, **others):
            super().__init__()
            self.given = (embed_dim, nhead, expand_k, head_dim, others)

    assert construct(Odd, 32, 4).given == (32, 4, 1.0, 8, {})


@pytest.mark.parametrize("result", [{"logits": torch.ones(1)}, [torch.ones(1), None], (torch.ones(1), None, 3)])
def test_outputs_are_found_in_what_is_returned(result):
    assert torch.equal(read(result)[0], torch.ones(1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A sound model, one whose mixer sees the future, and a folder without weights."""
    folder = tmp_path_factory.mktemp("models")
    recipe = TrialRecipe("test", 32, 2, 2, 1.0, 64, 2, 4, 1e-3)
    leaking = MIXED.replace("class Mixer", "class Inner", 1) + (
        "\n\nclass Mixer(nn.Module):\n    def __init__(self, d_model, num_heads, **kwargs):\n"
        "        super().__init__()\n"
        "        self.inner = Inner(d_model, num_heads)\n\n    def forward(self, x_BTD, state=None):\n"
        "        y, state = self.inner(x_BTD, state)\n        return y + x_BTD.mean(1, keepdim=True), state\n"
    )
    for name, source in (("sound", MIXED), ("leaking", leaking)):
        build(source, recipe, "0", hidden=32).save_pretrained(folder / name)
    (folder / "empty").mkdir()
    (folder / "empty/config.json").write_text("{}")
    return folder


def test_an_exported_model_is_examined_whole(exported):
    model, mixer = targets.read(str(exported / "sound"))
    assert (model.form, mixer.form) == ("exported", "candidate")
    found = named.examine_exported(model.payload)
    assert found["properties"] == dict.fromkeys(PROPERTIES, True), found["reasons"]
    assert found["parameters"] > 0 and found["dead_parameters"] == []
    leaking = named.examine_exported({"folder": str(exported / "leaking")})["properties"]
    assert leaking["causal"] is False and leaking["batch_independent"] is True


def test_a_folder_of_models_is_read_and_one_without_weights_refused(exported, tmp_path):
    with pytest.raises(CandidateError, match=r"no \.safetensors"):
        targets.read(str(exported / "empty"))
    (tmp_path / "one").symlink_to(exported / "sound")
    assert [p.index for p in targets.read(str(tmp_path))] == [0, 1]


def test_the_command_examines_them_behind_the_wall(folder, exported):
    run = CliRunner().invoke(audit, ["my_mixers:Average", "--json", "--workers", "1"])
    assert run.exit_code == 0, run.output  # what could not be asked warns
    (row,) = json.loads(run.stdout)["rows"]
    assert row["properties"]["cached_decoding"] is True
    run = CliRunner().invoke(audit, [str(exported / "sound"), "--json", "--workers", "1"])
    model, mixer = json.loads(run.stdout)["rows"]
    assert model["properties"]["causal"] is True, model
    assert mixer["properties"]["causal"] is True, mixer


def test_a_wrong_name_is_an_error_of_the_command_and_no_row(folder):
    command = [sys.executable, "-m", "asiarc", "audit", "my_mixers:Averag", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "my_mixers:Average" in done.stderr and "Traceback" not in done.stderr


def test_a_specimen_is_made_anew_for_each_call():
    class Counting(torch.nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    specimen = Specimen(Counting, lambda b, t, seed: torch.ones(b, t, 4), torch.float32)
    x = specimen.draw(1, 3, 0)
    assert torch.equal(specimen.run(x), specimen.run(x))
