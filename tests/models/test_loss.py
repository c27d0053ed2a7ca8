"""The loss in chunks against torch's own over whole logits: values, gradients, and that the logits never are whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from asiarc.core.recipe import MICRO
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source
from asiarc.models.loss import IGNORED, summed_cross_entropy
from asiarc.tasks import IGNORE


def plain(hidden_ND, weight_VD, targets_N):
    """By the definition, with whole logits."""
    logits_NV = F.linear(hidden_ND, weight_VD)
    wide = torch.promote_types(logits_NV.dtype, torch.float32)
    return F.cross_entropy(logits_NV.to(wide), targets_N, ignore_index=IGNORED, reduction="sum")


def drawn(tokens, words, ignored, dtype=torch.float64, seed=0, width=5):
    draw = torch.Generator().manual_seed(seed)
    hidden_ND = (3 * torch.randn(tokens, width, generator=draw, dtype=dtype)).requires_grad_()
    weight_VD = torch.randn(words, width, generator=draw, dtype=dtype).requires_grad_()
    targets_N = torch.randint(words, (tokens,), generator=draw)
    targets_N[torch.rand(tokens, generator=draw) < ignored] = IGNORED
    return hidden_ND, weight_VD, targets_N


def with_gradients(loss, hidden_ND, weight_VD, targets_N, **chunk):
    value = loss(hidden_ND, weight_VD, targets_N, **chunk)
    return value.detach(), *torch.autograd.grad(0.7 * value, (hidden_ND, weight_VD))


def test_what_is_ignored_is_what_a_task_does_not_score():
    assert IGNORED == IGNORE


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(1, 12),
    words=st.integers(1, 9),
    chunk=st.none() | st.integers(1, 15),
    ignored=st.sampled_from([0.0, 0.4, 1.1]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_the_plain_ones(tokens, words, chunk, ignored, seed):
    given_ = drawn(tokens, words, ignored, seed=seed)
    mine = with_gradients(summed_cross_entropy, *given_, chunk=chunk)
    torch.testing.assert_close(mine, with_gradients(plain, *given_), rtol=1e-12, atol=1e-12)


def test_the_gradients_are_the_function_s_own():
    hidden_ND, weight_VD, targets_N = drawn(7, 6, 0.3)
    assert torch.autograd.gradcheck(lambda h, w: summed_cross_entropy(h, w, targets_N, chunk=3), (hidden_ND, weight_VD))


def test_no_scored_token_is_no_loss_and_no_gradient():
    for tensor in with_gradients(summed_cross_entropy, *drawn(6, 5, 1.1), chunk=4):
        assert torch.equal(tensor, torch.zeros_like(tensor))


def test_extreme_logits_stay_finite():
    hidden_ND, weight_VD, targets_N = drawn(6, 5, 0.0, torch.float32)
    far = (1e4 * hidden_ND).detach().requires_grad_(), weight_VD, targets_N
    torch.testing.assert_close(with_gradients(summed_cross_entropy, *far, chunk=4), with_gradients(plain, *far))


def test_under_autocast_products_are_coarse_and_sums_are_not():
    """As far from float64 as the plain loss is under autocast; and what is given back is in the dtype of its input."""
    given_ = drawn(300, 40, 0.2, torch.float32, width=16)
    exact = with_gradients(plain, *(t.detach().double().requires_grad_() for t in given_[:2]), given_[2])
    with torch.autocast("cpu", torch.bfloat16):
        mine = with_gradients(summed_cross_entropy, *given_, chunk=64)
        theirs = with_gradients(plain, *given_)
    for one, other, true in zip(mine, theirs, exact, strict=True):
        assert one.dtype == torch.float32
        error, allowed = (one - true).norm(), (other - true).norm()
        assert 0 < error < 1.5 * allowed + 1e-6 * true.norm()


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor had that an operator made."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(leaf.numel() for leaf in tree_leaves(made) if torch.is_tensor(leaf))])
        return made


@pytest.mark.parametrize(("loss", "largest"), [(summed_cross_entropy, 8 * 50), (plain, 200 * 50)])
def test_nothing_is_larger_than_a_chunk_of_logits(loss, largest):
    """Of 200 tokens and 50 words, forward and backward; the plain loss is caught making them all."""
    given_ = drawn(200, 50, 0.1, width=2)
    with Largest() as seen:
        with_gradients(loss, *given_, **({} if loss is plain else {"chunk": 8}))
    assert seen.numbers == max(largest, 200 * 2)


def test_without_gradients_it_is_the_same_value():
    hidden_ND, weight_VD, targets_N = drawn(30, 20, 0.1)
    with torch.no_grad():
        value = summed_cross_entropy(hidden_ND, weight_VD, targets_N, chunk=2)
    assert not value.requires_grad
    torch.testing.assert_close(value, plain(hidden_ND, weight_VD, targets_N).detach())


def test_a_tied_embedding_has_both_of_its_gradients():
    """What the model's own loss gives the embedding, as words read and as words written."""
    model = build(baseline_source("delta_net"), MICRO.at(d_model=16, num_layers=1, num_heads=2), "0", hidden=8)
    ids_BT = torch.randint(1, 256, (3, 9), generator=torch.Generator().manual_seed(0))
    found = []
    for of_hidden in (False, True):
        model.zero_grad()
        if of_hidden:
            loss = model(
                ids_BT[:, :-1],
                head=lambda h, w: summed_cross_entropy(h.flatten(0, 1), w, ids_BT[:, 1:].flatten(), chunk=5),
            ).loss / (3 * 8)
        else:
            loss = model(ids_BT, labels=ids_BT).loss
        loss.backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters()} | {"loss": loss.detach()})
    assert model.lm_head.weight is model.embed.weight
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)
