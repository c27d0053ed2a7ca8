"""The memory updates: what each writes between queries, keys and values and what is recalled.

A rule that an operator computes alone is a row of `KERNELS`; one that needs more is written by its function in
`rules.py`.
"""

from __future__ import annotations

from asiarc.core.genome import DELTA, GATED, PRODUCT, Genome
from asiarc.researcher.chosen import read_scale, values, write_beta, write_decay, write_read, write_turn
from asiarc.researcher.rules import WRITERS
from asiarc.researcher.sketch import Sketch, call

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


def write_memory(g: Genome, sketch: Sketch) -> None:
    """The memory update, read by the query."""
    WRITERS.get(g.memory, write_operator)(g, sketch)


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
