"""Mixers of transformers behind the contract: its mathematics, a state that is handed over, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from asiarc.campaign.own import baseline_at
from asiarc.core.candidate import load_mixer
from asiarc.core.errors import CandidateError
from asiarc.engineer.gates import admit
from asiarc.models.library import HandedOver, Poisoned, wrapped

QWEN = "transformers:qwen3_next.Qwen3NextGatedDeltaNet"
CLASSES = (QWEN, "transformers:mamba2.Mamba2Mixer", "transformers:olmo_hybrid.OlmoHybridGatedDeltaNet")
D, H = 32, 2


def mixer(given: str) -> nn.Module:
    torch.manual_seed(0)
    return load_mixer(baseline_at(given, None).source)(D, H)


def test_its_mathematics_is_the_librarys():
    from transformers.models.qwen3_next.configuration_qwen3_next import Qwen3NextConfig
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    mine = mixer(QWEN)
    config = Qwen3NextConfig(
        hidden_size=D, num_hidden_layers=1, layer_types=["linear_attention"], linear_num_key_heads=H,
        linear_num_value_heads=H, linear_key_head_dim=D // H, linear_value_head_dim=D // H,
    )  # fmt: skip
    theirs = Qwen3NextGatedDeltaNet(config, 0)
    theirs.load_state_dict({name.removeprefix("layer."): p for name, p in mine.state_dict().items()})
    x_BTD = torch.randn(2, 70, D)
    torch.testing.assert_close(mine(x_BTD)[0], theirs(x_BTD))


@pytest.mark.parametrize("given", CLASSES)
def test_any_split_continues_and_nothing_handed_over_is_changed(given):
    one, x_BTD = mixer(given), torch.randn(2, 23, D, generator=torch.Generator().manual_seed(1))
    whole = one(x_BTD)[0]
    for lengths in ([1, 1, 2, 19], [3, 20], [22, 1]):
        state, outputs = None, []
        for segment in x_BTD.split(lengths, 1):
            before = {name: tensor.clone() for name, tensor in (state or {}).items()}
            y, after = one(segment, state)
            assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
            state = after
            outputs.append(y)
        torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=1e-4, atol=1e-5)


def test_all_gates_but_the_static_one_are_asked():
    declared = baseline_at(QWEN, None)
    verdict = admit(declared.source, d_model=D, num_heads=H, seed=0, max_examples=2, exempt=declared.exempt)
    assert {f.gate: f.verdict for f in verdict.findings if f.verdict != "passed"} == {"static": "exempt"}
    assert not admit(declared.source, d_model=D, num_heads=H, seed=0, max_examples=2).admitted, "by its source alone"


REFUSED = {
    "transformers:llama.LlamaAttention": "takes no cache_params: its state cannot be handed over",
    "transformers:nowhere.Mixer": "write transformers:MODEL.Class",
    "transformers:mamba2.Mamba3Mixer": "write transformers:MODEL.Class",
}


@pytest.mark.parametrize("given", REFUSED)
def test_what_cannot_be_wrapped_says_why(given):
    with pytest.raises(CandidateError, match=REFUSED[given]):
        wrapped(given)


def test_what_its_model_would_initialise_is_refused():
    kimi = wrapped("transformers:kimi_linear.KimiLinearDeltaAttention")
    with pytest.raises(CandidateError, match=r"leaves .*dt_bias.* for its model to initialise"):
        kimi(D, H)
    with Poisoned():
        assert torch.empty(3).isnan().all() and not nn.Linear(3, 3).weight.isnan().any()


def test_a_cache_that_is_asked_for_more_cannot_be_handed_over():
    with pytest.raises(CandidateError, match="asks its cache for seqlen_offset, which is none"):
        HandedOver({}).seqlen_offset  # noqa: B018
