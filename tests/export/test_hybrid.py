"""Models of several mixers as files of their own: a hybrid of 3:1, and the winner of a search for a pattern."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from asiarc.archive.store import Archive
from asiarc.core.candidate import content_address
from asiarc.core.loading import executed
from asiarc.core.pattern import mixers_of, pattern_text
from asiarc.core.recipe import MICRO
from asiarc.core.seeds import rng_of
from asiarc.engineer.workshop import Request, Workshop
from asiarc.execution import InlineExecutor
from asiarc.export import making
from asiarc.export.chosen import choose
from asiarc.export.modelling import modelling_file
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source
from asiarc.tasks import opened

LAYERS = ("candidate", "candidate@0", "mlp@2", "softmax_attention")
SOURCE = baseline_source("kda")
CLASHING = '''
from asiarc.kernels.l2_norm import l2_norm as rearrange
from torch import nn

def l2_norm(x):
    return x + 1

class Mixer(nn.Module):
    """
Its text begins at the margin.
"""
    TEXT = """a
b"""

    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x, state=None):
        assert self.TEXT == "a" + chr(10) + "b"
        return rearrange(self.proj(l2_norm(x))), state
'''


def beside(layers):
    return {name: CLASHING if name == "clashing" else baseline_source(name) for name in mixers_of(layers)}


@pytest.mark.parametrize("layers", [LAYERS, ("candidate", "clashing", "delta_net"), ("gla", "clashing")])
def test_the_file_computes_what_the_model_computes(layers, tmp_path):
    source = SOURCE if "candidate" in layers else pattern_text(layers)
    recipe, mixers = MICRO.at(d_model=16, layers=layers), beside(layers)
    model = build(source, recipe, "tests", hidden=12, mixers=mixers).eval()
    found = modelling_file(source, "A model of the tests.", mixers=mixers)
    (tmp_path / "modeling_tests.py").write_text(found.text)
    module = executed(tmp_path / "modeling_tests.py", "modeling_tests")
    try:
        sizes = dict(hidden_size=16, num_hidden_layers=recipe.num_layers, intermediate_size=12, num_attention_heads=2)
        again = getattr(module, found.model)(getattr(module, found.config)(**sizes, pattern=[*layers])).eval()
    finally:
        del sys.modules["modeling_tests"]
    again.load_state_dict(model.state_dict())
    ids = torch.randint(1, 256, (2, 21), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)
    assert "import asiarc" not in found.text and "from asiarc" not in found.text


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    rng = rng_of("book")
    words = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(3000)]
    (tmp_path / "book.txt").write_text("\n\n".join(" ".join(rng.choices(words, k=60)) for _ in range(600)))
    return opened(f"text:{tmp_path / 'book.txt'}", tmp_path, build=True)


def test_the_winner_of_a_search_for_a_pattern_from_its_trial_to_a_folder(book, tmp_path):
    """Trained at the size of the pure stack, then exported: the folder scores what the trial scored."""
    source, start = (pattern_text(layers) for layers in (("mamba2", "mlp", "softmax_attention@0.5"), ("delta_net",)))
    mixers = {name: baseline_source(name) for name in ("mamba2", "softmax_attention", "delta_net")}
    recipe = MICRO.at(d_model=32, num_layers=3, batch_size=8, seq_len=64, steps=4)
    address, first = content_address(source), content_address(start)
    request = Request(
        address, source, book, "verify", "0/verify/0", recipe, (first, start), "validation", 16, "cpu", mixers
    )  # fmt: skip
    identity = {"device": "cpu", "mixers": {name: content_address(text) for name, text in mixers.items()}}
    with Archive(tmp_path / "store") as archive:
        archive.add_candidate(address, "pattern_1", source, "A motivation.")
        archive.add_candidate(first, "3*delta_net", start, "A stack.")
        for name, text in mixers.items():
            archive.add_candidate(content_address(text), name, text, "")
        archive.add_run("a run", "a campaign", "smoke", 0, identity, {"packages": {}})
        stack = replace(request, address=first, source=start)
        trial, pure = Workshop(archive, InlineExecutor()).train("a run", [request, stack])
        assert trial.value is not None and pure.value is not None, (trial.outcome, pure.outcome)
        assert trial.parameters == pytest.approx(pure.parameters, rel=0.02) and trial.parameters != pure.parameters
        assert trial.state_bytes > 2 * 256 * 32 * 4, "keys and values of 256 tokens, and the memory of Mamba-2"
        chosen = choose(archive, "pattern_1", "smoke")
        assert chosen.recipe.layers == ("mamba2", "mlp", "softmax_attention@0.5")
        told = making.export(archive, chosen, tmp_path / "out", lambda _: None, lambda _: InlineExecutor())
    assert told["agreement"] == "equal" and told["parameters"] == trial.parameters
