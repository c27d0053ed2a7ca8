"""What counts as new: nearest motivations, fingerprints of behaviour, a model's word, and what that saves."""

from __future__ import annotations

import json
import re

import pytest
import torch

from asiarc.core.proposal import Earlier
from asiarc.engineer.fingerprint import NUMBERS, fingerprint
from asiarc.llm import Client, Exchange, Ledger, Price, Reply
from asiarc.llm.tape import MemoryTape
from asiarc.models.baselines import BASELINE_NAMES, QUADRATIC, baseline_source
from asiarc.researcher.novelty import duplicate_of, nearest, nearest_by_vector, same_behaviour

IDEAS = [
    Earlier(address=f"{i:016d}", name=f"idea_{i}", motivation=text)
    for i, text in enumerate(
        [
            "A data-dependent decay gate on the state lets old associations be forgotten.",
            "Short convolutions on keys and values join neighbouring tokens.",
            "Two delta updates a token raise the rank of the transition.",
            "A rotary position encoding of queries and keys.",
            "Forget old associations by a decay gate that depends on the data.",
        ]
    )
]


def numbers(source):
    found = fingerprint({"source": source, "d_model": 32, "num_heads": 2})["fingerprint"]
    assert found is None or len(found) == NUMBERS
    return found


@pytest.fixture(scope="module")
def prints():
    torch.set_num_threads(1)
    return {name: numbers(baseline_source(name)) for name in BASELINE_NAMES if name not in QUADRATIC}


def test_baselines_compute_different_things(prints):
    for one in prints:
        for other in prints:
            assert same_behaviour(prints[one], prints[other]) == (one == other), (one, other)


def test_the_same_idea_under_other_names_is_the_same(prints):
    source = baseline_source("gated_delta_net")
    renamed = re.sub(r"\bself\.(\w+)", r"self.other_\1", source)
    renamed = renamed.replace("q_BTHK", "query").replace("class Mixer", "# another\nclass Mixer")
    assert renamed != source
    assert same_behaviour(numbers(renamed), prints["gated_delta_net"])


def test_the_same_idea_made_in_another_order_is_the_same(prints):
    source = baseline_source("linear_attention")
    norm = "        self.norm = nn.RMSNorm(head_dim, eps=1e-6)\n"
    out = "        self.out = nn.Linear(d_model, d_model, bias=False)\n"
    assert source.count(norm) == source.count(out) == 1
    swapped = source.replace(out, "").replace(norm, out + norm)
    assert swapped != source and same_behaviour(numbers(swapped), prints["linear_attention"])


@pytest.mark.parametrize(("old", "new"), [("elu(q_BTHK) + 1", "elu(q_BTHK) + 1.01"), ("self.norm(o_BTHV)", "o_BTHV")])
def test_another_idea_is_another(prints, old, new):
    source = baseline_source("linear_attention")
    assert old in source
    assert not same_behaviour(numbers(source.replace(old, new)), prints["linear_attention"])


@pytest.mark.parametrize("body", ["raise ValueError('no')", "return x_BTD * float('nan'), None"])
def test_what_computes_nothing_has_no_fingerprint(body):
    source = (
        "from torch import nn\n\n\nclass Mixer(nn.Module):\n    def __init__(self, d_model, num_heads, **kwargs):\n"
        f"        super().__init__()\n\n    def forward(self, x_BTD, state=None):\n        {body}\n"
    )
    assert numbers(source) is None


def test_nearest_by_words():
    found = nearest("an input-dependent decay gate to forget old associations", IDEAS, k=2)
    assert {idea.name for idea in found} == {"idea_0", "idea_4"}
    assert nearest("zzz", IDEAS) == [] and nearest("decay", []) == []


def test_nearest_by_vectors():
    def vectors(new):
        return [[float("decay" in t), float("rotary" in t), 0.1] for t in (new, *(i.motivation for i in IDEAS))]

    assert nearest_by_vector(vectors("a rotary thing"), IDEAS, k=1)[0].name == "idea_3"
    assert {i.name for i in nearest_by_vector(vectors("decay"), IDEAS, k=2)} == {"idea_0", "idea_4"}


class Answering(MemoryTape):
    """A tape that has the same answer to everything."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def get(self, question, place):
        return Exchange(question, Reply(text=self.text))


@pytest.mark.parametrize(
    ("answer", "of"),
    [
        ({"duplicate": True, "number": 2, "reason": "same"}, "idea_1"),
        ({"duplicate": False, "number": 2}, None),
        ({"duplicate": True, "number": 0}, None),
        ({"duplicate": True, "number": 4}, None),
        ("I cannot tell.", None),
    ],
)
def test_a_model_judges_and_in_doubt_an_idea_is_new(answer, of):
    text = answer if isinstance(answer, str) else json.dumps(answer)
    client = Client(Answering(text), Ledger({"m": Price(0, 0)}))
    found = duplicate_of(client, "m", "new", IDEAS[:3], seed=1, max_tokens=100, place="0 check")
    assert (found.of.name if found else None) == of
    assert duplicate_of(client, "m", "new", [], seed=1, max_tokens=100, place="0 check") is None
