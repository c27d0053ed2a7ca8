"""The modelling file as text: whole, importing nothing else, the candidate in it as it was written."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
import torch

from asiarc.export.modelling import modelling_file
from asiarc.models.baselines import PANEL_NAMES, baseline_source
from asiarc.researcher.designs import PANEL_DESIGNS
from asiarc.researcher.render import render

MIXER = """
class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x, state=None):
        return {body}, state
"""


NORM = "from asiarc.kernels.l2_norm import l2_norm"


def written(imports, body, before=""):
    return f"import torch\nfrom torch import nn\n{imports}\n{before}\n{MIXER.format(body=body)}"


def imported(text):
    nodes = list(ast.walk(ast.parse(text)))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in modules | {n.module for n in nodes if isinstance(n, ast.ImportFrom)}}


@pytest.fixture(scope="module")
def texts():
    baselines = {name: modelling_file(baseline_source(name), "A title.") for name in PANEL_NAMES}
    rendered = {f"{name} of the grammar": render(genome) for name, genome in PANEL_DESIGNS.items()}
    return baselines | {name: modelling_file(source, "A title.") for name, source in rendered.items()}


def test_it_imports_torch_and_transformers_alone(texts):
    for name, found in texts.items():
        assert imported(found.text) - sys.stdlib_module_names == {"torch", "transformers"}, name
        assert not found.needs_einops


def test_no_name_is_missing_or_defined_twice(texts, tmp_path):
    for name, found in texts.items():
        (tmp_path / f"{name.replace(' ', '_')}.py").write_text(found.text)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_candidate_stands_there_as_it_was_written(texts):
    for name in PANEL_NAMES:
        mixer = baseline_source(name).partition("class Mixer")[2]
        assert f"class Mixer{mixer}".strip() in texts[name].text


def test_the_same_source_gives_the_same_text(texts):
    assert texts["kda"] == modelling_file(baseline_source("kda"), "A title.")


def run(text):
    """The names of a file, run as a module of its own."""
    namespace = {"__name__": "a_model_of_the_tests"}
    sys.modules["a_model_of_the_tests"] = type(sys)("a_model_of_the_tests")
    try:
        exec(compile(text, "modelling", "exec"), namespace)
    finally:
        del sys.modules["a_model_of_the_tests"]
    return namespace


@pytest.mark.parametrize(
    ("imports", "body"),
    [
        ("from asiarc.kernels.l2_norm import l2_norm", "l2_norm(x)"),
        ("from asiarc.kernels.l2_norm import l2_norm as step", "step(x)"),
        ("from asiarc.kernels import l2_norm", "l2_norm.l2_norm(x)"),
        ("import asiarc.kernels.l2_norm as norm", "norm.l2_norm(x)"),
        ("import asiarc.kernels.l2_norm", "asiarc.kernels.l2_norm.l2_norm(x)"),
        ("from asiarc.kernels.l2_norm import (\n    l2_norm,\n)  # so long", "l2_norm(x)"),
        ("from asiarc.kernels.l2_norm import l2_norm, l2_norm as again", "again(l2_norm(x))"),
        ("import math as F; from asiarc.kernels.l2_norm import l2_norm", "l2_norm(x) * F.pi"),
        (f"from einops import rearrange as turn\n{NORM}", "l2_norm(turn(x, 'b t d -> b t d'))"),
        (f"import einops\n{NORM}", "l2_norm(einops.rearrange(x, 'b t d -> b t d'))"),
    ],
)  # fmt: skip
def test_every_way_to_import(imports, body):
    text = modelling_file(written(imports, body), "A title.").text
    assert imported(text) - sys.stdlib_module_names == {"torch", "transformers"}
    x = torch.randn(2, 3, 8)
    mixer = run(text)["Mixer"](8, 2)
    norms = mixer(x)[0].norm(dim=-1)
    torch.testing.assert_close(norms / norms[0, 0], torch.ones(2, 3), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["max", "len", "refuse", "check_tensor", "Block", "F", "Recurrence", "AsiarcConfig"])
def test_a_name_of_the_candidates_own_is_nobody_elses(name):
    """Builtins, kernels, the backbone: whatever the candidate calls its own, the others go on with theirs."""
    before = f"def {name}(*given):\n    raise AssertionError('asked')\n"
    source = written("from asiarc.kernels.l2_norm import l2_norm", "l2_norm(self.proj(x))", before)
    found = modelling_file(source, "A title.")
    names = run(found.text)
    config = names[found.config](hidden_size=8, num_attention_heads=2, vocab_size=11)
    assert names[found.model](config)(torch.zeros(1, 3, dtype=torch.long)).logits.shape == (1, 3, 11)
    with pytest.raises(AssertionError, match="asked"):
        names[name]()


def test_what_never_runs_is_not_there():
    source = written("", "x", '@torch.compile\ndef f(x):\n    return x\n\n\nif __name__ == "__main__":\n    f(1)\n')
    text = modelling_file(source, "A title.").text
    assert "torch.compile\n" not in text and "__main__" not in text and "def f(x):" in text


def test_what_the_file_cannot_hold_of_einops_is_imported_and_told():
    found = modelling_file(written("from einops import pack, rearrange", "pack([x], '* d')[0]"), "A title.")
    assert found.needs_einops and "einops" in imported(found.text)
