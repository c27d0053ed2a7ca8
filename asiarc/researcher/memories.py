"""The memory updates: what each writes between queries, keys and values and what is recalled.

A rule that an operator computes alone is a row of `KERNELS`; what else a rule needs (gates of its own, a second row, a
normaliser) is written by its function in `WRITERS`. What a baseline's file computes inline is taken from that file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from asiarc.core.genome import DELTA, GATED, PER_CHANNEL, PRODUCT, Genome
from asiarc.researcher.sketch import SHIFTED, Sketch, by_heads, call, constant, function, low_rank

KERNELS = {
    "additive": "linear_attention",
    "retention": "retention",
    "ssd": "simple_gla",
    "gla": "gla",
    "delta": "delta_rule",
    "gated_delta": "gated_delta_rule",
    "kda": "kda",
    "delta_product": "delta_product",
    "gated_delta_product": "delta_product",
    "comba": "gated_delta_rule",
}

RECURRENCES = {
    "additive": "S_t = S_{t-1} + k_t v_t^T",
    "retention": "S_t = gamma_h S_{t-1} + k_t v_t^T",
    "ssd": "S_t = alpha_t S_{t-1} + k_t v_t^T",
    "gla": "S_t = diag(alpha_t) S_{t-1} + k_t v_t^T",
    "delta": "S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T",
    "gated_delta": "S_t = alpha_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T",
    "kda": "S_t = (I - beta_t k_t k_t^T) diag(alpha_t) S_{t-1} + beta_t k_t v_t^T",
    "delta_product": "S <- (I - beta_r k_r k_r^T) S + beta_r k_r v_r^T for each row r of a token",
    "gated_delta_product": "S <- alpha_t S, then (I - beta_r k_r k_r^T) S + beta_r k_r v_r^T for each row r",
    "gated_delta_2": "S_t = (I - k_t (b_t * k_t)^T) diag(alpha_t) S_{t-1} + k_t (w_t * v_t)^T",
    "comba": "S_t = S' + beta_t k_t (v_t - f S'^T k_t)^T with S' = alpha_t S_{t-1}",
    "momentum_delta": "N_t = mu_t N_{t-1} + eta_t k_t (v_t - S'^T k_t)^T, S_t = S' + beta_t N_t",
    "log_linear": "S_t^(l) by the gated delta rule for each stretch l of the past",
    "rwkv7": "S_t = (diag(w_t) - (a_t * kappa_t) kappa_t^T) S_{t-1} + k_t v_t^T",
    "mesa": "G_t^T (H_t + Lambda)^-1, H_t and G_t the fading sums of beta k k^T and beta k v^T",
    "hgrn2": "S_t = diag(f_t) S_{t-1} + (1 - f_t) v_t^T",
    "mlstm": "C_t = f_t C_{t-1} + i_t k_t v_t^T over the same sum of i_t k_t",
    "trapezoidal": "S_t = a_t (S_{t-1} + (1 - l_t) dt_t k_{t-1} v_{t-1}^T) + l_t dt_t k_t v_t^T",
    "window": "the last tokens' values, weighed by softmax_s(q_t . k_s / sqrt(K))",
}

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


def recalled(g: Genome) -> str:
    """What is read of the memory: the output, or one of the paths."""
    return "o_BTHV" if len(g.paths()) == 1 else "recalled_BTHV"


def values(g: Genome) -> str:
    """What the values are called: a row a step where a token has several."""
    return "v_BRHV" if g.memory in PRODUCT else "v_BTHV"


def write_memory(g: Genome, sketch: Sketch) -> None:
    """The memory update, read by the query."""
    WRITERS.get(g.memory, write_operator)(g, sketch)


def write_read(g: Genome, sketch: Sketch, kernel: str, arguments: Sequence[str], name: str = "memory") -> None:
    """Call an operator, which begins with the state's memory and gives the next one."""
    sketch.kernels.add(kernel)
    given = [*arguments, f'initial_state=state.get("{name}")']
    sketch.forward.append(call(f"{recalled(g)}, memory_BHKV", kernel, given))
    sketch.state[name] = "memory_BHKV"


def write_operator(g: Genome, sketch: Sketch) -> None:
    """A rule that an operator computes alone."""
    arguments = [sketch.q, sketch.k, values(g)]
    if g.memory in DELTA:
        beta = write_beta(g, sketch)
    if g.memory in GATED:
        decay = write_decay(g, sketch)
        arguments.append(f"g={decay}" if g.memory in PRODUCT else decay)
    if g.turn:
        write_turn(g, sketch)
        arguments[:2] = sketch.q, sketch.k
    if g.coupled_input:
        sketch.forward.append("written_BTHV = (v_BTHV * step_BTH[..., None]).type_as(v_BTHV)")
        arguments[2] = "written_BTHV"
    if g.memory == "comba":
        sketch.forward.append("written_BTHV = (v_BTHV / feedback_H1).type_as(v_BTHV)")
        arguments[2] = "written_BTHV"
    if g.memory in DELTA:
        arguments.insert(3 if g.memory in PRODUCT else len(arguments), beta)
    if scale := read_scale(g, sketch.q):
        arguments.append(f"scale={scale}")
    if g.time_scales == "two":
        write_twofold(g, sketch, arguments)
    else:
        write_read(g, sketch, KERNELS[g.memory], arguments)


def read_scale(g: Genome, query: str) -> str:
    """The factor on what is read, so that a matching key returns its value at about full size; empty is 1 / sqrt(K).

    It matters where the memory is one of several paths; before a norm a head it cancels.
    """
    if g.key_norm == "l1" or g.features == "softmax":
        return f"{query}.shape[-1]"
    return "1.0" if g.key_norm == "l2" or g.coupled_input else ""


# --- what the token chooses -------------------------------------------------------------------------------------------


def write_beta(g: Genome, sketch: Sketch) -> str:
    """The strength of a write; returns its name."""
    beta, outputs, pattern = "beta_BTH", "num_heads", "self.beta(x_BTD)"
    if g.memory in PRODUCT:
        beta, outputs = "beta_BRH", "STEPS * num_heads"
        pattern = 'rearrange(self.beta(x_BTD), "b t (n h) -> b (t n) h", n=STEPS)'
    sketch.init.append(f"self.beta = nn.Linear(d_model, {outputs}, bias=False)")
    factor = "2 * " if g.negative_eigenvalues else ""
    weaker = " * feedback_H1[:, 0]" if g.memory == "comba" else ""
    sketch.forward.append(f"{beta} = {factor}torch.sigmoid({pattern}){weaker}")
    return beta


def write_decay(g: Genome, sketch: Sketch) -> str:
    """The logarithm of the decay that the token chooses; returns its name."""
    axes = "D" if g.memory in PER_CHANNEL else "H"
    result = write_sigmoid_decay(g, sketch, axes) if g.decay == "sigmoid" else write_step(g, sketch, axes)
    if g.time_scales == "heads":
        sketch.constants.append("SLOWEST = 16.0")
        heads = "torch.linspace(0, -math.log(SLOWEST), self.num_heads)"
        sketch.forward += [
            f"slower_H = {heads}.to({result}).exp()",
            f"{result} = {result} * slower_H{'[:, None]' if axes == 'D' else ''}",
        ]
    return result


def write_sigmoid_decay(g: Genome, sketch: Sketch, axes: str) -> str:
    """log sigmoid(x w + b) / 16 (arXiv 2312.06635, sec. 4.4)."""
    width = "d_model" if axes == "D" else "num_heads"
    plain = f"self.decay = nn.Linear(d_model, {width}, bias=False)"
    sketch.init.append(low_rank("self.decay", "RANK") if axes == "D" else plain)
    sketch.functions.add("logsigmoid")
    sketch.constants += ["RANK = 16"] * (axes == "D") + ["TEMPERATURE = 16.0"]
    sketch.init.append(f"self.decay_bias_{axes} = nn.Parameter(torch.zeros({width}))")
    value = f"logsigmoid(self.decay(x_BTD) + self.decay_bias_{axes}) / TEMPERATURE"
    sketch.forward.append(f"log_decay_BT{axes} = {value}")
    if axes == "H":
        return "log_decay_BTH"
    sketch.forward.append(f"log_decay_BTHK = {by_heads('log_decay_BTD', 'k')}")
    return "log_decay_BTHK"


def write_step(g: Genome, sketch: Sketch, axes: str) -> str:
    """-a softplus(x w + b) (arXiv 2405.21060), with a that a head learns or that the token chooses (2603.15569)."""
    width = "d_model" if axes == "D" else "num_heads"
    plain = f"self.step = nn.Linear(d_model, {width}, bias=False)"
    sketch.init.append(low_rank("self.step", "head_dim") if axes == "D" else plain)
    sketch.functions.add("softplus")
    rate, size = ("log_rate_H1", "num_heads, 1") if axes == "D" else ("log_rate_H", "num_heads")
    first = f"torch.empty({width}).uniform_(math.log(1e-3), math.log(0.05))"
    learnt = f"self.{rate} = nn.Parameter(torch.empty({size}).uniform_(1, 4).log())"
    chosen = "self.rate = nn.Linear(d_model, num_heads, bias=False)"
    sketch.init += [
        f"first_step_{axes} = torch.exp({first})",
        f"self.step_bias_{axes} = nn.Parameter(first_step_{axes}.expm1().log())",
        chosen if g.decay == "rate" else learnt,
    ]
    sketch.forward.append(f"step_BT{axes} = softplus(self.step(x_BTD) + self.step_bias_{axes})")
    if axes == "D":
        sketch.forward.append(f"step_BTHK = {by_heads('step_BTD', 'k')}")
    result, step = ("log_decay_BTHK", "step_BTHK") if axes == "D" else ("log_decay_BTH", "step_BTH")
    scale = "softplus(self.rate(x_BTD))" if g.decay == "rate" else f"self.{rate}.exp()"
    sketch.forward.append(f"{result} = -{scale} * {step}")
    return result


def write_turn(g: Genome, sketch: Sketch) -> None:
    """Turn queries and keys by the sum of dt_s pi tanh(x_s W) over all tokens s so far (arXiv 2603.15569)."""
    sketch.help(function("mamba3", "rotate", called="turned"))
    sketch.axis("F", "angles")
    sketch.init += ["self.turn = nn.Linear(d_model, max(1, head_dim // 4), bias=False)"]
    sketch.forward += [
        "turn_BTHF = math.pi * torch.tanh(self.turn(x_BTD))[:, :, None] * step_BTH[..., None]",
        "exact = torch.promote_types(turn_BTHF.dtype, torch.float32)",
        "angle_BTHF = turn_BTHF.cumsum(1, dtype=exact)",
        'if "angle" in state:',
        '    angle_BTHF = angle_BTHF + state["angle"][:, None]',
    ]
    if sketch.q == "q_BT1K":
        expanded = ", ".join(f"{name}.expand(-1, -1, self.num_heads, -1)" for name in (sketch.q, sketch.k))
        sketch.q, sketch.k = "q_BTHK", "k_BTHK"
        sketch.forward.append(f"{sketch.q}, {sketch.k} = {expanded}")
    sketch.forward += [f"{name} = turned({name}, angle_BTHF).type_as(v_BTHV)" for name in (sketch.q, sketch.k)]
    sketch.state["angle"] = "angle_BTHF[:, -1].remainder(2 * math.pi)"


def write_twofold(g: Genome, sketch: Sketch, arguments: list[str]) -> None:
    """Two memories a head, heads of one call: under the decay, and under one a sixteenth of it."""
    sketch.constants.append("SLOWER = 16.0")
    sketch.axis("G", "memories of all heads")
    decay = next(name for name in arguments if name.startswith("log_decay"))
    axes = decay.removeprefix("log_decay_BTH")
    twice = {
        arguments[2]: ("twice_BTGV", f"{arguments[2]}.repeat_interleave(2, dim=2)"),
        decay: (f"decay_BTG{axes}", f"torch.stack(({decay}, {decay} / SLOWER), dim=3).flatten(2, 3)"),
        "beta_BTH": ("beta_BTG", "beta_BTH.repeat_interleave(2, dim=2)"),
    }
    kernel = KERNELS[g.memory]
    sketch.kernels.add(kernel)
    sketch.forward += [f"{name} = {value}" for given, (name, value) in twice.items() if given in arguments]
    given = [twice[one][0] if one in twice else one for one in arguments]
    sketch.forward += [
        call("both_BTGV, memory_BGKV", kernel, [*given, 'initial_state=state.get("memory")']),
        "recalled_BTHV, slow_BTHV = both_BTGV.unflatten(2, (-1, 2)).unbind(3)",
    ]
    sketch.state["memory"] = "memory_BGKV"


# --- rules with parts of their own ------------------------------------------------------------------------------------


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
