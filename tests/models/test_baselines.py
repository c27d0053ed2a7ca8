"""Each baseline against its paper's recurrence, token by token in float64, on the module's own weights.

The recurrences below share no code with the baselines or the kernels: plain loops over tokens, one matrix
a head.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.candidate import load_mixer
from asiarc.core.errors import CandidateError
from asiarc.models.baselines import BASELINE_NAMES, PANEL_NAMES, QUADRATIC, baseline_source, mixer_size

D, H = 32, 2
K = D // H
FARTHER = {"sliding_window_attention": 100, "log_linear_gated_delta_net": 150}  # than a window, or than two blocks


def build(name, dtype=torch.float64):
    torch.manual_seed(0)
    mixer = load_mixer(baseline_source(name))(D, H).to(dtype)
    with torch.no_grad():
        for weight in mixer.parameters():  # away from the constants that some start at
            weight.add_(0.1 * torch.randn_like(weight))
    return mixer


def inputs(tokens, batch=2):
    return torch.randn(batch, tokens, D, dtype=torch.float64, generator=torch.Generator().manual_seed(tokens))


def silu(x):
    return x / (1 + torch.exp(-x))


def unit(x):
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def convolve(x_BTC, weight_CW):
    """y_t = silu(sum_w weight_{W-1-w} x_{t-w}), one token and tap at a time."""
    y = torch.zeros_like(x_BTC)
    taps = weight_CW.shape[1]
    for t in range(x_BTC.shape[1]):
        for w in range(min(taps, t + 1)):
            y[:, t] += weight_CW[:, taps - 1 - w] * x_BTC[:, t - w]
    return silu(y)


def heads(x_BTC):
    return x_BTC.unflatten(-1, (-1, K))


def recall(q, k, v, decay=None, beta=None):
    """S <- decay S; then S + beta k (v - S^T k)^T, or S + k v^T; o = S^T q."""
    batch, tokens, n_heads, _ = v.shape
    o = torch.zeros_like(v)
    for b in range(batch):
        for h in range(n_heads):
            S = torch.zeros(K, K, dtype=v.dtype)
            for t in range(tokens):
                if decay is not None:
                    S = torch.diag(decay[b, t, h] * torch.ones(K, dtype=v.dtype)) @ S
                key, value = k[b, t, h], v[b, t, h]
                if beta is None:
                    S = S + torch.outer(key, value)
                else:
                    S = S + beta[b, t, h] * torch.outer(key, value - key @ S)
                o[b, t, h] = q[b, t, h] @ S
    return o


def rms(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turn(x_BTHK):
    """Each pair (i, i + K/2) as a complex number, times exp(i t 10000^(-2i/K))."""
    pair = torch.complex(x_BTHK[..., : K // 2], x_BTHK[..., K // 2 :])
    rate = torch.tensor([10_000.0 ** (-2 * i / K) for i in range(K // 2)], dtype=torch.float64)
    for t in range(x_BTHK.shape[1]):
        pair[:, t] = pair[:, t] * torch.exp(1j * t * rate)
    return torch.cat((pair.real, pair.imag), dim=-1)


def convolved(m, x):
    return [heads(part) for part in convolve(x @ m.qkv.weight.T, m.conv_CW).split((D, D, D), dim=-1)]


def projected(m, x):
    return [heads(part) for part in (x @ m.qkv.weight.T).split((D, D, D), dim=-1)]


def softplus(x):
    return torch.log1p(torch.exp(x))


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def linear_attention(m, x):
    q, k, v = projected(m, x)

    def phi(a):
        return torch.where(a > 0, a + 1, torch.exp(a))

    return rms(recall(phi(q) / K**0.5, phi(k), v), m.norm.weight)


def retnet(m, x):
    q, k, v = projected(m, x)
    decay = torch.tensor([1 - 2.0 ** (-5 - h) for h in range(H)], dtype=x.dtype).expand(*x.shape[:2], H)
    return rms(recall(turn(q) / K**0.5, turn(k), v, decay), m.norm_weight_V) * silu(heads(x @ m.gate.weight.T))


def gla(m, x):
    q, k, v = projected(m, x)
    raw = x @ m.decay[0].weight.T @ m.decay[1].weight.T + m.decay_bias_D
    o = recall(q / K**0.5, k, v, heads(sigmoid(raw) ** (1 / 16)))
    return rms(o, m.norm_weight_V) * silu(heads(x @ m.gate.weight.T))


def mamba2(m, x):
    mixed = convolve(x @ m.qkv.weight.T, m.conv_CW)
    q, k = (mixed[:, :, None, a : a + K].expand(-1, -1, H, -1) for a in (0, K))
    v = heads(mixed[..., 2 * K :])
    step = softplus(x @ m.step.weight.T + m.step_bias_H)
    o = recall(q, k, step[..., None] * v, torch.exp(-torch.exp(m.log_rate_H) * step)) + m.skip_H1 * v
    return rms(o, m.norm_weight_V) * silu(heads(x @ m.gate.weight.T))


def delta_net(m, x):
    q, k, v = convolved(m, x)
    return rms(recall(unit(q), unit(k), v, beta=sigmoid(x @ m.beta.weight.T)), m.norm.weight)


def gated_delta_net(m, x):
    q, k, v = convolved(m, x)
    decay = torch.exp(-torch.exp(m.log_rate_H) * softplus(x @ m.step.weight.T + m.step_bias_H))
    o = recall(unit(q), unit(k), v, decay, sigmoid(x @ m.beta.weight.T))
    return rms(o, m.norm_weight_V) * silu(heads(x @ m.gate.weight.T))


def kda(m, x):
    q, k, v = convolved(m, x)
    step = softplus(x @ m.step[0].weight.T @ m.step[1].weight.T + m.step_bias_D)
    decay = torch.exp(-torch.exp(m.log_rate_H1) * heads(step))
    o = recall(unit(q), unit(k), v, decay, sigmoid(x @ m.beta.weight.T))
    return rms(o, m.norm.weight) * sigmoid(heads(x @ m.gate[0].weight.T @ m.gate[1].weight.T))


def softmax_attention(m, x):
    q, k, v = convolved(m, x)
    q, k = turn(q), turn(k)
    o = torch.zeros_like(v)
    for t in range(x.shape[1]):
        scores = torch.exp((q[:, t, None] * k[:, : t + 1]).sum(-1) / K**0.5)
        o[:, t] = (scores[..., None] * v[:, : t + 1]).sum(1) / scores.sum(1)[..., None]
    return o


def by_token(step, *tensors):
    """o [B, T, H, V] of a step (memory or None, the tensors at batch, token and head) -> (memory, o)."""
    batch, tokens = tensors[0].shape[:2]
    o = torch.zeros(batch, tokens, H, K, dtype=tensors[0].dtype)
    for b in range(batch):
        for h in range(H):
            memory = None
            for t in range(tokens):
                memory, o[b, t, h] = step(memory, *(x[b, t, h] for x in tensors))
    return o


def nothing():
    return torch.zeros(K, K, dtype=torch.float64)


def gated_delta_product(m, x):
    parts = [heads(part) for part in convolve(x @ m.qkv.weight.T, m.conv_CW).split(D, dim=-1)]
    q, keys, values = unit(parts[0]), [unit(k) for k in parts[1:3]], parts[3:]
    beta = 2 * sigmoid(x @ m.beta.weight.T)
    decay = torch.exp(-torch.exp(m.log_rate_H) * softplus(x @ m.step.weight.T + m.step_bias_H))

    def step(S, q, decay, k1, k2, v1, v2, b1, b2):
        S = decay * (nothing() if S is None else S)
        for k, v, b in ((k1, v1, b1), (k2, v2, b2)):
            S = (torch.eye(K, dtype=torch.float64) - b * torch.outer(k, k)) @ S + b * torch.outer(k, v)
        return S, q @ S

    o = by_token(step, q, decay, *keys, *values, beta[..., :H], beta[..., H:])
    return rms(o, m.norm_weight_V) * silu(heads(x @ m.gate.weight.T))


def comba(m, x):
    q, k, v = convolved(m, x)
    feedback = sigmoid(m.feedback_H1)
    decay = torch.exp(-torch.exp(m.log_rate_H) * softplus(x @ m.step.weight.T + m.step_bias_H))
    q, k = unit(q - m.correction_H1 * feedback * k), unit(k)

    def step(S, q, k, v, p, decay, beta):
        S = decay * (nothing() if S is None else S)
        S = S + beta * torch.outer(k, v - p @ S)
        return S, q @ S

    o = by_token(step, q, k, v, feedback * k, decay, sigmoid(x @ m.beta.weight.T))
    return rms(o, m.norm.weight) * sigmoid(heads(x @ m.gate.weight.T))


def rwkv7(m, x):
    before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)
    xr, xk, xv, xw, xa, xg = (x + (before - x) * mix for mix in m.mix_6D)
    r, k, v = heads(xr @ m.r.weight.T), xk @ m.k.weight.T, heads(xv @ m.v.weight.T)
    raw = torch.tanh(xw @ m.decay[0].weight.T) @ m.decay[2].weight.T + m.decay[2].bias
    w = heads(torch.exp(-torch.exp(torch.tensor(-0.5)).double() * sigmoid(raw)))
    a = sigmoid(xa @ m.rate[0].weight.T @ m.rate[2].weight.T + m.rate[2].bias)
    gate = sigmoid(xg @ m.gate[0].weight.T) @ m.gate[2].weight.T
    kappa = unit(heads(k * m.removal_D))
    k = heads(k * (1 + (a - 1) * m.replacement_D))

    def step(S, r, w, k, v, kappa, a):
        S = nothing() if S is None else S
        S = (torch.diag(w) - torch.outer(a * kappa, kappa)) @ S + torch.outer(k, v)
        return S, r @ S

    o = by_token(step, r, w, k, v, kappa, heads(a))
    centred = o - o.mean(-1, keepdim=True)
    o = centred / (centred.square().mean(-1, keepdim=True) + 1e-5 * K).sqrt()
    o = o * heads(m.norm_weight_D) + heads(m.norm_bias_D)
    return (o + (r * k * m.bonus_HK).sum(-1, keepdim=True) * v) * heads(gate)


def momentum_delta_net(m, x):
    q, k, v = convolved(m, x)
    q, k = unit(q - torch.exp(m.log_share_H1) * k), unit(k)
    step_, momentum, share, strength = (x @ m.gates.weight.T).split(H, dim=-1)
    eta = 1 + torch.tanh(strength / D**0.5)
    theta = torch.arctan(eta * torch.exp(m.log_factor_H))
    alpha = torch.cos(theta) ** 2 * torch.exp(-torch.exp(m.log_rate_H) * softplus(step_ + m.step_bias_H))
    mu = torch.exp((-torch.exp(m.log_momentum_rate_H) * softplus(momentum + m.momentum_bias_H)).clamp(min=-2))

    def step(memory, q, k, v, alpha, mu, beta, eta):
        S, M = memory or (nothing(), nothing())
        M = mu * M - eta * torch.outer(k, v - alpha * k @ S)
        S = alpha * S - beta * M
        return (S, M), q @ S

    o = by_token(step, q, k, v, alpha, mu, torch.sin(theta) ** 2 * sigmoid(share), eta)
    return rms(o, m.norm_weight_V) * silu(heads(x @ m.gate.weight.T))


def mamba3(m, x):
    mixed, raw = x @ m.qkv.weight.T, x @ m.steps.weight.T
    dt = softplus(raw[..., :H] + m.step_bias_H)
    alpha = torch.exp(-softplus(raw[..., H : 2 * H]) * dt)
    trapezoid = sigmoid(raw[..., 2 * H : 3 * H])
    turn = torch.pi * torch.tanh(raw[..., None, 3 * H :]) * dt[..., None]
    F = turn.shape[-1]
    angle = torch.stack([turn[:, : t + 1].sum(1) for t in range(x.shape[1])], dim=1)

    def turned(a_BTHK):
        pair = torch.complex(a_BTHK[..., :F], a_BTHK[..., F : 2 * F]) * torch.exp(1j * angle)
        return torch.cat((pair.real, pair.imag, a_BTHK[..., 2 * F :]), dim=-1)

    def normed(a, norm):
        return a / (a.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight

    c = turned(normed(mixed[..., :K], m.q_norm)[:, :, None] + m.q_bias_HK)
    b = turned(normed(mixed[..., K : 2 * K], m.k_norm)[:, :, None] + m.k_bias_HK)
    v = heads(mixed[..., 2 * K :])

    def step(memory, c, b, v, alpha, dt, share):
        h, before = memory or (nothing(), nothing())
        now = torch.outer(b, v)
        h = alpha * h + (1 - share) * dt * alpha * before + share * dt * now
        return (h, now), c @ h

    o = by_token(step, c, b, v, alpha, dt, trapezoid) + m.skip_H1 * v
    return o * silu(heads(x @ m.gate.weight.T))


def gated_delta_net_2(m, x):
    q, k, v = convolved(m, x)
    step_ = softplus(x @ m.step[0].weight.T @ m.step[1].weight.T + m.step_bias_D)
    decay = torch.exp(-torch.exp(m.log_rate_H1) * heads(step_))
    erase, write = (heads(sigmoid(x @ gate.weight.T)) for gate in (m.erase, m.write))

    def step(S, q, k, v, decay, b, w):
        S = torch.diag(decay) @ (nothing() if S is None else S)
        S = (torch.eye(K, dtype=torch.float64) - torch.outer(k, b * k)) @ S + torch.outer(k, w * v)
        return S, q @ S

    o = by_token(step, unit(q), unit(k), v, decay, erase, write)
    gate = x @ m.gate[0].weight.T @ m.gate[1].weight.T + m.gate[1].bias
    return rms(o, m.norm.weight) * sigmoid(heads(gate))


def by_heads(x, part):
    return heads(x @ part.weight.T + (0 if part.bias is None else part.bias))


def hgrn2(m, x):
    q, f, v = (heads(part) for part in (x @ m.qfv.weight.T).split((D, D, D), dim=-1))
    bound = heads(sigmoid(m.bound_D))
    forget = bound + (1 - bound) * sigmoid(f)
    return heads(rms(recall(silu(q), 1 - forget, v, forget).flatten(-2), m.norm.weight))


def mlstm(m, x):
    """As it is written, without the stabiliser."""
    local = convolve(x, m.conv_DW)
    q, k = (heads(part) for part in (local @ m.qk.weight.T).split((D, D), dim=-1))
    v = by_heads(x, m.v)
    gates = x @ m.gates.weight.T
    written, forget = torch.exp(gates[..., :H] + m.input_bias_H), sigmoid(gates[..., H:] + m.forget_bias_H)
    weight = written[..., None] * k / K**0.5
    read, total = recall(q, weight, v, forget), recall(q, weight, torch.ones_like(v), forget)
    h = rms(read / torch.maximum(total.abs(), torch.ones_like(total)), m.norm.weight)
    return (h + heads(m.skip_D * local)) * sigmoid(by_heads(x, m.gate))


def mesa_net(m, x):
    """Eight steps of conjugate gradients on the matrix itself."""
    q, k = (unit(heads(part)) for part in convolve(x @ m.qk.weight.T, m.conv_CW).split((D, D), dim=-1))
    v = by_heads(x, m.v)
    decay, beta = (sigmoid(x @ gate.weight.T + gate.bias) for gate in (m.decay, m.beta))
    ridge = torch.diag_embed(0.25 + softplus(m.ridge_HK))
    o, A, G = torch.zeros_like(v), torch.zeros_like(ridge), torch.zeros_like(ridge)
    for t in range(x.shape[1]):
        write = beta[:, t, :, None, None] * k[:, t, ..., None]
        A = decay[:, t, :, None, None] * A + write * k[:, t, :, None]
        G = decay[:, t, :, None, None] * G + write * v[:, t, :, None]
        o[:, t] = torch.einsum("bhk,bhkv->bhv", conjugate_gradients(A + ridge, q[:, t], 8), G)
    return rms(o, m.norm.weight)


def conjugate_gradients(A, b, steps):
    x, r, p = torch.zeros_like(b), b, b
    for _ in range(steps):
        Ap = torch.einsum("...ij,...j->...i", A, p)
        step = (r * r).sum(-1, keepdim=True) / ((p * Ap).sum(-1, keepdim=True) + 1e-5)
        x, r, last = x + step * p, r - step * Ap, r
        p = r + p * (r * r).sum(-1, keepdim=True) / ((last * last).sum(-1, keepdim=True) + 1e-5)
    return x


def log_linear_gated_delta_net(m, x):
    """What each token wrote is carried on by itself, and read with the weight of its level."""
    q, k, v = convolved(m, x)
    q, k = unit(q), unit(k)
    decay = torch.exp(-torch.exp(m.log_rate_H) * softplus(x @ m.step.weight.T + m.step_bias_H))
    beta, L = sigmoid(x @ m.beta.weight.T), m.level_scale_HL.shape[1]
    weight = softplus(m.level_scale_HL * (x @ m.level.weight.T).unflatten(-1, (H, L)))
    o, written = torch.zeros_like(v), v.new_zeros(*v[:, 0].shape[:2], 0, K, K)
    for t in range(x.shape[1]):
        key = k[:, t, :, None]
        found = torch.einsum("bhsk,bhskv->bhsv", key.expand(-1, -1, t, -1), written)
        kept = written - beta[:, t, :, None, None, None] * key[..., None] * found[..., None, :]
        new = beta[:, t, :, None, None] * k[:, t, ..., None] * v[:, t, :, None]
        written = torch.cat((decay[:, t, :, None, None, None] * kept, new[:, :, None]), dim=2)
        levels = [min((t ^ s).bit_length(), L - 1) for s in range(t + 1)]
        o[:, t] = torch.einsum("bhs,bhk,bhskv->bhv", weight[:, t][..., levels], q[:, t], written)
    return rms(o, m.norm_weight_V) * silu(heads(x @ m.gate.weight.T))


def sliding_window_attention(m, x):
    q, k, v = convolved(m, x)
    q, k = turn(q), turn(k)
    o = torch.zeros_like(v)
    for t in range(x.shape[1]):
        window = slice(max(0, t - 63), t + 1)
        scores = torch.exp((q[:, t, None] * k[:, window]).sum(-1) / K**0.5)
        o[:, t] = (scores[..., None] * v[:, window]).sum(1) / scores.sum(1)[..., None]
    return o


def forgetting_attention(m, x):
    def before(part):
        return torch.cat((torch.zeros_like(part[:, :1]), part[:, :-1]), dim=1)

    k, v = (heads(part) for part in (x @ m.kv.weight.T).split((D, D), dim=-1))
    share_k, share_v = sigmoid(x @ m.shift.weight.T).unflatten(-1, (2, H, 1)).unbind(2)
    k, v = share_k * before(k) + (1 - share_k) * k, share_v * before(v) + (1 - share_v) * v
    q, k = rms(by_heads(x, m.q), m.q_norm_HK), rms(k, m.k_norm_HK)
    forget = sigmoid(x @ m.forget.weight.T + m.forget.bias)
    o = torch.zeros_like(v)
    for t in range(x.shape[1]):
        scores = torch.exp((q[:, t, None] * k[:, : t + 1]).sum(-1) / K**0.5)
        for s in range(t):
            scores[:, s] *= forget[:, s + 1 : t + 1].prod(1)
        o[:, t] = (scores[..., None] * v[:, : t + 1]).sum(1) / scores.sum(1)[..., None]
    return rms(o, m.norm_HK) * sigmoid(heads(x @ m.gate.weight.T))


RECURRENCES = {
    function.__name__: function
    for function in (
        linear_attention, retnet, gla, mamba2, delta_net, gated_delta_net, kda, softmax_attention,
        gated_delta_product, comba, rwkv7, momentum_delta_net, mamba3, gated_delta_net_2,
        hgrn2, mlstm, mesa_net, log_linear_gated_delta_net, sliding_window_attention, forgetting_attention,
    )
}  # fmt: skip


def test_every_baseline_has_a_recurrence():
    assert set(RECURRENCES) == set(PANEL_NAMES)


@pytest.mark.parametrize("name", PANEL_NAMES)
def test_equals_its_recurrence(name):
    mixer, x = build(name), inputs(FARTHER.get(name, 37))
    with torch.no_grad():
        expected = RECURRENCES[name](mixer, x).flatten(-2) @ mixer.out.weight.T
        y, _ = mixer(x)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", PANEL_NAMES)
def test_a_wrong_weight_is_seen(name):
    """The comparison above has teeth: it notices every parameter being off by a little."""
    mixer, x = build(name), inputs(9)
    with torch.no_grad():
        expected = RECURRENCES[name](mixer, x).flatten(-2) @ mixer.out.weight.T
        for parameter in mixer.parameters():
            kept = parameter.clone()
            parameter.add_(
                0.1 * torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            )
            assert not torch.allclose(mixer(x)[0], expected, rtol=1e-6, atol=1e-8)
            parameter.copy_(kept)


@pytest.mark.parametrize("name", PANEL_NAMES)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(1, 69), max_size=4, unique=True))
def test_state_hands_over_at_any_split(name, cuts):
    mixer, x = build(name), inputs(70)
    with torch.no_grad():
        whole, _ = mixer(x)
        state, pieces = None, []
        for piece in torch.tensor_split(x, sorted(cuts), dim=1):
            y, state = mixer(piece, state)
            pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", PANEL_NAMES)
def test_decodes_one_token_at_a_time(name):
    mixer, x = build(name, torch.float32), inputs(12).float()
    with torch.no_grad():
        whole, _ = mixer(x)
        state, rows = None, []
        for t in range(x.shape[1]):
            y, state = mixer(x[:, t : t + 1], state)
            rows.append(y)
    torch.testing.assert_close(torch.cat(rows, dim=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PANEL_NAMES)
def test_gradient_reaches_every_parameter(name):
    mixer = build(name)
    y, _ = mixer(inputs(16))
    y.square().mean().backward()
    for label, parameter in mixer.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.isfinite().all(), label
        assert parameter.grad.abs().sum() > 0, label


@pytest.mark.parametrize("name", PANEL_NAMES)
def test_every_state_tensor_leads_with_the_batch(name):
    """Beam search and batched generation pick rows of the state."""
    _, state = build(name)(inputs(5, batch=3))
    assert {tensor.shape[0] for tensor in state.values()} == {3}


@pytest.mark.parametrize("name", sorted(set(PANEL_NAMES) - QUADRATIC))
def test_the_state_of_a_linear_baseline_does_not_grow(name):
    mixer = build(name)
    sizes = [sum(tensor.numel() for tensor in mixer(inputs(tokens))[1].values()) for tokens in (5, 50)]
    assert sizes[0] == sizes[1]


def test_sizes_stay_within_a_small_factor():
    counts = {name: sum(p.numel() for p in build(name).parameters()) for name in PANEL_NAMES}
    of_the_eight = [counts[name] for name in BASELINE_NAMES]
    assert max(of_the_eight) < 1.7 * min(of_the_eight) and max(counts.values()) < 2.2 * min(counts.values())


def test_an_unknown_baseline_is_answered_with_the_nearest():
    with pytest.raises(CandidateError, match="Did you mean 'delta_net'"):
        baseline_source("deltanet")


def test_reading_a_baseline_imports_no_torch():
    code = (
        "import sys; from asiarc.models.baselines import baseline_source;"
        "baseline_source('kda'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", PANEL_NAMES)
def test_the_size_by_arithmetic_is_the_size(name):
    for d_model, num_heads in ((32, 2), (48, 1), (96, 4), (60, 3)):
        made = load_mixer(baseline_source(name))(d_model, num_heads)
        assert mixer_size(name, d_model, num_heads) == sum(p.numel() for p in made.parameters()), (d_model, num_heads)
    assert mixer_size("mine", 32, 2) is None
