"""Memory updates with parts of their own: gates, a second row or memory, a normaliser, keys that a gate makes.

What a baseline's file computes inline is taken from that file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from asiarc.core.genome import Genome
from asiarc.researcher.chosen import read_scale, recalled, write_beta, write_decay, write_read, write_turn
from asiarc.researcher.sketch import SHIFTED, Sketch, by_heads, call, constant, function

LOG_LINEAR = '''
def log_linear(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    weight_BTHL: Tensor,
    position_BT: Tensor,
    memory_BGKV: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """sum_l lambda_t^(l) S_t^(l)^T q_t, l the highest bit in which positions differ (arXiv 2506.04761).

    The memory of level l is cleared where 2^l tokens begin, written in their first half and read in their
    second. The last level weighs the whole past, the others by how much more they weigh than it does.
    """
    level_M = torch.arange(1, weight_BTHL.shape[-1] - 1, device=position_BT.device)
    place_BT1M = position_BT[..., None, None] % 2**level_M
    late_BT1M = place_BT1M >= 2 ** (level_M - 1)
    writes_BT1M = pad(~late_BT1M, (0, 1), value=True)
    cleared_BT1M = pad(place_BT1M == 0, (0, 1), value=False)
    decay_BTHM = torch.where(cleared_BT1M, -torch.inf, log_decay_BTH[..., None])
    beta_BTHM = beta_BTH[..., None].expand_as(decay_BTHM)
    v_BTHMV = torch.where(writes_BT1M[..., None], v_BTHV[..., None, :], 0)
    given = (part.flatten(2, 3) for part in (v_BTHMV, decay_BTHM, beta_BTHM))
    o_BTGV, memory_BGKV = gated_delta_rule(q_BTHK, k_BTHK, *given, scale=1.0, initial_state=memory_BGKV)
    last_BTH1 = weight_BTHL[..., -1:]
    more_BTHL = weight_BTHL - last_BTH1
    reads_BTHM = torch.cat((more_BTHL[..., 1:-1] * late_BT1M, last_BTH1), dim=-1)
    read_BTHMV = o_BTGV.unflatten(2, (-1, writes_BT1M.shape[-1]))
    own_BTH = more_BTHL[..., 0] * beta_BTH * (q_BTHK * k_BTHK).sum(-1)
    return (reads_BTHM[..., None] * read_BTHMV).sum(-2) + own_BTH[..., None] * v_BTHV, memory_BGKV
'''

ROWS = '''
def rows(first_BTHK: Tensor, second_BTHK: Tensor) -> Tensor:
    """Two rows a token, one after the other."""
    both_BT2HK = torch.stack((first_BTHK.type_as(second_BTHK), second_BTHK), dim=2)
    return both_BT2HK.flatten(1, 2)
'''

WITH_PAST = '''
def with_past(x_BTHK: Tensor, past_BPHK: Tensor | None) -> Tensor:
    """The `PAST` tokens before and these; zeros where a text begins."""
    if past_BPHK is None:
        return pad(x_BTHK, (0, 0, 0, 0, PAST, 0))
    return torch.cat((past_BPHK, x_BTHK), dim=1)
'''


def write_gated_delta_2(g: Genome, sketch: Sketch) -> None:
    """Gates a channel for what is erased and for what is written (arXiv 2605.22791)."""
    sketch.init += [f"self.{gate} = nn.Linear(d_model, d_model, bias=False)" for gate in ("erase", "write")]
    factor = "2 * " if g.negative_eigenvalues else ""
    sketch.forward += [
        f"erase_BTHK = {by_heads('torch.sigmoid(self.erase(x_BTD))', 'k')}",
        f"erased_BTHK = {factor}erase_BTHK * {sketch.k}",
        f"write_BTHV = {by_heads('torch.sigmoid(self.write(x_BTD))')}",
        "written_BTHV = (write_BTHV * v_BTHV).type_as(v_BTHV)",
    ]
    arguments = [sketch.q, sketch.k, "written_BTHV", write_decay(g, sketch), "erased_BTHK"]
    write_read(g, sketch, "dplr", [*arguments, f"scale={read_scale(g, sketch.q)}"])


def write_feedback(g: Genome, sketch: Sketch) -> None:
    """Hold the query off the key just written, before norms: by d f of it in Comba (arXiv 2506.02475), by a share in
    Momentum DeltaNet (2605.05838)."""
    share = "self.log_share_H1.exp()"
    if g.memory == "comba":
        share = "self.correction_H1 * feedback_H1"
        sketch.init += [
            "self.feedback_H1 = nn.Parameter(torch.ones(num_heads, 1))",
            "self.correction_H1 = nn.Parameter(torch.full((num_heads, 1), 0.02))",
        ]
        sketch.forward.append("feedback_H1 = torch.sigmoid(self.feedback_H1)")
    else:
        sketch.init.append("self.log_share_H1 = nn.Parameter(torch.empty(num_heads, 1).uniform_(0.1, 1).log())")
    sketch.forward.append(f"q_BTHK = (q_BTHK - {share} * k_BTHK).type_as(k_BTHK)")


def write_momentum(g: Genome, sketch: Sketch) -> None:
    """Corrections that gather in a second memory; decay and strength are tied, so that the pair does not grow
    (arXiv 2605.05838)."""
    sketch.functions.add("softplus")
    sketch.constants.append(constant("momentum_delta_net", "FASTEST"))
    sketch.init += [
        "self.gates = nn.Linear(d_model, 4 * num_heads, bias=False)",
        "first_step_H = torch.exp(torch.empty(num_heads).uniform_(math.log(1e-3), math.log(0.05)))",
        "self.step_bias_H = nn.Parameter(first_step_H.expm1().log())",
        "self.momentum_bias_H = nn.Parameter(first_step_H.expm1().log())",
        "self.log_rate_H = nn.Parameter(torch.empty(num_heads).uniform_(1, 4).log())",
        "self.log_momentum_rate_H = nn.Parameter(torch.empty(num_heads).uniform_(1, 4).log())",
        "self.log_factor_H = nn.Parameter(torch.empty(num_heads).uniform_(0.1, 4).log())",
    ]
    sketch.forward += [
        "step_BTH, momentum_BTH, share_BTH, strength_BTH = self.gates(x_BTD).chunk(4, dim=-1)",
        "eta_BTH = 1 + torch.tanh(strength_BTH / math.sqrt(x_BTD.shape[-1]))",
        "square_BTH = (eta_BTH * self.log_factor_H.exp()).square()",
        "step_BTH = self.log_rate_H.exp() * softplus(step_BTH + self.step_bias_H)",
        "log_decay_BTH = -torch.log1p(square_BTH) - step_BTH",
        "beta_BTH = torch.sigmoid(share_BTH) * square_BTH / (1 + square_BTH)",
        "momentum_BTH = self.log_momentum_rate_H.exp() * softplus(momentum_BTH + self.momentum_bias_H)",
        "log_momentum_BTH = (-momentum_BTH).clamp(min=FASTEST)",
    ]
    gates = ["log_decay_BTH", "beta_BTH", "log_momentum_BTH", "eta_BTH"]
    scale = f"scale={read_scale(g, sketch.q)}"
    write_read(g, sketch, "momentum_delta_rule", [sketch.q, sketch.k, "v_BTHV", *gates, scale])


def write_log_linear(g: Genome, sketch: Sketch) -> None:
    """A gated delta rule for each stretch of a past that is cut as a Fenwick tree cuts it (arXiv 2506.04761)."""
    name = "log_linear_gated_delta_net"
    sketch.count_positions()
    sketch.help(LOG_LINEAR)
    sketch.kernels.add("gated_delta_rule")
    sketch.functions |= {"pad", "softplus"}
    for letter, meaning in (("L", "levels"), ("M", "memories of a head"), ("G", "memories of all heads")):
        sketch.axis(letter, meaning)
    sketch.constants += [constant(name, "LEVELS"), constant(name, "WIDEST_STATE")]
    sketch.init += [
        "levels = min(LEVELS, 1 + WIDEST_STATE // head_dim)",
        "self.level = nn.Linear(d_model, num_heads * levels, bias=False)",
        "self.level_scale_HL = nn.Parameter(torch.ones(num_heads, levels))",
    ]
    beta, decay = write_beta(g, sketch), write_decay(g, sketch)
    if g.turn:
        write_turn(g, sketch)
    sketch.forward += [
        f"level_BTHL = {by_heads('self.level(x_BTD)', 'l')}",
        "weight_BTHL = softplus(self.level_scale_HL * level_BTHL)",
    ]
    if g.key_norm != "l2":
        sketch.forward.append(f"{sketch.q} = {read_scale(g, sketch.q)} * {sketch.q}")
    given = [sketch.q, sketch.k, "v_BTHV", decay, beta, "weight_BTHL", "position_BT", 'state.get("memory")']
    sketch.forward.append(call(f"{recalled(g)}, memory_BGKV", "log_linear", given))
    sketch.state["memory"] = "memory_BGKV"


def write_rwkv7(g: Genome, sketch: Sketch) -> None:
    """Erase under one key, by a rate a channel, and write under another: two rows a token (arXiv 2503.14456). What is
    erased is read before the decay, hence the decay is taken out of its key."""
    sketch.help(function("rwkv7", "low_rank"), ROWS)
    sketch.kernels.add("l2_norm")
    sketch.constants.append(constant("rwkv7", "FASTEST"))
    sketch.init += [
        "place_D = torch.arange(d_model) / d_model",
        "rank = max(1, head_dim // 2)",
        "self.decay = low_rank(d_model, rank, nn.Tanh(), -5.5 + 6 * place_D**1.8)",
        "self.rate = low_rank(d_model, rank, nn.Identity(), torch.full((d_model,), -0.19))",
        "self.removal_HK = nn.Parameter(torch.full((num_heads, head_dim), 0.71))",
        "self.replacement_HK = nn.Parameter(torch.full((num_heads, head_dim), 1.02))",
    ]
    sketch.forward += [
        f"kept_BTHK = {by_heads('torch.sigmoid(self.decay(x_BTD))', 'k')}",
        "log_decay_BTHK = FASTEST * kept_BTHK",
        f"rate_BTHK = {by_heads('torch.sigmoid(self.rate(x_BTD))', 'k')}",
        "removal_BTHK = l2_norm(k_BTHK * self.removal_HK)",
        "k_BTHK = (k_BTHK * (1 + (rate_BTHK - 1) * self.replacement_HK)).type_as(v_BTHV)",
        "keys_BRHK = rows(rate_BTHK * removal_BTHK, k_BTHK)",
        "values_BRHV = rows(torch.zeros_like(v_BTHV), v_BTHV)",
        "erased_BRHK = rows(removal_BTHK * torch.exp(-log_decay_BTHK), torch.zeros_like(k_BTHK))",
    ]
    given = [sketch.q, "keys_BRHK", "values_BRHV", "log_decay_BTHK", "erased_BRHK", "scale=1.0"]
    write_read(g, sketch, "dplr", given)


def write_mesa(g: Genome, sketch: Sketch) -> None:
    """The least-squares map of keys to values, solved by conjugate gradients at every token (arXiv 2506.05233)."""
    sketch.help(function("mesa_net", "mesa"))
    sketch.kernels.add("simple_gla")
    sketch.functions |= {"logsigmoid", "softplus"}
    sketch.constants += [constant("mesa_net", name) for name in ("STEPS", "LEAST_RIDGE", "TINY")]
    sketch.init += [
        "self.beta = nn.Linear(d_model, num_heads)",
        "self.decay = nn.Linear(d_model, num_heads)",
        "first_ridge = math.log(math.expm1(1 - LEAST_RIDGE))",
        "self.ridge_HK = nn.Parameter(torch.full((num_heads, head_dim), first_ridge))",
    ]
    sketch.forward += [
        "log_decay_BTH, beta_BTH = logsigmoid(self.decay(x_BTD)), torch.sigmoid(self.beta(x_BTD))",
        "ridge_HK = LEAST_RIDGE + softplus(self.ridge_HK)",
    ]
    given = [sketch.q, sketch.k, "v_BTHV", "log_decay_BTH", "beta_BTH", "ridge_HK", "state"]
    sketch.forward.append(call(f"{recalled(g)}, memories", "mesa", given))
    sketch.state |= {name: f'memories["{name}"]' for name in ("keys", "values")}


def write_tied_keys(sketch: Sketch) -> None:
    """Keys that are what the forget gate gives up, above a bound that each channel learns (arXiv 2404.07904)."""
    sketch.init.append("self.bound_HK = nn.Parameter(torch.zeros(num_heads, head_dim))")
    sketch.forward += [
        "k_BTHK = (1 - torch.sigmoid(self.bound_HK)) * torch.sigmoid(-k_BTHK)",
        "log_decay_BTHK = torch.log1p(-k_BTHK)",
    ]


def write_hgrn2(g: Genome, sketch: Sketch) -> None:
    """The memory under the decay of its keys."""
    write_read(g, sketch, "gla", [sketch.q, sketch.k, "v_BTHV", "log_decay_BTHK", "scale=1.0"])


def write_mlstm(g: Genome, sketch: Sketch) -> None:
    """Exponential input gates, stabilised, and what is read over how much was written (arXiv 2405.04517)."""
    sketch.help(function("mlstm", "peaks"), function("mlstm", "mlstm"))
    sketch.kernels.add("simple_gla")
    sketch.functions |= {"logsigmoid", "pad"}
    sketch.axis("S", "the tokens and the one before")
    sketch.axis("E", "a value and a one (V + 1)")
    sketch.init += [
        "self.gates = nn.Linear(d_model, 2 * num_heads, bias=False)",
        "self.input_bias_H = nn.Parameter(0.1 * torch.randn(num_heads))",
        "self.forget_bias_H = nn.Parameter(torch.linspace(3, 6, num_heads))",
    ]
    sketch.forward += [
        "input_BTH, forget_BTH = self.gates(x_BTD).double().chunk(2, dim=-1)",
        "log_forget_BTH = logsigmoid(forget_BTH + self.forget_bias_H)",
    ]
    given = [sketch.q, sketch.k, "v_BTHV", "input_BTH + self.input_bias_H", "log_forget_BTH", "state"]
    sketch.forward.append(call(f"{recalled(g)}, memories", "mlstm", given))
    sketch.state |= {name: f'memories["{name}"]' for name in ("memory", "peak")}


def write_trapezoidal(g: Genome, sketch: Sketch) -> None:
    """A token enters as it comes and, by the share that the next one chooses, a token later (arXiv 2603.15569).

    The memory holds what earlier tokens wrote; the newest is read beside it.
    """
    sketch.help(SHIFTED)
    sketch.init.append("self.trapezoid = nn.Linear(d_model, num_heads, bias=False)")
    decay = write_decay(g, sketch)
    if g.turn:
        write_turn(g, sketch)
    sketch.forward += [
        "share_BTH = torch.sigmoid(self.trapezoid(x_BTD))",
        "now_BTH1 = (share_BTH * step_BTH)[..., None]",
        "later_BTH1 = ((1 - share_BTH) * step_BTH)[..., None]",
        f'twice_BTH1 = {decay}.exp()[..., None] * (shifted(now_BTH1, state.get("weight")) + later_BTH1)',
        'written_BTHV = (twice_BTH1 * shifted(v_BTHV, state.get("value"))).type_as(v_BTHV)',
    ]
    scale = read_scale(g, sketch.q)
    read = f"{scale} * {sketch.q}" if scale not in ("", "1.0") else sketch.q
    given = [read, f'shifted({sketch.k}, state.get("key"))', "written_BTHV", decay, "scale=1.0"]
    write_read(g, sketch, "simple_gla", given)
    result = recalled(g)
    sketch.forward += [
        f"own_BTH1 = now_BTH1 * ({read} * {sketch.k}).sum(-1, keepdim=True)",
        f"{result} = {result} + own_BTH1 * v_BTHV",
    ]
    last = {"key": sketch.k, "value": "v_BTHV", "weight": "now_BTH1"}
    sketch.state |= {name: f"{value}[:, -1]" for name, value in last.items()}


def write_attention(g: Genome, sketch: Sketch) -> None:
    """The last tokens themselves as memory (arXiv 2004.05150, sec. 3.1)."""
    write_window(g, sketch, (sketch.q, sketch.k), recalled(g), ("keys", "values"))


def write_window(g: Genome, sketch: Sketch, reads: tuple[str, str], result: str, kept: tuple[str, str]) -> None:
    """Attention over the last `WINDOW` tokens by queries and keys [B, T, H, K], whose past the state keeps."""
    sketch.count_positions()
    sketch.help(WITH_PAST, function("sliding_window_attention", "window_attention"))
    sketch.functions |= {"pad", "scaled_dot_product_attention"}
    sketch.constants += [f"WINDOW = {g.window}", "PAST = WINDOW - 1"]
    seen = {"S": "past and present tokens", "P": "past tokens", "N": "blocks", "L": "tokens of a block"}
    for letter, meaning in seen.items():
        sketch.axis(letter, meaning)
    (q, k), (keys, past) = reads, kept
    sketch.forward += [
        f'{keys}_BSHK = with_past({k}, state.get("{keys}"))',
        f'{past}_BSHV = with_past(v_BTHV, state.get("{past}"))',
        f"parts = (part.transpose(1, 2) for part in ({q}, {keys}_BSHK, {past}_BSHV))",
        f'{result} = window_attention(*parts, state["position"]).transpose(1, 2)',
    ]
    sketch.state |= {keys: f"{keys}_BSHK[:, -PAST:]", past: f"{past}_BSHV[:, -PAST:]"}


WRITERS: Mapping[str, Callable[[Genome, Sketch], None]] = {
    "gated_delta_2": write_gated_delta_2,
    "momentum_delta": write_momentum,
    "log_linear": write_log_linear,
    "rwkv7": write_rwkv7,
    "mesa": write_mesa,
    "hgrn2": write_hgrn2,
    "mlstm": write_mlstm,
    "trapezoidal": write_trapezoidal,
    "window": write_attention,
}
